"""How often Python's collector looks for cycles in a process that makes next to none.

Left to its defaults it takes a fifth of the engine's time under load: each batch makes thousands
of objects that are all gone after it, by their reference counts alone.
"""

import gc
from typing import Final

YOUNG: Final = 20_000
"""New objects before the collector looks at the new ones."""
MIDDLE, OLD = 20, 50


def tune() -> None:
    """Leave what is there by now alone for good, and look at what comes less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
