"""Models by name: those the participant was given, else those that pydantic-ai knows by name.

`openai:gpt-5` and its like take address and key from the environment of the participant
(OPENAI_BASE_URL, OPENAI_API_KEY, …): neither ever travels.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack

from pydantic_ai.models import Model, infer_model


class Models:
    """Each is made when it is first asked for, and keeps its connections until `close`."""

    def __init__(self, given: Mapping[str, Model]) -> None:
        self._given = dict(given)
        self._open: dict[str, Model] = {}
        self._stack = AsyncExitStack()

    async def named(self, name: str) -> Model:
        """The model; raises whatever is wrong with the name, or with the environment."""
        known = self._open.get(name)
        if known is None:
            made = self._given.get(name) or infer_model(name)
            known = self._open[name] = await self._stack.enter_async_context(made)
        return known

    async def close(self) -> None:
        """Leave all connections; whoever asks again makes new ones."""
        self._open.clear()
        await self._stack.aclose()
