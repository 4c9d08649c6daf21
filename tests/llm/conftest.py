"""A stand-in for the orchestrator, beside a server that speaks as OpenAI does and can be broken."""

from collections.abc import AsyncGenerator

import pytest
from llmock.pytest_plugin import LLMock

from participants.caller import Caller


@pytest.fixture
async def caller(broker_url: str, wire_prefix: str) -> AsyncGenerator[Caller]:
    """Sends commands as the orchestrator does, and reads the replies."""
    made = Caller(broker_url, wire_prefix)
    await made.open()
    yield made
    await made.close()


@pytest.fixture
def provider(llmock: LLMock) -> LLMock:
    """OpenAI, as far as anybody can tell; the environment leads there."""
    return llmock
