"""From what a decision wants sent to the messages that travel."""

import json
from datetime import datetime

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import (
    encode_answer,
    encode_command,
    encode_lifecycle,
    encode_reply,
)
from amends_contracts.messages import (
    JSON_TYPE,
    Command,
    Json,
    Lifecycle,
    Outcome,
    Reply,
    StartAnswer,
    digest_of,
    to_body,
)
from amends_contracts.names import (
    BODY_BYTES_MAX,
    ENGINE,
    START_SAGA,
    UNDO_SAGA,
    MessageId,
    Op,
    SagaId,
    key_of,
    message_id_of,
    reply_routing_key,
    service_of,
)
from amends_contracts.problems import PROBLEM_CONTENT_TYPE, Problem
from amends_contracts.topology import Topology
from amends_orchestrator.core.children import ChildReply, replies_of
from amends_orchestrator.core.decision import Decision, Notice, Refused, Send
from amends_orchestrator.core.state import Identity
from amends_orchestrator.engine.refusals import problem_of
from amends_orchestrator.engine.tokens import Tokens
from amends_orchestrator.engine.tracing import Tracing
from amends_orchestrator.engine.work import Answer, AnswerTo, Replied, SignalKept, SignalKnown


class Dispatcher:
    """Adds to a command what the core does not know: token, digest, trace, address."""

    def __init__(self, topology: Topology, tokens: Tokens, tracing: Tracing) -> None:
        self._topology = topology
        self._tokens = tokens
        self._tracing = tracing

    def messages(self, decision: Decision, now: datetime, *, events: bool) -> list[AmqpMessage]:
        """All that a decision publishes, in order. Raises WireError for what cannot travel."""
        identity = decision.saga.identity
        original = decision.saga.state.undoes or identity.saga_id
        messages = [self._command(identity, original, send) for send in decision.sends]
        messages += [self.reply(child) for child in replies_of(decision)]
        if events:
            messages += [
                self._event(decision, notice, number, now)
                for number, notice in enumerate(decision.notices)
            ]
        return messages

    def _command(self, identity: Identity, original: SagaId, send: Send) -> AmqpMessage:
        """`original`: the saga whose action is concerned; of a late undo another one."""
        key = key_of(identity.saga_id, send.path, send.op)
        compensates = send.compensates
        command = Command(
            type=send.command,
            op=send.op,
            message_id=message_id_of(identity.saga_id, send.path, send.op, send.attempt),
            body=send.body,
            saga_id=identity.saga_id,
            reply_to=reply_routing_key(service_of(send.command), identity.partition),
            key=key,
            digest=digest_of(send.body),
            compensates=key_of(original, send.path, compensates) if compensates else None,
            action_outcome=send.action_outcome,
            attempt=send.attempt,
            deadline=send.deadline,
            token=self._tokens.sign(key),
            definition=f"{identity.definition}@{identity.version}",
            tenant=identity.tenant,
            trace=self._tracing.command(identity, send),
        )
        return encode_command(command, self._topology)

    def reply(self, child: ChildReply) -> AmqpMessage:
        """What service `amends` tells a step that runs a saga. Too large an output is left out."""
        asker, body = child.asker, to_body(child.body)
        succeeded = child.outcome is Outcome.SUCCEEDED
        key = key_of(asker.saga_id, asker.path, asker.op)
        command_id = message_id_of(asker.saga_id, asker.path, asker.op, asker.attempt)
        reply = Reply(
            saga_id=asker.saga_id,
            type=START_SAGA if asker.op is Op.ACTION else UNDO_SAGA,
            key=key,
            attempt=asker.attempt,
            token=self._tokens.sign(key),
            message_id=MessageId(f"{command_id}:reply"),
            outcome=child.outcome,
            body=b"{}" if len(body) > BODY_BYTES_MAX else body,
            retryable=child.retryable,
            content_type=JSON_TYPE if succeeded else PROBLEM_CONTENT_TYPE,
        )
        return encode_reply(reply, reply_routing_key(ENGINE, asker.partition), self._topology)

    def _event(self, decision: Decision, notice: Notice, number: int, now: datetime) -> AmqpMessage:
        saga, identity = decision.saga, decision.saga.identity
        event = Lifecycle(
            id=f"{identity.saga_id}:{saga.seq}:{number}",
            event=notice.event,
            time=now,
            saga_id=identity.saga_id,
            definition=identity.definition,
            version=identity.version,
            key=identity.key,
            status=saga.status,
            step=notice.step,
            problem=notice.problem,
        )
        return encode_lifecycle(event, self._topology)

    def answer(self, to: AnswerTo, result: Answer) -> AmqpMessage | None:
        """The answer to a client, or None where none may be sent."""
        if not self._topology.may_be_answered(to.reply_to):
            return None
        return encode_answer(_said(result), to.reply_to, to.correlation_id)


def input_digest(value: Json) -> str:
    """What makes two starts the same: the input, whatever the order of its members."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return digest_of(text.encode())


def _said(result: Answer) -> StartAnswer | Problem | Json:
    match result:
        case StartAnswer():
            return result
        case Refused():
            return problem_of(result)
        case Replied():
            return {}
        case SignalKept():
            return {"kept": True}
        case SignalKnown():
            return {"saga_id": result.saga_id}
        case Decision():
            saga = result.saga
            return {"saga_id": saga.identity.saga_id, "status": saga.status.value}
