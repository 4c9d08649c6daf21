"""What a runtime lets go wrong on purpose: orders of a drill, checked and obeyed.

Without a secret nothing of this happens: an action that belongs to a drill is refused, for it is
not known to be harmless. Undoing is never refused. Orders are checked once, where a command comes
in; behind that whoever reads the header may trust it.
"""

import logging
import os
from dataclasses import replace
from typing import Final

from pydantic import SecretStr

from amends_contracts import drill
from amends_contracts.drill import Order, Ordered
from amends_contracts.messages import Command
from amends_contracts.names import Op
from amends_contracts.problems import Problem, ProblemType
from amends_participants.app import Registration
from amends_participants.barrier.rules import Answer
from amends_participants.outcomes import failed, refusal
from amends_participants.runtime.invoke import Ended

log = logging.getLogger(__name__)

EXIT_CODE: Final = 137
"""As after SIGKILL: nothing is finished, nothing is said."""
ORDERED: Final = Problem(type=ProblemType.DRILLED, title="a drill asked for this failure")


class Died(Exception):
    """A drill lets this process be taken for dead at this place: its delivery comes again."""


class Drilling:
    """The orders that one runtime obeys. `secret` None: none."""

    def __init__(self, secret: SecretStr | None = None, *, exits: bool = False) -> None:
        self._secret = None if secret is None else secret.get_secret_value()
        self._exits = exits

    @property
    def enabled(self) -> bool:
        """Whether this runtime takes part in drills."""
        return self._secret is not None

    def admitted(self, command: Command) -> Command:
        """The command; an undo of a drill that is not signed for us is an ordinary undo."""
        if command.op is Op.ACTION or self._order(command) is not None:
            return command
        return without_order(command)

    def refusal(self, command: Command, registration: Registration) -> Answer | None:
        """Why an action of a drill is not run here."""
        if command.op is not Op.ACTION or not drill.is_drill(command):
            return None
        name = command.type
        if self._secret is None:
            said = f"drills are not enabled here: {name} was not run; set AMENDS_DRILL_SECRET"
        elif self._order(command) is None:
            said = f"the drill is not signed with this service's secret: {name} was not run"
        elif registration.drill is None:
            said = f"{name} does not say in which sandbox it may be drilled"
        else:
            return None
        return refusal(ProblemType.DRILL_REFUSED, said)

    def before(self, command: Command) -> None:
        """Before an effect: Ended if it is ordered to fail here."""
        if not drill.is_drill(command):
            return
        if command.op is Op.ACTION and self._is(command, Ordered.FAIL):
            raise Ended(failed(ORDERED))
        if self._is(command, Ordered.FAIL_FOR_NOW):
            raise Ended(failed(ORDERED, retryable=True))

    def at_the_end(self, command: Command) -> None:
        """At the end of a compensation's transaction, which Ended rolls back."""
        if drill.is_drill(command) and self._is(command, Ordered.FAIL_FOR_NOW):
            raise Ended(failed(ORDERED, retryable=True))

    def after(self, command: Command) -> None:
        """After an effect that was just made, before anything is said of it."""
        if not drill.is_drill(command) or not self._is(command, Ordered.DIE):
            return
        log.warning("a drill ends this process at %s", command.message_id)
        if self._exits:
            os._exit(EXIT_CODE)
        raise Died(command.message_id)

    def _is(self, command: Command, ordered: Ordered) -> bool:
        order = self._order(command)
        return order is not None and order.ordered is ordered and command.attempt <= order.times

    def _order(self, command: Command) -> Order | None:
        if self._secret is None or command.key is None:
            return None
        text = command.extra_headers.get(drill.HEADER)
        return None if text is None else drill.read_order(text, command.key, self._secret)


def without_order(command: Command) -> Command:
    """The same, as if it were not of a drill."""
    rest = {k: v for k, v in command.extra_headers.items() if k != drill.HEADER}
    return replace(command, extra_headers=rest)
