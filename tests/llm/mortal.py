"""The service `llm` as a program that can be killed: `python -m llm.mortal`.

With LLM_DIES=replying it kills itself, once, between the commit of an answer and its reply.
"""

import asyncio
import logging
import os

from amends_participants.llm import app
from amends_participants.run import serve
from amends_participants.runtime import ParticipantSettings
from participants.mortal import LastWords

if __name__ == "__main__":
    logging.basicConfig(level="DEBUG")
    tracing = LastWords() if os.environ.get("LLM_DIES") == "replying" else None
    asyncio.run(serve([app], ParticipantSettings(), tracing=tracing))
