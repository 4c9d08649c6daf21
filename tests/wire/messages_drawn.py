"""Hypothesis strategies: any message that the contract allows."""

from dataclasses import dataclass
from datetime import UTC, datetime

from hypothesis import strategies as st

from amends_contracts.amqp import AmqpMessage
from amends_contracts.messages import (
    JSON_TYPE,
    ActionOutcome,
    Cancel,
    Command,
    CommandInfo,
    Decide,
    Effect,
    EnlistedCompensation,
    EnlistSettle,
    EnlistStep,
    Hello,
    Json,
    Lifecycle,
    LifecycleEvent,
    Outcome,
    Reply,
    Reversal,
    Signal,
    Start,
    Trace,
    Undo,
    Usage,
    digest_of,
    to_body,
)
from amends_contracts.names import (
    Key,
    MessageId,
    Op,
    SagaId,
    StepPath,
    key_of,
    ledger_key,
    message_id_of,
)
from amends_contracts.problems import PROBLEM_CONTENT_TYPE, Problem

SAGAS = st.uuids().map(lambda u: SagaId(str(u)))
NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,15}", fullmatch=True)
COMMAND_NAMES = st.builds("{}.{}".format, NAMES, NAMES)
_SEGMENTS = st.from_regex(r"[a-z][a-z0-9_-]{0,8}(\[[0-9]{1,3}\]|#[0-9]{1,3})?", fullmatch=True)
PATHS = st.lists(_SEGMENTS, min_size=1, max_size=5).map(lambda s: StepPath(".".join(s)))
_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
WORDS = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(_CHARACTERS, max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(_CHARACTERS, max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(_CHARACTERS, max_size=8), JSON, max_size=4)
BODIES = OBJECTS.map(to_body)
TIMES = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 (hypothesis adds the zone)
    datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
_HEX = st.integers(1, 2**128 - 1)
_BAGGAGE = st.none() | st.just("tenant=acme")


def _trace(number: int, baggage: str | None) -> Trace:
    return Trace(f"00-{number:032x}-{number % 2**64:016x}-01", None, baggage)


TRACES = st.none() | st.builds(_trace, _HEX, _BAGGAGE)
TOKENS = st.none() | st.from_regex(r"[0-9a-f]{64}", fullmatch=True)
ATTEMPTS = st.integers(1, 10_000)
PROBLEMS = st.builds(Problem, type=WORDS, title=st.text(_CHARACTERS, max_size=20), detail=WORDS)
EXTRAS = st.dictionaries(st.from_regex(r"amends-x-[a-z]{1,8}", fullmatch=True), WORDS, max_size=2)


@st.composite
def commands(draw: st.DrawFn) -> Command:
    """A command of any op."""
    op = draw(st.sampled_from(Op))
    body, name = draw(BODIES), draw(COMMAND_NAMES)
    if op is Op.FORGET:
        return Command(type=name, op=op, message_id=MessageId(draw(NAMES)), body=body)
    saga, path, attempt = draw(SAGAS), draw(PATHS), draw(ATTEMPTS)
    of_action = op in (Op.COMPENSATION, Op.PROBE)
    return Command(
        type=name,
        op=op,
        message_id=message_id_of(saga, path, op, attempt),
        body=body,
        saga_id=saga,
        reply_to=f"reply.{draw(NAMES)}.07",
        key=ledger_key(saga) if op is Op.LEDGER else key_of(saga, path, op),
        digest=digest_of(body),
        compensates=key_of(draw(SAGAS), path, Op.ACTION) if of_action else None,
        action_outcome=draw(st.sampled_from(ActionOutcome)) if op is Op.COMPENSATION else None,
        attempt=attempt,
        deadline=draw(st.none() | TIMES),
        token=draw(TOKENS),
        definition=draw(st.none() | st.just("book-trip@3")),
        tenant=draw(st.none() | NAMES),
        trace=draw(TRACES),
        extra_headers=draw(EXTRAS),
    )


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    """A reply of any outcome."""
    saga, path, op = draw(SAGAS), draw(PATHS), draw(st.sampled_from(Op))
    outcome = draw(st.sampled_from(Outcome))
    is_output = outcome in (Outcome.SUCCEEDED, Outcome.PROGRESS)
    usage = st.builds(
        Usage,
        st.integers(0, 10**9),
        st.integers(0, 10**9),
        st.none() | st.floats(0, 1e6),
        NAMES,
    )
    return Reply(
        saga_id=saga,
        type=draw(COMMAND_NAMES),
        key=Key(key_of(saga, path, op)),
        attempt=draw(ATTEMPTS),
        token=draw(TOKENS),
        message_id=MessageId(f"{message_id_of(saga, path, op, 1)}:reply"[:240]),
        outcome=outcome,
        body=draw(BODIES) if is_output else to_body(draw(PROBLEMS).to_json()),
        retryable=draw(st.booleans()),
        retry_after_s=draw(st.none() | st.integers(0, 86_400).map(float)),
        usage=draw(st.none() | usage),
        trace=draw(TRACES),
        content_type=JSON_TYPE if is_output else PROBLEM_CONTENT_TYPE,
    )


@st.composite
def hellos(draw: st.DrawFn) -> Hello:
    """A `hello` with commands of its service."""
    service = draw(NAMES)
    schemas = st.none() | OBJECTS
    infos = st.builds(
        CommandInfo,
        effect=st.sampled_from(Effect),
        reversal=st.sampled_from(Reversal),
        input=schemas,
        output=schemas,
        compensation=st.none() | st.just(f"{service}.undo"),
        probe=st.booleans(),
    )
    verbs = draw(st.dictionaries(NAMES, infos, max_size=3))
    return Hello(
        service=service,
        instance=draw(WORDS),
        commands={f"{service}.{verb}": info for verb, info in verbs.items()},
        sdk=draw(st.none() | WORDS),
        accepts=draw(st.frozensets(st.sampled_from(["batch", "ref"]))),
        horizon=draw(st.none() | st.sampled_from(["P30D", "PT12H"])),
    )


STARTS = st.builds(
    Start,
    definition=NAMES,
    key=WORDS,
    input=JSON,
    version=st.none() | st.integers(1, 1000),
    labels=st.dictionaries(WORDS, WORDS, max_size=3),
)
CLIENT_MESSAGES = st.one_of(
    STARTS,
    st.builds(Cancel, saga_id=SAGAS, reason=WORDS),
    st.builds(Undo, saga_id=SAGAS, reason=WORDS, across_pivot=st.booleans()),
    st.builds(Signal, event=WORDS, id=WORDS, data=JSON, saga_id=SAGAS),
    st.builds(Signal, event=WORDS, id=WORDS, data=JSON, definition=NAMES, key=WORDS),
    st.builds(
        Decide,
        review_id=WORDS,
        decision=st.sampled_from(("approve", "reject", "edit")),
        shown_digest=WORDS,
        body=JSON,
        comment=st.none() | WORDS,
    ),
    st.builds(
        EnlistStep,
        saga_id=SAGAS,
        step=NAMES,
        compensation=st.none() | st.builds(EnlistedCompensation, COMMAND_NAMES, JSON),
        effect=st.sampled_from(Effect),
        reversal=st.sampled_from(Reversal),
    ),
    st.builds(
        EnlistSettle,
        saga_id=SAGAS,
        step=NAMES,
        outcome=st.sampled_from(Outcome),
        output=JSON,
    ),
)
EVENTS = st.builds(
    Lifecycle,
    id=WORDS,
    event=st.sampled_from(LifecycleEvent),
    time=TIMES,
    saga_id=SAGAS,
    definition=NAMES,
    version=st.integers(1, 1000),
    key=WORDS,
    status=NAMES,
    step=st.none() | PATHS.filter(lambda path: len(path) < 200),
    problem=st.none() | PROBLEMS,
)
_ANY_TEXT = st.none() | st.text(max_size=20)
AMQP_MESSAGES = st.builds(
    AmqpMessage,
    exchange=st.text(max_size=10),
    routing_key=st.text(max_size=20),
    body=st.binary(max_size=200),
    message_id=_ANY_TEXT,
    type=_ANY_TEXT,
    correlation_id=_ANY_TEXT,
    reply_to=_ANY_TEXT,
    content_type=_ANY_TEXT,
    user_id=_ANY_TEXT,
    headers=st.dictionaries(
        st.text(max_size=10),
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63)
        | st.floats(allow_nan=False)
        | st.text(max_size=20),
        max_size=4,
    ),
    mandatory=st.booleans(),
)


@dataclass(frozen=True)
class Answer:
    """What may be answered to a client: a JSON object."""

    value: Json


ANSWERS = st.builds(Answer, OBJECTS)
