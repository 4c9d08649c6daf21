"""Names that travel: the grammar of ids and the derivation of keys, message ids and routing keys.

Source of every rule here: the wire contract (docs/wire.md). Nothing else in the project builds
or takes apart such a string.
"""

import re
from enum import StrEnum
from typing import Final, NewType

SagaId = NewType("SagaId", str)
"""UUID (version 7) of a saga, in its canonical text form."""
StepPath = NewType("StepPath", str)
"""A step instance: `flight`, `legs[2].flight`, `poll#4.check`, `plan#3.2.search`."""
Key = NewType("Key", str)
"""Idempotency key `<saga_id>/<step path>/<op>`; never contains the attempt."""
MessageId = NewType("MessageId", str)
"""`<saga_id>:<step path>:<op>:<attempt>`; the same on every republication."""

STEP_PATH_BYTES_MAX: Final = 160
MESSAGE_ID_BYTES_MAX: Final = 240
BODY_BYTES_REF: Final = 64 * 1024
"""Bodies over this many bytes go by reference to those that announced `ref`."""
BODY_BYTES_MAX: Final = 256 * 1024
"""Bodies over this many bytes never travel inline."""

_NAME: Final = r"[a-z][a-z0-9_-]*"
NAME_PATTERN: Final = rf"^{_NAME}$"
COMMAND_PATTERN: Final = rf"^{_NAME}\.{_NAME}$"
_name_match = re.compile(NAME_PATTERN).fullmatch
_command_match = re.compile(COMMAND_PATTERN).fullmatch
_UNDO: Final = "undo:"
_uuid_match = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_path_match = re.compile(
    rf"{_NAME}(\[\d+\]|#\d+(\.\d+)?)?(\.{_NAME}(\[\d+\]|#\d+(\.\d+)?)?)*"
).fullmatch


class Op(StrEnum):
    """What a command asks of its participant (`amends-op`)."""

    ACTION = "action"
    COMPENSATION = "compensation"
    PROBE = "probe"
    TURN = "turn"
    LEDGER = "ledger"
    FORGET = "forget"


ENGINE: Final = "amends"
"""The reserved service: the orchestrator itself, which runs child sagas."""
MODELS: Final = "llm"
"""The service of steps of kind `llm`; anybody may serve it."""
GENERATE: Final = f"{MODELS}.generate"
TOOLS: Final = "tools"
"""The service of a step of kind `tool` that names none."""
START_SAGA: Final = f"{ENGINE}.start-saga"
UNDO_SAGA: Final = f"{ENGINE}.undo-saga"
UNDO_OPS: Final = frozenset({Op.COMPENSATION, Op.PROBE, Op.LEDGER, Op.FORGET})
"""Ops that travel in a service's undo lane, so that undoing never waits behind new work."""


def is_name(text: str) -> bool:
    """Whether `text` may name a step, a service, a verb or a definition."""
    return _name_match(text) is not None


def is_command_name(text: str) -> bool:
    """Whether `text` has the form `<service>.<verb>`."""
    return _command_match(text) is not None


def is_step_path(text: str) -> bool:
    """Whether `text` is a step path of at most 160 bytes."""
    return len(text) <= STEP_PATH_BYTES_MAX and _path_match(text) is not None


def service_of(command: str) -> str:
    """The service of a command name: `flights` of `flights.reserve`."""
    return command.partition(".")[0]


def tool_command(tool: str) -> str:
    """The command of a tool: `refund` is `tools.refund`, `orders.look` is what it says."""
    return tool if "." in tool else f"{TOOLS}.{tool}"


def key_of(saga_id: SagaId, path: StepPath, op: Op) -> Key:
    """The idempotency key of one operation of one step instance."""
    return Key(f"{saga_id}/{path}/{op}")


def undo_start_key(saga_id: SagaId) -> str:
    """The key under which the late undo of a saga is started: once, whoever asks."""
    return f"{_UNDO}{saga_id}"


def is_undo_start_key(key: str) -> bool:
    """Whether a start key is one of a late undo; nobody else may use it."""
    return key.startswith(_UNDO) and _uuid_match(key.removeprefix(_UNDO)) is not None


def is_action_key(key: str) -> bool:
    """Whether a start key is the key of an action: then a child saga's, and nobody else's."""
    try:
        saga_id, path, op = split_key(key)
    except ValueError:
        return False
    return path is not None and op is Op.ACTION and _uuid_match(saga_id) is not None


def ledger_key(saga_id: SagaId) -> Key:
    """The key of a ledger query, which concerns no step."""
    return Key(f"{saga_id}/ledger")


def split_key(key: str) -> tuple[SagaId, StepPath | None, Op]:
    """Take an idempotency key apart; the path is None for a ledger query.

    Raises ValueError for anything that `key_of` or `ledger_key` cannot have made.
    """
    saga_id, _, rest = key.partition("/")
    if rest == Op.LEDGER:
        return SagaId(saga_id), None, Op.LEDGER
    path, slash, op = rest.rpartition("/")
    if not saga_id or not slash or not is_step_path(path):
        raise ValueError(f"not an idempotency key: {key!r}")
    return SagaId(saga_id), StepPath(path), Op(op)


def message_id_of(saga_id: SagaId, path: StepPath, op: Op, attempt: int) -> MessageId:
    """The id of the message that carries this attempt."""
    return MessageId(f"{saga_id}:{path}:{op}:{attempt}")


def reply_routing_key(service: str, partition: int) -> str:
    """Where the replies of `service` to sagas of `partition` go: `reply.flights.07`."""
    return f"reply.{service}.{partition:02d}"


def split_reply_routing_key(routing_key: str) -> tuple[str, int]:
    """Service and partition of a reply's routing key; ValueError for any other text."""
    parts = routing_key.split(".")
    if len(parts) != 3 or parts[0] != "reply" or not is_name(parts[1]):
        raise ValueError(f"not a reply routing key: {routing_key!r}")
    return parts[1], int(parts[2])


def command_routing_key(command: str, op: Op) -> str:
    """`do.flights.reserve` for actions and turns, `undo.flights.release` for the undo lane."""
    return f"{'undo' if op in UNDO_OPS else 'do'}.{command}"
