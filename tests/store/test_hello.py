"""What participants say of their commands, as kept: read by releases older than its writer."""

from amends_contracts.messages import CommandInfo, Effect, Reversal
from amends_orchestrator.store.hello import commands_from_json, commands_to_json

INFO = CommandInfo(Effect.KEYED, Reversal.COMPENSATABLE, output={"type": "object"}, probe=True)


def test_what_is_kept_comes_back() -> None:
    """All of it."""
    assert commands_from_json(commands_to_json({"flights.reserve": INFO})) == {
        "flights.reserve": INFO
    }


def test_what_a_newer_release_wrote_is_left_out() -> None:
    """It is a hint: an older orchestrator that does not understand it runs on without."""
    kept = commands_to_json({"flights.reserve": INFO, "flights.hold": INFO})
    kept["flights.hold"]["effect"] = "leased"
    assert list(commands_from_json(kept)) == ["flights.reserve"]
