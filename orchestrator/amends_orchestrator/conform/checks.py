"""The table of all checks, in the order in which they are played."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from amends_orchestrator.conform import (
    checks_once,
    checks_restart,
    checks_service,
    checks_undo,
    rules,
)
from amends_orchestrator.conform.rules import Rule
from amends_orchestrator.conform.script import Script
from amends_orchestrator.conform.subject import Trial


class Of(StrEnum):
    """What a check is played for."""

    SERVICE = "service"
    """Once, with the first command."""
    COMMAND = "command"
    UNDOABLE = "undoable"
    """Each command that can be undone."""


@dataclass(frozen=True, slots=True)
class Check:
    """A name for CI, what it is played for, the rule it is about, and its script."""

    name: str
    of: Of
    rule: Rule
    script: Callable[[Trial], Script[None]]

    @property
    def title(self) -> str:
        """What it does, in words."""
        return (self.script.__doc__ or self.name).strip().rstrip(".")


CHECKS: Final[tuple[Check, ...]] = (
    Check("queues", Of.SERVICE, rules.QUEUES, checks_service.queues),
    Check("unknown-command", Of.SERVICE, rules.UNKNOWN_COMMAND, checks_service.unknown_command),
    Check("turn", Of.SERVICE, rules.UNSUPPORTED, checks_service.turn),
    Check("undecodable", Of.SERVICE, rules.UNDECODABLE, checks_service.undecodable),
    Check("other-version", Of.SERVICE, rules.UNDECODABLE, checks_service.other_version),
    Check("forget", Of.SERVICE, rules.FORGET, checks_service.forget),
    Check("duplicates", Of.COMMAND, rules.ONCE, checks_once.duplicates),
    Check("concurrent", Of.COMMAND, rules.ONCE, checks_once.concurrent),
    Check("key-reused", Of.COMMAND, rules.KEY_REUSED, checks_once.key_reused),
    Check("header-types", Of.COMMAND, rules.HEADER_TYPES, checks_once.other_types),
    Check("expired", Of.COMMAND, rules.DEADLINE, checks_once.expired),
    Check("returned-reply", Of.COMMAND, rules.ACKNOWLEDGED, checks_once.returned),
    Check("failed", Of.COMMAND, rules.FAILED, checks_once.failed),
    Check("probe", Of.COMMAND, rules.PROBE, checks_once.probed),
    Check("ledger", Of.COMMAND, rules.LEDGER, checks_once.in_the_ledger),
    Check("undo", Of.UNDOABLE, rules.ROW_SUCCEEDED, checks_undo.undone),
    Check("undo-in-doubt", Of.UNDOABLE, rules.UNDO_HAS_A_ROW, checks_undo.undone_in_doubt),
    Check("action-after-undo", Of.UNDOABLE, rules.ROW_UNDONE, checks_undo.acts_no_more),
    Check("undo-first", Of.UNDOABLE, rules.ROW_TOMBSTONE, checks_undo.undo_first),
    Check("race", Of.UNDOABLE, rules.ONCE, checks_undo.race),
    Check("undo-of-its-own", Of.UNDOABLE, rules.ROW_SUCCEEDED, checks_undo.undoes_its_own),
    Check("late-undo", Of.UNDOABLE, rules.LATE_UNDO, checks_undo.late_undo),
    Check("forgotten", Of.UNDOABLE, rules.ROW_NONE, checks_undo.forgotten),
    Check("envelopes", Of.COMMAND, rules.ENVELOPES, checks_service.envelopes),
    Check("crash-memory", Of.COMMAND, rules.KEPT, checks_restart.remembers),
    Check("crash-midway", Of.COMMAND, rules.ACKNOWLEDGED, checks_restart.answers),
)
