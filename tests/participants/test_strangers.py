"""A participant to which strangers send: the dead letters have it, and the service goes on."""

import pytest

from amends_contracts.amqp import AmqpMessage
from amends_participants import transport_amqp
from conformance.raw import UNDECODABLE, publish_raw
from participants.bank import bank
from participants.caller import Caller, Step, told
from participants.running import running, settings_for
from participants.world import World


async def test_commands_that_cannot_be_decoded_are_dead_lettered(
    caller: Caller,
    world: World,
    broker_url: str,
    wire_prefix: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Undecodable messages are dead, a good command after them is answered, no link is lost."""
    async with running(bank(world), settings_for(broker_url, world.url, wire_prefix)):
        bad = list(UNDECODABLE.values())
        await publish_raw(broker_url, caller.topology.commands, "do.bank.charge", [*bad])
        step = Step("bank.charge", {"account": "a1", "usd": 1})
        assert told(await caller.ask(step.action()))[0] == "succeeded"
        await caller.until(lambda: len(caller.dead) == len(bad), "the dead letters")
    assert all("amends-undecodable" in letter.headers for letter in caller.dead)
    assert all("amends-reason" in letter.headers for letter in caller.dead)
    assert "lost the broker" not in caplog.text


def test_a_dead_letter_keeps_what_is_ours_and_fits_into_a_frame() -> None:
    """Of the headers only ours and the trace's are kept, and none of them if they are too big."""
    ours = {"amends-key": "k", "traceparent": "t"}
    said = {"amends-reason": "why", "amends-exchange": "e"}
    for more, kept in (({"foreign": "x" * 127_000}, ours), ({"amends-big": "x" * 70_000}, {})):
        message = AmqpMessage(exchange="e", routing_key="r", body=b"", headers={**ours, **more})
        dead = transport_amqp._dead(message, "dead", "why")  # pyright: ignore[reportPrivateUsage]  # only a full broker frame shows it from outside
        assert dead.headers == {**kept, **said}
