"""The participant that asks models: the service `llm` of steps of kind `llm`.

    amends-participant amends_participants.llm:app

    app = participant(models={"scripted": FunctionModel(answer)})      # one of your own

Needs the extra `llm` of amends-participants.
"""

from amends_participants.llm.command import Generate, Price
from amends_participants.llm.service import app, participant

__all__ = ["Generate", "Price", "app", "participant"]
