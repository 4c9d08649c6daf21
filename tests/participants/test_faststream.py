"""FastStream services as participants: its style, our barrier."""

import asyncio
import json
from typing import Annotated, Any

import pytest
from aiormq.exceptions import AMQPConnectionError
from faststream import BaseMiddleware, Depends, FastStream
from faststream.rabbit import RabbitBroker
from faststream.specification import AsyncAPI
from sqlalchemy.ext.asyncio import AsyncConnection

from amends_participants import Effect, Failed, Undo
from amends_participants.faststream import FastStreamParticipant
from participants.bank import Charge, Receipt, Wire, move
from participants.caller import Caller, Step, told
from participants.running import running, settings_for
from participants.world import World


class Counted(BaseMiddleware[Any, Any]):
    """A broker's middleware, as services have them."""

    seen: list[str] = []  # noqa: RUF012

    async def consume_scope(self, call_next: Any, msg: Any) -> Any:
        """Note the message and go on."""
        self.seen.append(msg.headers["amends-key"].rpartition("/")[2])
        return await call_next(msg)


async def fee() -> int:
    """A dependency."""
    return 2


def bank(broker: RabbitBroker, prefix: str) -> FastStreamParticipant:
    """A bank that takes a fee."""
    app = FastStreamParticipant("bank", broker, prefix=prefix)

    @app.action(Charge)
    async def charge(
        cmd: Charge, tx: AsyncConnection, effect: Effect, extra: Annotated[int, Depends(fee)]
    ) -> Receipt:
        """Take the money."""
        await move(tx, effect.key, "acted", cmd.account, -cmd.usd - extra)
        if cmd.how:
            raise Failed(cmd.how)
        return Receipt(id=effect.key)

    @app.compensation(Charge)
    async def refund(
        undo: Undo[Charge, Receipt], tx: AsyncConnection, extra: Annotated[int, Depends(fee)]
    ) -> None:
        """Give it back."""
        await move(tx, undo.key, "undone", undo.input.account, undo.input.usd + extra)

    @app.action(Wire)
    async def wire(cmd: Wire, effect: Effect) -> Receipt:
        """Outside."""
        return Receipt(id=effect.key)

    @app.compensation(Wire)
    async def unwire(undo: Undo[Wire, Receipt]) -> None:
        """Outside."""

    return app


async def test_handlers_get_barrier_and_dependencies(
    caller: Caller, world: World, broker_url: str, wire_prefix: str
) -> None:
    """Dependencies and middlewares are FastStream's; duplicates, failures and undo are ours."""
    Counted.seen.clear()
    app = bank(RabbitBroker(broker_url, middlewares=[Counted]), wire_prefix)
    step = Step("bank.charge", {"account": "a1", "usd": 30})
    async with running(app, settings_for(broker_url, world.url, wire_prefix)):
        for _ in range(2):
            assert told(await caller.ask(step.action())) == ("succeeded", {"id": step.key})
        assert await world.balance() == 68
        assert told(await caller.ask(step.compensation())) == ("succeeded", {})
        failing = Step("bank.charge", {"account": "a1", "usd": 30, "how": "declined"})
        assert told(await caller.ask(failing.action())) == ("failed", "declined")
        invalid = Step("bank.charge", {"account": "a1"})
        assert told(await caller.ask(invalid.action())) == ("failed", "amends:invalid-input")
        wired = Step("bank.wire", {"account": "a1", "usd": 1})
        assert told(await caller.ask(wired.action())) == ("succeeded", {"id": wired.key})
    assert (await world.balance(), await world.done(step.key)) == (100, ["acted", "undone"])
    assert Counted.seen == ["action", "compensation", "action", "action"]


async def test_a_broker_that_is_away_at_the_start_is_waited_for(
    caller: Caller,
    world: World,
    broker_url: str,
    wire_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The service starts all the same, and answers when its broker is there."""
    broker = RabbitBroker(broker_url)
    app, start, refusals = bank(broker, wire_prefix), broker.start, ["first", "second"]

    async def late() -> None:
        if refusals:
            raise AMQPConnectionError(refusals.pop())
        await start()

    monkeypatch.setattr(broker, "start", late)
    step = Step("bank.charge", {"account": "a1", "usd": 30})
    async with running(app, settings_for(broker_url, world.url, wire_prefix)):
        assert told(await caller.ask(step.action())) == ("succeeded", {"id": step.key})
    assert refusals == []


async def test_it_lives_beside_the_services_other_subscribers(
    caller: Caller,
    world: World,
    broker_url: str,
    wire_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A FastStream application keeps its own subscribers and serves commands by its lifespan."""
    monkeypatch.setenv("AMENDS_BROKER_URL", broker_url)
    monkeypatch.setenv("AMENDS_DATABASE_URL", world.url)
    monkeypatch.setenv("AMENDS_PREFIX", wire_prefix)
    broker = RabbitBroker(broker_url)
    app = bank(broker, wire_prefix)
    heard = asyncio.Event()

    @broker.subscriber(f"{wire_prefix}.orders")
    async def on_order(order: dict[str, int]) -> None:
        if order == {"n": 1}:
            heard.set()

    service = FastStream(broker, lifespan=app.lifespan)
    task = asyncio.create_task(service.run())
    step = Step("bank.charge", {"account": "a1", "usd": 30})
    assert caller.topology.prefix == wire_prefix
    await caller.queue_there("bank")
    assert told(await caller.ask(step.action())) == ("succeeded", {"id": step.key})
    await broker.publish({"n": 1}, f"{wire_prefix}.orders")
    await asyncio.wait_for(heard.wait(), 10)
    service.exit()
    await asyncio.wait_for(task, 20)


def test_asyncapi_shows_the_commands() -> None:
    """AsyncAPI 3 of the broker: a channel per command, with the command's schema."""
    broker = RabbitBroker()
    bank(broker, "amends")
    made = json.loads(AsyncAPI(broker, schema_version="3.0.0").to_specification().to_json())
    assert made["asyncapi"] == "3.0.0"
    addresses = {channel["address"] for channel in made["channels"].values()}
    assert addresses >= {"do.bank.charge", "undo.bank.charge", "do.bank.wire"}
    assert {"account", "usd", "how"} <= made["components"]["schemas"]["Charge"]["properties"].keys()
