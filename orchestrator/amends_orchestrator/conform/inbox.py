"""What was heard, and to which command it belongs, also where the echo is wrong. No IO."""

from collections import Counter
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
    before_crash: set[str] = field(default_factory=set[str])
    """Ids of replies that may come a second time, for their delivery may not be acknowledged."""
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
        wanted: Counter[Key | None] = Counter(command.key for command in commands)
        example = {command.key: command for command in commands}
        return sum(
            min(count, sum(self._fit(example[key], one) >= _BY_KEY for one in self.waiting))
            for key, count in wanted.items()
        )

    def take(self, commands: Sequence[Command]) -> dict[int, Heard]:
        """By place in `commands` the replies, taken out: those that fit best first."""
        fits = [
            (self._fit(command, message), -n, -m)
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

    def _fit(self, command: Command, message: AmqpMessage) -> int:
        """How well a message fits as the reply to a command; below `_BY_KEY` it is none."""
        fits = 0
        if message.message_id == f"{command.message_id}:reply":
            fits += _BY_ID
        elif message.message_id in self.before_crash:
            return 0
        key = message.headers.get("amends-key")
        if key == command.key or (key is None and message.correlation_id == command.saga_id):
            fits += _BY_KEY
        if str(message.headers.get("amends-attempt")) == str(command.attempt):
            fits += _BY_ATTEMPT
        return fits
