"""The promises of the specification over random plans and random weather.

The default is a few seconds; `AMENDS_PROMISES=20000 pytest tests/core/test_promises.py` looks
further. A failing example names its two seeds, and the journal is printed.
"""

import os
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from amends_orchestrator.core import loops, verify
from core.dsl import EXPRESSIONS
from core.random_plans import random_definition
from core.world import live

SEEDS = st.integers(min_value=0, max_value=2**32)
MANY = int(os.environ.get("AMENDS_PROMISES", "150"))


@settings(max_examples=MANY, deadline=None)
@example(plan=0, weather=0, steps=40)
@given(plan=SEEDS, weather=SEEDS, steps=st.integers(min_value=0, max_value=120))
def test_every_saga_ends_and_keeps_the_promises(plan: int, weather: int, steps: int) -> None:
    """Effects at most once; undone exactly once, in order, where the saga turned back."""
    with patch.object(loops, "ADVANCE", 1):  # the loops are short, and are to note how far they are
        live(random_definition(plan), weather, steps)


@settings(max_examples=MANY, deadline=None)
@given(plan=SEEDS)
def test_the_verifier_accepts_what_the_properties_run(plan: int) -> None:
    """So that the properties speak of definitions that users can register."""
    assert verify(random_definition(plan), {}, EXPRESSIONS) == ()
