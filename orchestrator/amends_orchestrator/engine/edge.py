"""From a delivery to work: decoded, authenticated and checked here, once, and nowhere again.

What cannot be a message for us goes to the dead letters with its reason. What is a message but
may not do anything (wrong token, an op of nobody) is refused: counted, acknowledged, forgotten.
Whether it still fits its saga is not known here; that is decided in the core.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol, cast
from uuid import UUID

from amends_contracts.amqp import AmqpMessage, Delivery
from amends_contracts.codec import (
    BadBody,
    BadMember,
    WireError,
    decode_batch,
    decode_client,
    decode_command,
    decode_hello,
    decode_reply,
    is_batch,
    trace_of,
)
from amends_contracts.messages import (
    REF_TYPE,
    Cancel,
    Decide,
    Hello,
    Json,
    Outcome,
    ProbeEffect,
    Reply,
    Signal,
    Start,
    Trace,
    Undo,
)
from amends_contracts.names import (
    ENGINE,
    Op,
    SagaId,
    is_action_key,
    is_undo_start_key,
    service_of,
    split_key,
    split_reply_routing_key,
)
from amends_contracts.problems import Problem, ProblemType
from amends_contracts.topology import Topology
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.inputs import (
    CancelRequested,
    ReplyReceived,
    Signalled,
)
from amends_orchestrator.engine.catalog import Catalog, bad_output
from amends_orchestrator.engine.children import Children
from amends_orchestrator.engine.dead_commands import ANSWERED_OPS, dead_command
from amends_orchestrator.engine.dispatch import input_digest
from amends_orchestrator.engine.ids import uuid7
from amends_orchestrator.engine.ports import Clock, Store, StoreUnavailable
from amends_orchestrator.engine.reading import Reading, held
from amends_orchestrator.engine.reviews import decision_of
from amends_orchestrator.engine.signals import for_key
from amends_orchestrator.engine.tokens import Tokens
from amends_orchestrator.engine.undo import undo_of
from amends_orchestrator.engine.work import AnswerTo, ForSaga, ForStart, Handle, SignalKept

log = logging.getLogger(__name__)

UNDECODABLE: Final = "amends-undecodable"
"""The header of a message of which the transport could decode the body alone.

A client's verb could do without the rest, but not know who asks, and for which tenant.
"""

CLIENT_SCOPES: Final = frozenset({"starter", "operator", "admin"})
"""Scopes that may start, cancel and signal."""
REVIEWER_SCOPES: Final = frozenset({"reviewer", "operator", "admin"})
"""Scopes that may decide reviews."""
PRINCIPAL_S: Final = 5.0
"""How long what is known of a broker user is not asked again."""
PROBLEM_BYTES_MAX: Final = 16 * 1024
"""A participant's problem over this many bytes is cut down to its first members."""
PROBLEM_TYPE_CHARS_MAX: Final = 200
"""The type stands in the saga's row."""
PROBLEM_TITLE_CHARS_MAX: Final = 300
PROBLEM_DETAIL_CHARS_MAX: Final = 4000


class Principal(Protocol):
    """As whom a broker user speaks (`store.keys`)."""

    @property
    def name(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def scope(self) -> str: ...
    @property
    def roles(self) -> frozenset[str]: ...


PrincipalOf = Callable[[str], Awaitable[Principal | None]]
"""The principal of a broker user, authenticated by the broker; None if nobody has named it."""


@dataclass(frozen=True, slots=True)
class _Speaker:
    name: str
    tenant: str
    scope: str
    roles: frozenset[str] = frozenset()


class Edge:
    """Reads deliveries. Holds what a check needs, and no state of its own."""

    def __init__(
        self,
        topology: Topology,
        tokens: Tokens,
        catalog: Catalog,
        store: Store,
        *,
        clock: Clock,
        tenant: str,
        principal_of: PrincipalOf | None,
        new_id: Callable[[], UUID] = uuid7,
    ) -> None:
        self._topology = topology
        self._tokens = tokens
        self._catalog = catalog
        self._store = store
        self._clock = clock
        self._tenant = tenant
        self._principal_of = principal_of
        self._children = Children(store, catalog, self._start, new_id)
        self._new_id = new_id
        self._speakers: dict[str, tuple[float, _Speaker]] = {}

    async def read(self, delivery: Delivery) -> Reading:
        """What a delivery asks for. Raises StoreUnavailable when a definition cannot be read.

        Nothing else is raised: what one message of a stranger brings about ends with a dead letter,
        or it would come again, and end every orchestrator in turn.
        """
        try:
            return await self._read(delivery)
        except StoreUnavailable:
            raise
        except Exception as error:
            log.exception("%s: a message cannot be read", delivery.queue)
            return Reading([], dead=f"cannot be read: {type(error).__name__}: {error}"[:1000])

    async def _read(self, delivery: Delivery) -> Reading:
        queue, message = delivery.queue, delivery.message
        if queue == self._topology.dead_commands:
            return dead_command(delivery, self._topology, self._tokens)
        if (why := message.headers.get(UNDECODABLE)) is not None:
            return Reading([], dead=f"properties that cannot be decoded: {why}")
        if message.exchange == self._topology.commands and queue == self._topology.control:
            return await self._child(delivery)
        if queue in (self._topology.start, self._topology.control):
            return await self._client(delivery)
        if message.exchange not in (self._topology.replies, ""):
            return Reading([], dead=f"a reply published to exchange {message.exchange!r}")
        if is_batch(message):
            return self._envelope(delivery)
        return self._single(delivery)

    def learn(self, hello: Hello) -> None:
        """Keep what a participant promises of its outputs."""
        self._catalog.learn(hello.commands)

    # --- replies -------------------------------------------------------------------------------

    def _single(self, delivery: Delivery) -> Reading:
        try:
            found, bad_body = self._reply(delivery.message)
        except WireError as error:
            return Reading([], dead=error.reason)
        if bad_body is not None:
            # The step learns that its output is unusable, operators find the message.
            message = delivery.message
            reading = Reading([], dead_members=(BadMember(0, bad_body, message.body, message),))
            if isinstance(found, str):
                reading.refused = (found,)
            else:
                reading.works.append(found)
            return held(reading, delivery)
        if isinstance(found, str):
            return Reading([], refused=(found,))
        found.handle = Handle(delivery.tag)
        return Reading([found])

    def _envelope(self, delivery: Delivery) -> Reading:
        try:
            members = decode_batch(delivery.message, self._topology)
        except WireError as error:
            return Reading([], dead=error.reason)
        reading = Reading([])
        refused: list[str] = []
        bad: list[BadMember] = []
        for index, member in enumerate(members):
            if isinstance(member, BadMember):
                bad.append(member)
                continue
            try:
                found, bad_body = self._reply(member)
            except WireError as error:
                bad.append(BadMember(index, error.reason, member.body, member))
                continue
            if bad_body is not None:
                bad.append(BadMember(index, bad_body, member.body, member))
            if isinstance(found, str):
                refused.append(found)
            else:
                reading.works.append(found)
        reading.refused, reading.dead_members = tuple(refused), tuple(bad)
        return held(reading, delivery)

    def _reply(self, message: AmqpMessage) -> tuple[ForSaga | str, str | None]:
        """What `_checked` says, and what is wrong with the body. WireError: foreign."""
        bad_body = None
        try:
            reply = decode_reply(message)
        except BadBody as error:
            reply, bad_body = error.message, error.reason
        return self._checked(reply, message, bad_body), bad_body

    def _checked(self, reply: Reply, message: AmqpMessage, bad_body: str | None) -> ForSaga | str:
        """The reply as work, or the reason for which it is refused. WireError: foreign."""
        try:
            service, _ = split_reply_routing_key(message.routing_key)
        except ValueError as error:
            raise WireError(str(error)) from None
        if service_of(reply.type) != service:
            raise WireError(f"routing key: expected service {service_of(reply.type)!r}")
        if message.user_id is not None and message.user_id != service:
            raise WireError(f"property user_id: expected the service {service!r}")
        if not self._tokens.verify(reply.key, reply.token):
            return "token"
        _, path, op = split_key(reply.key)
        if path is None or op not in ANSWERED_OPS:
            return f"op-{op}"
        output = problem = bad = None
        if reply.outcome is Outcome.SUCCEEDED:
            output, bad = self._output(reply, op, bad_body)
        elif reply.outcome is not Outcome.PROGRESS:
            problem = _problem(reply)
        after = reply.retry_after_s
        received = ReplyReceived(
            path=path,
            op=op,
            attempt=reply.attempt,
            service=service,
            outcome=reply.outcome,
            output=output,
            problem=problem,
            retryable=reply.retryable,
            retry_after=None if after is None else timedelta(seconds=after),
            usage=reply.usage,
            bad_output=bad,
        )
        return ForSaga(saga_id=reply.saga_id, message=received)

    def _output(
        self, reply: Reply, op: Op, bad_body: str | None
    ) -> tuple[dict[str, object] | None, Problem | None]:
        """The decoded output, or why there is none that can be used."""
        if bad_body is not None:
            return None, bad_output(bad_body)
        if reply.content_type == REF_TYPE:
            return None, bad_output("an output by reference was not asked for")
        output = reply.json()
        if op is Op.ACTION:
            bad = self._catalog.output_problem(reply.type, output)
            if bad is not None:
                return None, bad
        elif op is Op.PROBE and output.get("effect") == ProbeEffect.PRESENT:
            return output, self._catalog.output_problem(reply.type, output.get("output"))
        return output, None

    # --- clients -------------------------------------------------------------------------------

    async def _client(self, delivery: Delivery) -> Reading:
        message = delivery.message
        if message.routing_key == "hello":
            return _hello(message)
        answer_to = _answer_to(message)
        try:
            asked = decode_client(message)
        except WireError as error:
            refused = Refused(type=ProblemType.BAD_REQUEST, detail=error.reason)
            return Reading([], dead=error.reason, answer_to=answer_to, answer=refused)
        speaker = await self._speaker(message.user_id)
        scopes = REVIEWER_SCOPES if isinstance(asked, Decide) else CLIENT_SCOPES
        if speaker.scope not in scopes:
            detail = f"{speaker.name} may not do this: its scope is {speaker.scope}"
            refused = Refused(type=ProblemType.FORBIDDEN, detail=detail)
            return Reading([], refused=(refused.type,), answer_to=answer_to, answer=refused)
        tenant, by = speaker.tenant, speaker.name
        match asked:
            case Start():
                found = await self.start(tenant, by, asked, trace_of(message))
            case Cancel():
                wanted = CancelRequested(reason=asked.reason, by=by)
                found = ForSaga(saga_id=asked.saga_id, message=wanted, tenant=tenant)
            case Undo():
                trace = trace_of(message)
                store, catalog = self._store, self._catalog
                found = await undo_of(store, catalog, tenant, by, asked, trace, self._new_id)
            case Signal():
                found = await self.signal(tenant, by, asked)
            case Decide():
                store, catalog, roles = self._store, self._catalog, speaker.roles
                found = await decision_of(store, catalog, tenant, by, roles, asked)
            case _:
                detail = f"{message.routing_key} is not served by this version"
                found = Refused(type=ProblemType.UNSUPPORTED, detail=detail)
        if isinstance(found, Refused):
            return Reading([], refused=(found.type,), answer_to=answer_to, answer=found)
        if isinstance(found, SignalKept):
            return Reading([], answer_to=answer_to, answer=found)
        found.handle, found.answer_to = Handle(delivery.tag), answer_to
        return Reading([found])

    async def start(
        self,
        tenant: str,
        by: str,
        start: Start,
        trace: Trace | None,
        requested_by: str | None = None,
    ) -> ForStart | Refused:
        """A start with its definition found and its input checked, or what is wrong with it."""
        if is_undo_start_key(start.key) or is_action_key(start.key):
            detail = f"key {start.key!r} is one that only an undo or a child saga can have"
            return Refused(type=ProblemType.BAD_REQUEST, detail=detail)
        found = await self._start(tenant, by, start, trace)
        if isinstance(found, ForStart):
            found.requested_by = requested_by
        return found

    async def _start(
        self, tenant: str, by: str, start: Start, trace: Trace | None
    ) -> ForStart | Refused:
        registered = await self._catalog.get(start.definition, start.version)
        if registered is None:
            version = "" if start.version is None else f", version {start.version}"
            detail = f"no definition {start.definition!r}{version} is registered"
            return Refused(type=ProblemType.NOT_FOUND, detail=detail)
        errors = registered.input.errors(start.input)
        if errors:
            first = errors[0]
            detail = f"input{first.path}: {first.reason}"
            errors = tuple(e.model_copy(update={"path": f"/input{e.path}"}) for e in errors)
            return Refused(type=ProblemType.BAD_REQUEST, detail=detail, errors=errors)
        return ForStart(
            saga_id=SagaId(str(self._new_id())),
            tenant=tenant,
            by=by,
            start=start,
            registered=registered,
            input_digest=input_digest(start.input),
            labels=_labels(registered.definition.labels, start),
            retired=await self._catalog.is_retired(registered.name, registered.version),
            trace=trace,
        )

    async def signal(self, tenant: str, by: str, asked: Signal) -> ForSaga | SignalKept | Refused:
        """A signal for its saga; kept if it is by key and the saga is not there yet."""
        if asked.saga_id is not None:
            message = Signalled(event=asked.event, id=asked.id, by=by, data=asked.data)
            return ForSaga(saga_id=asked.saga_id, message=message, tenant=tenant)
        assert asked.definition is not None
        if await self._catalog.get(asked.definition, None) is None:
            detail = f"no definition {asked.definition!r} is registered"
            return Refused(type=ProblemType.NOT_FOUND, detail=detail)
        return await for_key(self._store, tenant, by, asked)

    async def _speaker(self, user_id: str | None) -> _Speaker:
        """Who speaks. Whom nobody has named is a starter of the default tenant."""
        if user_id is None or self._principal_of is None:
            return _Speaker(user_id or "broker", self._tenant, "starter")
        now = self._clock.monotonic()
        known = self._speakers.get(user_id)
        if known is not None and known[0] > now:
            return known[1]
        principal = await self._principal_of(user_id)
        speaker = _Speaker(user_id, self._tenant, "starter")
        if principal is not None:
            scope, roles = str(principal.scope), principal.roles
            speaker = _Speaker(principal.name, principal.tenant, scope, roles)
        self._speakers[user_id] = (now + PRINCIPAL_S, speaker)
        return speaker

    # --- child sagas ---------------------------------------------------------------------------

    async def _child(self, delivery: Delivery) -> Reading:
        """A command to the reserved service `amends`: only we can have asked."""
        try:
            command = decode_command(delivery.message)
        except WireError as error:
            return Reading([], dead=error.reason)
        if command.key is None or command.saga_id is None:
            return Reading([], dead=f"{command.op} is not served by the orchestrator")
        if not self._tokens.verify(command.key, command.token):
            return Reading([], refused=("token",))
        found = await self._children.work_of(command)
        if found is None:
            return Reading([], dead=f"{command.type} {command.op} is not served")
        found.handle = Handle(delivery.tag)
        return Reading([found])


def _hello(message: AmqpMessage) -> Reading:
    try:
        hello = decode_hello(message)
    except WireError as error:
        return Reading([], dead=error.reason)
    if hello.service == ENGINE:
        return Reading([], dead=f"service {ENGINE!r} is the orchestrator itself")
    if message.user_id is not None and message.user_id != hello.service:
        return Reading([], dead=f"property user_id: expected the service {hello.service!r}")
    return Reading([], hello=hello)


def _problem(reply: Reply) -> Problem:
    """The reply's problem, of a size that a journal can hold once per attempt."""
    problem = reply.problem()
    if len(reply.body) <= PROBLEM_BYTES_MAX and len(problem.type) <= PROBLEM_TYPE_CHARS_MAX:
        return problem
    detail = problem.detail
    return Problem(
        type=problem.type[:PROBLEM_TYPE_CHARS_MAX],
        title=problem.title[:PROBLEM_TITLE_CHARS_MAX],
        status=problem.status,
        detail=None if detail is None else detail[:PROBLEM_DETAIL_CHARS_MAX],
    )


def _answer_to(message: AmqpMessage) -> AnswerTo | None:
    return AnswerTo(message.reply_to, message.correlation_id) if message.reply_to else None


def _labels(names: tuple[str, ...], start: Start) -> dict[str, str]:
    """The labels given, and those that the definition takes from the input."""
    labels = dict(start.labels)
    given: object = start.input
    members = cast("dict[str, Json]", given) if isinstance(given, dict) else {}
    for name in names:
        value = members.get(name)
        if isinstance(value, str | int | float | bool) and name not in labels:
            labels[name] = value if isinstance(value, str) else str(value).lower()
    return labels
