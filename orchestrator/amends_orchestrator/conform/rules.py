"""The promises of docs/wire.md that can be checked from outside, word for word, with their place.

A test holds each to the page.
"""

from dataclasses import dataclass
from typing import Final

PAGE: Final = "docs/wire.md"


@dataclass(frozen=True, slots=True)
class Rule:
    """A sentence, or a row of the table, of the page."""

    says: str
    section: str
    """The anchor of its section."""

    @property
    def at(self) -> str:
        """A link to the section."""
        return f"{PAGE}#{self.section}"


def _promise(says: str) -> Rule:
    return Rule(says, "what-a-participant-promises")


QUEUES: Final = Rule(
    "all queues are quorum queues with `x-dead-letter-exchange=amends.dead`,"
    " `x-dead-letter-strategy=at-least-once`, `x-overflow=reject-publish`",
    "topology",
)
HELLO: Final = Rule(
    "Every participant instance publishes it on `amends.control` at start and every 30 seconds.",
    "hello",
)
HEADER_TYPES: Final = Rule(
    'Readers also accept decimal strings and `"true"` / `"false"`. Headers `amends-*` that a reader'
    " does not know are passed over.",
    "topology",
)
ECHO: Final = Rule(
    "Echo `correlation_id`, `type`, `amends-key`, `amends-attempt` and `amends-token`, always those"
    " of the delivery; outcome and body are the stored ones. `message_id` is the command's with"
    " `:reply`, or `:progress:<n>`.",
    "replies",
)
OUTPUT: Final = Rule(
    "**succeeded**: the body is the output, an object (`{}` if there is none).", "replies"
)
FAILED: Final = Rule(
    "**failed**: the participant *knows* that nothing changed. The body is an RFC 9457 problem,"
    " recognised by its `type`.",
    "replies",
)
PROBE: Final = Rule(
    "A probe first closes the action's key for all attempts up to its own `amends-attempt`, in the"
    " same row and transaction, and then looks.",
    "probe",
)
LEDGER: Final = Rule(
    "A **ledger** query is answered with the effects of the saga, each `present`, `undone` or"
    " `unknown`.",
    "replies",
)
FORGET: Final = Rule("No key, no reply; many sagas in one message.", "forget")
LATE_UNDO: Final = Rule(
    "A late undo is a saga of its own: its commands carry *its* id in `correlation_id`,"
    " `message_id` and `amends-key`, and only `amends-compensates` names the original.",
    "forget",
)
DEADLINE: Final = Rule(
    "an expired attempt may be skipped only by closing it in the barrier and answering `failed`,"
    " retryable, `amends:expired`",
    "commands",
)
ENVELOPES: Final = Rule(
    "Members are independent: each has its own key, outcome and reply; a bad member is answered or"
    " dead-lettered alone; the envelope is acknowledged when all its replies are safe.",
    "envelopes",
)
ONCE: Final = _promise(
    "At most one effect per key; the table holds under concurrency (one unique key decides between"
    " action and tombstone)."
)
FAILED_FOR_ALL: Final = _promise("`failed` speaks for all attempts so far.")
UNDO_HAS_A_ROW: Final = _promise(
    "A compensation has a row of its own by the same rules; its body may differ between attempts."
)
KEY_REUSED: Final = _promise(
    "An action's key with another digest: `unknown`, `amends:key-reused`, nothing done."
)
UNKNOWN_COMMAND: Final = _promise("An unknown command: `failed`, final, `amends:unknown-command`.")
UNSUPPORTED: Final = _promise(
    "An op that the service does not offer (probe, ledger, turn are optional): `failed`, final,"
    " `amends:unsupported`."
)
UNDECODABLE: Final = _promise("Another wire version, or undecodable: reject to `amends.dead`.")
ACKNOWLEDGED: Final = _promise(
    "A command is acknowledged only after its reply is confirmed or returned by the broker, or"
    " stored in the participant's own outbox."
)
COMMITTED: Final = _promise(
    "If the effect lies in the same database as the row: row, effect and stored reply in one"
    " transaction, publish confirmed, acknowledge."
)
KEPT: Final = _promise(
    "Rows of actions that succeeded or are in doubt are kept until `forget` and seven days more."
)
ROW_NONE: Final = _promise(
    "| none | - | run | tombstone, `succeeded` (if `amends-action-outcome` is `succeeded`:"
    " `unknown`, `amends:forgotten`) | close the attempts, `absent` |"
)
ROW_CLOSED: Final = _promise(
    "| closed by a probe | `failed`, retryable, `amends:closed` | run | tombstone, `succeeded` |"
    " `absent` |"
)
ROW_FAILED: Final = _promise(
    "| `failed`, final | stored reply | run: only a person's retry sends one | tombstone,"
    " `succeeded` | `absent` |"
)
ROW_SUCCEEDED: Final = _promise(
    "| `succeeded` | stored reply | stored reply | undo, then the row says undone | `present`,"
    " output |"
)
ROW_UNDONE: Final = _promise(
    "| undone | the action's stored reply | the action's stored reply | the undo's stored reply |"
    " `undone` |"
)
ROW_TOMBSTONE: Final = _promise("| tombstone | `fenced` | `fenced` | the stored reply | `absent` |")

ALL: Final = tuple(value for value in list(globals().values()) if isinstance(value, Rule))
