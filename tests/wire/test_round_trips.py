"""Whatever may be said arrives as it was said: each codec's two halves are inverses."""

from hypothesis import example, given
from hypothesis import strategies as st

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import (
    decode_answer,
    decode_batch,
    decode_client,
    decode_command,
    decode_hello,
    decode_lifecycle,
    decode_reply,
    dump_messages,
    encode_answer,
    encode_batch,
    encode_client,
    encode_command,
    encode_hello,
    encode_lifecycle,
    encode_reply,
    load_messages,
)
from amends_contracts.messages import ClientMessage, Command, Hello, Lifecycle, Reply
from amends_contracts.problems import Problem
from amends_contracts.topology import Topology
from wire import messages_drawn as drawn

TOPOLOGY = Topology("shop")


@given(drawn.commands())
def test_commands(command: Command) -> None:
    """A command of any op survives."""
    assert decode_command(encode_command(command, TOPOLOGY)) == command


@given(drawn.replies())
def test_replies(reply: Reply) -> None:
    """A reply of any outcome survives, with usage, retry-after and trace."""
    message = encode_reply(reply, "reply.flights.07", TOPOLOGY)
    assert (decode_reply(message), message.routing_key) == (reply, "reply.flights.07")


@given(drawn.hellos())
def test_hellos(hello: Hello) -> None:
    """A `hello` survives, with schemas."""
    assert decode_hello(encode_hello(hello, TOPOLOGY)) == hello


@given(drawn.CLIENT_MESSAGES)
def test_client_messages(message: ClientMessage) -> None:
    """Every verb survives."""
    assert decode_client(encode_client(message, TOPOLOGY)) == message


@given(drawn.EVENTS)
def test_lifecycle_events(event: Lifecycle) -> None:
    """An event survives as a CloudEvent."""
    assert decode_lifecycle(encode_lifecycle(event, TOPOLOGY)) == event


@given(drawn.ANSWERS)
def test_answers(answer: drawn.Answer) -> None:
    """An answer survives."""
    assert decode_answer(encode_answer(answer.value, "amq.gen-1", "c-1")) == answer.value


@given(drawn.PROBLEMS)
def test_refusals(problem: Problem) -> None:
    """A problem is answered as a problem."""
    assert decode_answer(encode_answer(problem, "amq.gen-1", "c-1")) == problem


@given(st.lists(drawn.commands(), min_size=1, max_size=5))
def test_envelopes_of_commands(commands: list[Command]) -> None:
    """Members come out as the messages that would have been sent singly."""
    members = [encode_command(command, TOPOLOGY) for command in commands]
    envelope = encode_batch(
        members, exchange=TOPOLOGY.batches, routing_key="shop.do.flights.batch", message_id="b-1"
    )
    assert decode_batch(envelope, TOPOLOGY) == members


@given(st.lists(drawn.replies(), min_size=1, max_size=5))
def test_envelopes_of_replies(replies: list[Reply]) -> None:
    """So do replies, which go by the envelope's own routing key."""
    members = [encode_reply(reply, "reply.flights.07", TOPOLOGY) for reply in replies]
    envelope = encode_batch(
        members, exchange=TOPOLOGY.replies, routing_key="reply.flights.07", message_id="b-1"
    )
    assert decode_batch(envelope, TOPOLOGY) == members


@given(st.lists(drawn.AMQP_MESSAGES, max_size=6))
@example([])
def test_the_outbox_keeps_messages_exactly(messages: list[AmqpMessage]) -> None:
    """Every field of every message comes back, types included; bodies byte for byte."""
    loaded = load_messages(dump_messages(messages))
    assert loaded == messages
    assert repr([list(m.headers.items()) for m in loaded]) == repr(
        [list(m.headers.items()) for m in messages]
    )
