"""What a dead letter keeps of the message it stands for."""

from amends_amqp.dead_letters import rejected
from amends_contracts.amqp import AmqpMessage


def test_a_dead_letter_keeps_what_is_ours_and_fits_into_a_frame() -> None:
    """Of the headers only ours and the trace's are kept, and none of them if they are too big."""
    ours = {"amends-key": "k", "traceparent": "t"}
    said = {"amends-reason": "why", "amends-exchange": "e"}
    message = AmqpMessage(
        exchange="e", routing_key="r", body=b"", headers={**ours, "foreign": "x" * 127_000}
    )
    assert rejected(message, "dead", "why").headers == {**ours, **said}
    big = AmqpMessage(
        exchange="e", routing_key="r", body=b"", headers={**ours, "amends-big": "ä" * 40_000}
    )
    assert rejected(big, "dead", "why").headers == said


def test_whose_message_it_was_is_said_and_not_claimed() -> None:
    """The broker checks `user_id` against who publishes: a header keeps it."""
    message = AmqpMessage(exchange="e", routing_key="r", body=b"{}", user_id="flights")
    assert rejected(message, "dead", "why") == AmqpMessage(
        exchange="dead",
        routing_key="r",
        body=b"{}",
        headers={"amends-reason": "why", "amends-exchange": "e", "amends-user-id": "flights"},
        mandatory=False,
    )
