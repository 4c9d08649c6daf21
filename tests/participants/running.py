"""Running a participant inside a test, over RabbitMQ."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from pydantic import SecretStr

from amends_contracts.topology import Topology
from amends_participants import Participant
from amends_participants.runtime import ParticipantSettings, Runtime
from amends_participants.transport_amqp import AmqpTransport

Crowd = Callable[..., Awaitable[list[list[tuple[str, object]]]]]
"""Of the fixture `crowd`: what each of many commands is told that were there before a server."""


def settings_for(
    broker_url: str, database_url: str, prefix: str, **more: Any
) -> ParticipantSettings:
    """Settings of a participant under test: quick to notice and to give up."""
    values: dict[str, Any] = {
        "concurrency": 8,
        "lease_s": 2.0,
        "sweep_s": 0.5,
        "drain_s": 5.0,
        "busy_s": 2.0,
        **more,
    }
    return ParticipantSettings(
        broker_url=SecretStr(broker_url),
        database_url=SecretStr(database_url),
        prefix=prefix,
        **values,
    )


@asynccontextmanager
async def running(
    app: Participant, settings: ParticipantSettings, **more: Any
) -> AsyncGenerator[Runtime]:
    """The participant, serving; drained at the end."""
    assert settings.broker_url is not None
    transport = AmqpTransport(
        settings.broker_url.get_secret_value(), Topology(settings.prefix), name=app.service
    )
    runtime = Runtime(app, transport, settings, **more)
    task = asyncio.create_task(runtime.run())
    try:
        while not runtime.is_ready() and not task.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        yield runtime
    finally:
        runtime.stop()
        await task
