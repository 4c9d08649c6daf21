"""Services that are wrong in one way: each is found, with a message that says what is wrong."""

import pytest

from conform.plain import FLAWS
from conform.playing import Place, failures

SHOWN = "--observe shows"
FOUND: dict[str, tuple[str, str]] = {
    "acts after its undo": ("undo-first", "expected `fenced`"),
    "acts on an undone key again": ("action-after-undo", "it was answered `succeeded`"),
    "another saga's undo": ("undo-of-its-own", "after the undo of saga 2 of 3, for saga 2"),
    "answers before it commits": ("duplicates", "right after its reply"),
    "compares an undo's digest": ("undo-in-doubt", "`unknown` `amends:key-reused`"),
    "does not know forgotten": ("forgotten", "expected `unknown` `amends:forgotten`"),
    "echoes the first delivery": ("echo", "amends-attempt is 1, expected 2"),
    "echoes no token": ("echo", "amends-token is None"),
    "failed after an effect": ("failed", f"after it failed: {SHOWN} -30 where 0 was expected"),
    "finds late undos by their saga": ("late-undo", "`amends:forgotten`"),
    "ignores the digest": ("key-reused", "expected `unknown` `amends:key-reused`"),
    "ignores the key": ("duplicates", "it was answered `succeeded`"),
    "looks without a lock": ("concurrent", "it was answered `succeeded`"),
    "loses what cannot be read": ("undecodable", "it did not come to the dead letters"),
    "needs the output to undo": ("undo-in-doubt", "`no-output`"),
    "other queues": ("queues", "x-delivery-limit"),
    "reads integers only": ("header-types", "it came to the dead letters"),
    "refunds each time": ("undo", "more was taken back than was done"),
    "refunds a part": ("undo", "a part of the effect stands"),
    "refunds nothing": ("undo", "the effect stands"),
    "refuses what it does not know for now": ("unknown-command", "(retryable)"),
    "undoes the newest first": ("undo-of-its-own", "after the undo of saga 2 of 3, for saga 2"),
}
AFTER_A_CRASH: dict[str, tuple[str, str]] = {
    "acknowledges before it replies": ("crash-midway", "never answered after it"),
    "forgets tombstones at a restart": ("crash-memory", "an action whose undo came first"),
}


@pytest.mark.parametrize("flaw", sorted(FOUND))
async def test_what_is_wrong_is_found(place: Place, flaw: str) -> None:
    """The check that is about it fails and says so."""
    check, message = FOUND[flaw]
    async with place.till(flaw):
        played = "duplicates" if check == "echo" else check
        found = failures(await place.play(played, reply_s=3.0))
    assert message in found.get(check, "")


@pytest.mark.slow
@pytest.mark.parametrize("flaw", sorted(AFTER_A_CRASH))
async def test_what_only_a_crash_shows_is_found(place: Place, flaw: str) -> None:
    """With a command that starts it again, which is killed meanwhile."""
    check, message = AFTER_A_CRASH[flaw]
    found = failures(await place.play(check, reply_s=5.0, restart=place.restart(flaw)))
    assert message in found.get(check, "")


def test_every_flaw_is_looked_for() -> None:
    """None is made that no test knows."""
    assert FOUND.keys() | AFTER_A_CRASH.keys() == FLAWS
