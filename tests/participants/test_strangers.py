"""A participant to which strangers send: the dead letters have it, and the service goes on."""

import pytest

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
