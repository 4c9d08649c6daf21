"""The protocol's model: TLC finds no error in it, and finds one as soon as a rule is broken."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BROKEN = {
    "NoFence": "OneDecisionPerSeq",
    "PublishEarly": "IntentBeforeDispatch",
    "AckEarly": "NobodyWaitsInVain",
    "AnyOrder": "ReverseOrder",
    "NoBarrier": "AtMostOneEffect",
    "NoTombstone": "NoEffectAfterUndo",
}
"""Each switch, and the promise that then does not hold."""

pytestmark = pytest.mark.slow


RACES = frozenset({"NoFence", "AckEarly"})
"""Faults that need a trouble to show: a second believer, a crash."""


def tlc(*arguments: str, troubles: int) -> tuple[int, list[str]]:
    """TLC's exit code by our runner, and what it found violated."""
    command = [sys.executable, "-m", "model", "--troubles", str(troubles), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 2, done.stdout + done.stderr
    return done.returncode, re.findall(r"^Error: (.+ violated)\.$", done.stdout, re.MULTILINE)


def test_no_state_of_the_model_breaks_a_promise() -> None:
    """Two orchestrators, two steps, one crash or lost lease at any moment, every interleaving."""
    assert tlc(troubles=1) == (0, [])


@pytest.mark.parametrize("switch", BROKEN)
def test_a_broken_rule_is_found(switch: str) -> None:
    """The model can fail: each fault leads to a state that breaks the promise it was kept for."""
    found = tlc(switch, troubles=int(switch in RACES))
    assert found == (1, [f"Invariant {BROKEN[switch]} is violated"])


def test_every_switch_is_tried() -> None:
    """No fault of the configuration goes unlooked at."""
    config = (ROOT / "model" / "amends.cfg").read_text()
    assert re.findall(r"(\w+) = FALSE", config) == list(BROKEN)


def test_a_saga_that_never_ends_is_found() -> None:
    """The one promise about the future can fail too: a start acknowledged early is gone."""
    found = tlc("AckEarly", "--promise", "EverySagaEnds", troubles=1)
    assert found == (1, ["Temporal properties were violated"])


@pytest.mark.parametrize("opposite", ["NeverCompleted", "NeverUndone", "NeverRaced"])
def test_what_matters_happens_in_the_model(opposite: str) -> None:
    """Sagas complete, both steps are undone, two orchestrators decide on the same row."""
    found = tlc("--promise", opposite, troubles=int(opposite == "NeverRaced"))
    assert found == (1, [f"Invariant {opposite} is violated"])
