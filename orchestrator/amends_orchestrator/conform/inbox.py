"""What was heard, and to which command it belongs, also where the echo is wrong. No IO."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import WireError, decode_reply
from amends_contracts.messages import Command, Outcome
from amends_contracts.names import Key
from amends_orchestrator.conform.script import Heard, echo_faults

SHOWN_MAX: Final = 200
_BY_ID: Final = 8
_BY_KEY: Final = 4
_BY_ATTEMPT: Final = 1


@dataclass(slots=True)
class Inbox:
    """Messages not yet taken as somebody's reply, oldest first."""

    waiting: list[AmqpMessage] = field(default_factory=list[AmqpMessage])
    faults: list[str] = field(default_factory=list[str])
    """What was wrong with the echo of any reply."""
    sent: set[str] = field(default_factory=set[str])
    """Message ids of all commands: a reply with the id of one is no other's."""
    progressed: int = 0
    """How many replies said `progress`; they are none to wait for."""

    def add(self, message: AmqpMessage) -> None:
        """A message has arrived."""
        if message.headers.get("amends-outcome") == Outcome.PROGRESS:
            self.progressed += 1
        else:
            self.waiting.append(message)

    def answered(self, commands: Sequence[Command]) -> int:
        """How many of the commands have a reply here."""
        by_key: dict[Key | None, list[Command]] = {}
        for command in commands:
            by_key.setdefault(command.key, []).append(command)
        return sum(
            min(len(of_key), sum(self._fits_any(of_key, one) for one in self.waiting))
            for of_key in by_key.values()
        )

    def take(self, commands: Sequence[Command], *, all_in: bool) -> dict[int, Heard]:
        """By place in `commands` the replies, taken out: those that fit best first.

        With `all_in` nothing more is waited for, and what has another's id is taken, too.
        """
        fits = [
            (self._fit(command, message, all_in), -n, -m)
            for n, command in enumerate(commands)
            for m, message in enumerate(self.waiting)
        ]
        pairs: dict[int, int] = {}
        for fit, n, m in sorted(fits, reverse=True):
            if fit >= _BY_KEY and -n not in pairs and -m not in pairs.values():
                pairs[-n] = -m
        taken = {n: self._read(commands[n], self.waiting[m]) for n, m in sorted(pairs.items())}
        gone = set(pairs.values())
        self.waiting = [message for m, message in enumerate(self.waiting) if m not in gone]
        return taken

    def of_saga(self, saga: str) -> list[AmqpMessage]:
        """What waits and names a saga in any place."""
        return [m for m in self.waiting if saga in f"{m.message_id} {m.correlation_id} {m.headers}"]

    def _read(self, command: Command, message: AmqpMessage) -> Heard:
        try:
            reply = decode_reply(message)
        except WireError as error:
            shown = message.body[:SHOWN_MAX].decode(errors="replace")
            why = f"a reply that cannot be read: {error.reason}; its body: {shown}"
            self.faults.append(f"{command.op} of {command.type}: {why}")
            return Heard(command, None, why)
        self.faults += echo_faults(command, message, reply)
        return Heard(command, reply)

    def _fits_any(self, commands: Sequence[Command], message: AmqpMessage) -> bool:
        return any(self._fit(command, message, False) >= _BY_KEY for command in commands)

    def _fit(self, command: Command, message: AmqpMessage, all_in: bool) -> int:
        """How well a message fits as the reply to a command; below `_BY_KEY` it is none."""
        fits = 0
        if message.message_id == f"{command.message_id}:reply":
            fits += _BY_ID
        elif not all_in and (message.message_id or "").removesuffix(":reply") in self.sent:
            return 0
        key = message.headers.get("amends-key")
        if key == command.key or (key is None and message.correlation_id == command.saga_id):
            fits += _BY_KEY
        if str(message.headers.get("amends-attempt")) == str(command.attempt):
            fits += _BY_ATTEMPT
        return fits
