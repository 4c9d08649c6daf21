"""How a demo puts its own buttons on the list page: "fail the hotel", "start a saga"."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoAction:
    """One button."""

    id: str
    """What `perform` is given; `[a-z0-9-]+`."""
    label: str
    hint: str = ""
    """What pressing it will show, in a sentence."""
    tone: Literal["go", "break", "mend"] = "go"
    """`break` makes something fail, `mend` makes it work again."""
    pressed: bool = False
    """Whether what it breaks is broken now."""


class DemoControls(Protocol):
    """What a demo supplies; nothing else ever puts buttons there."""

    def actions(self) -> Sequence[DemoAction]:
        """The buttons as they now are, in the order shown."""
        ...

    async def perform(self, action: str) -> str:
        """Do it and say in a sentence what was done. KeyError for an unknown id."""
        ...
