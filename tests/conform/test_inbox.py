"""Replies find their commands, also where their echo is wrong, and what is wrong is told."""

from dataclasses import replace

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import encode_reply
from amends_contracts.messages import Command, Outcome, Reply
from amends_contracts.names import Key, MessageId, SagaId
from amends_contracts.topology import Topology
from amends_orchestrator.conform.inbox import Inbox
from amends_orchestrator.conform.subject import Place, Step, Subject

PLACE = Place(reply_to="reply.till.x", nowhere="", tenant="t", token_of=lambda key: f"of {key}")
SUBJECT = Subject(name="till.charge", input={}, given=True, undo="till.charge")
STEP = Step(SUBJECT, {}, SagaId("0197a1b2-c3d4-7e5f-8a6b-0123456789ab"), PLACE)


def reply_to(command: Command, body: bytes = b"{}", **changes: object) -> AmqpMessage:
    """What a right participant answers."""
    assert command.saga_id is not None
    assert command.key is not None
    reply = Reply(
        saga_id=command.saga_id,
        type=command.type,
        key=command.key,
        attempt=command.attempt,
        token=command.token,
        message_id=MessageId(f"{command.message_id}:reply"),
        outcome=Outcome.SUCCEEDED,
        body=body,
    )
    return encode_reply(replace(reply, **changes), "reply.till.x", Topology())


def inbox_of(*messages: AmqpMessage, sent: tuple[Command, ...]) -> Inbox:
    """An inbox after these commands and replies."""
    inbox = Inbox(sent={str(command.message_id) for command in sent})
    for message in messages:
        inbox.add(message)
    return inbox


def test_replies_may_come_in_any_order() -> None:
    """Each goes to the attempt that it echoes."""
    first, second = STEP.action(1), STEP.action(2)
    inbox = inbox_of(reply_to(second, b'{"n":2}'), sent=(first, second))
    assert inbox.answered([first, second]) == 1
    inbox.add(reply_to(first, b'{"n":1}'))
    taken = inbox.take([first, second], all_in=False)
    assert [heard.reply and heard.reply.json() for heard in taken.values()] == [{"n": 1}, {"n": 2}]
    assert inbox.faults == []


def test_what_a_reply_does_not_give_back_is_told() -> None:
    """It is taken all the same, so that the check can go on."""
    command = STEP.action(2)
    stray = reply_to(command, message_id=MessageId("some-id"), attempt=1, token=None)
    inbox = inbox_of(stray, sent=(command,))
    heard = inbox.take([command], all_in=False)[0]
    assert heard.reply is not None
    where = "action of till.charge, attempt 2"
    assert inbox.faults == [
        f"{where}: message_id is 'some-id', expected '{command.message_id}:reply'",
        f"{where}: amends-attempt is 1, expected 2",
        f"{where}: amends-token is None, expected 'of {STEP.key}'",
    ]


def test_another_attempts_reply_is_taken_only_when_nothing_more_comes() -> None:
    """One that comes late, or twice, is no reply to what is asked meanwhile."""
    first, second = STEP.action(1), STEP.action(2)
    inbox = inbox_of(reply_to(first), sent=(first, second))
    assert (inbox.answered([second]), inbox.take([second], all_in=False)) == (0, {})
    assert inbox.take([second], all_in=True)[0].reply is not None


def test_progress_is_no_reply() -> None:
    """It is counted, for it restarts the wait."""
    command = STEP.action()
    progress = MessageId(f"{command.message_id}:progress:1")
    message = reply_to(command, outcome=Outcome.PROGRESS, message_id=progress)
    inbox = inbox_of(message, sent=(command,))
    assert (inbox.answered([command]), inbox.progressed) == (0, 1)


def test_other_sagas_are_left_alone() -> None:
    """A reply of another saga is nobody's here."""
    other = replace(STEP, saga=SagaId("0197a1b2-c3d4-7e5f-8a6b-00000000000f"))
    inbox = inbox_of(reply_to(other.action()), sent=())
    assert inbox.answered([STEP.action()]) == 0
    assert Key(other.key) != STEP.key
