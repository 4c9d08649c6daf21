"""Drills on the wire: header `amends-drill`, which says what is to go wrong with one command.

A drill runs real participants with real commands in a tenant of its own. Every command of it
carries the header, also those with which nothing goes wrong, so that a participant can tell a drill
from the real thing, take its sandbox, or refuse. It is signed with a secret that the drill and the
participants share, over the command's own key: one header is good for one command.
"""

import hashlib
import hmac
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from amends_contracts.messages import Command
from amends_contracts.names import Key

HEADER: Final = "amends-drill"
TENANT: Final = "drill"
"""The tenant of every drill."""
ENABLED: Final = "drill"
"""What a `hello` accepts where drills are enabled and orders are followed."""
SECRET_CHARS_MIN: Final = 16
TIMES_MAX: Final = 100


class Ordered(StrEnum):
    """What a participant is asked to let go wrong."""

    NOTHING = "nothing"
    FAIL = "fail"
    """An action fails for good, before its handler is called."""
    FAIL_FOR_NOW = "fail-for-now"
    """It fails and may be tried again. A compensation with a transaction fails at the end of it, so
    that what its handler did is rolled back; all others fail before their handler is called."""
    DIE = "die"
    """The process ends when the effect is there and the reply is not yet said."""


@dataclass(frozen=True, slots=True)
class Order:
    """What goes wrong with the first `times` attempts of a command."""

    ordered: Ordered
    times: int = 1


CALM: Final = Order(Ordered.NOTHING)


def write_order(order: Order, key: Key, secret: str) -> str:
    """The header's value: `fail:2:<signature>`."""
    said = f"{order.ordered}:{order.times}"
    return f"{said}:{_signature(said, key, secret)}"


def read_order(text: str, key: Key, secret: str) -> Order | None:
    """The order of a header; None if it was not signed with this secret for this key."""
    said, _, signature = text.rpartition(":")
    if not hmac.compare_digest(signature.encode(), _signature(said, key, secret).encode()):
        return None
    ordered, _, times = said.partition(":")
    try:
        return Order(Ordered(ordered), min(int(times), TIMES_MAX))
    except ValueError:  # of a newer release
        return None


def is_drill(command: Command) -> bool:
    """Whether a command is part of a drill, whoever has signed it."""
    return HEADER in command.extra_headers


def _signature(said: str, key: Key, secret: str) -> str:
    return hmac.new(secret.encode(), f"{said}:{key}".encode(), hashlib.sha256).hexdigest()
