"""Replies: the echo of a delivery with an answer, as the message that travels."""

from collections.abc import Sequence
from uuid import uuid4

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import encode_reply, pack
from amends_contracts.messages import Command, Outcome, Reply, Trace
from amends_contracts.names import MessageId
from amends_contracts.topology import Topology
from amends_participants.barrier.rules import Answer
from amends_participants.outcomes import content_type_of


def packed(replies: Sequence[AmqpMessage], topology: Topology) -> list[AmqpMessage]:
    """Replies that are committed together, those of one partition in one envelope."""
    by_key: dict[str, list[AmqpMessage]] = {}
    for reply in replies:
        by_key.setdefault(reply.routing_key, []).append(reply)
    return [
        packed.message
        for key, members in by_key.items()
        for packed in pack(
            members, exchange=topology.replies, routing_key=key, new_id=lambda: str(uuid4())
        )
    ]


def reply_message(
    command: Command,
    answer: Answer,
    topology: Topology,
    *,
    trace: Trace | None = None,
    progress: int = 0,
) -> AmqpMessage:
    """The reply to one delivery; `progress` numbers the replies that say "still working"."""
    assert command.saga_id is not None, "only forget has no saga, and no reply"
    assert command.key is not None
    assert command.reply_to is not None
    suffix = f"progress:{progress}" if answer.outcome is Outcome.PROGRESS else "reply"
    reply = Reply(
        saga_id=command.saga_id,
        type=command.type,
        key=command.key,
        attempt=command.attempt,
        token=command.token,
        message_id=MessageId(f"{command.message_id}:{suffix}"),
        outcome=answer.outcome,
        body=answer.body,
        retryable=answer.retryable,
        retry_after_s=answer.retry_after_s,
        usage=answer.usage,
        trace=trace,
        content_type=content_type_of(answer),
    )
    return encode_reply(reply, command.reply_to, topology)
