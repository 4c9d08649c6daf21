"""What strangers send: whatever it is, reading it ends with work, a refusal or a dead letter."""

import http.server
import threading
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from amends_contracts.amqp import AmqpMessage, Delivery, DeliveryTag
from amends_contracts.codec import (
    encode_batch,
    encode_client,
    encode_command,
    encode_hello,
    encode_reply,
)
from amends_contracts.messages import (
    JSON_TYPE,
    Command,
    CommandInfo,
    Effect,
    Hello,
    Json,
    Outcome,
    Reply,
    Reversal,
    Start,
    to_body,
)
from amends_contracts.names import START_SAGA, Key, MessageId, Op, SagaId, StepPath, key_of
from amends_contracts.problems import PROBLEM_CONTENT_TYPE
from amends_contracts.topology import Topology
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.core.decision import Refused
from amends_orchestrator.core.inputs import ReplyReceived
from amends_orchestrator.engine.catalog import Catalog, Schema
from amends_orchestrator.engine.clock import SystemClock
from amends_orchestrator.engine.edge import Edge
from amends_orchestrator.engine.ports import BadData, StoreUnavailable
from amends_orchestrator.engine.reading import Reading
from amends_orchestrator.engine.tokens import Tokens
from amends_orchestrator.engine.work import ForSaga
from amends_orchestrator.store.memory import MemoryStore

TOPOLOGY = Topology()
SAGA = SagaId("01980000-0000-7000-8000-000000000001")
KEY = key_of(SAGA, StepPath("flight"), Op.ACTION)


class Store(MemoryStore):
    """Says of definitions what a test wants."""

    error: Exception | None = None

    async def definition(self, name: str, version: int | None) -> tuple[int, Json] | None:
        """Fails if it is to."""
        if self.error is not None:
            raise self.error
        return await super().definition(name, version)


class Reader:
    """An edge without an orchestrator."""

    def __init__(self) -> None:
        self.store = Store(clock=lambda: datetime.now(UTC))
        self.tokens = Tokens(["a secret for tests alone"])
        clock = SystemClock()
        self.catalog = Catalog(self.store, CelExpressions(), clock, newest_for_s=1)
        self.edge = Edge(
            TOPOLOGY,
            self.tokens,
            self.catalog,
            self.store,
            clock=clock,
            tenant="default",
            principal_of=None,
        )

    async def read(self, queue: str, message: AmqpMessage) -> Reading:
        """What the edge makes of a message on a queue."""
        return await self.edge.read(Delivery(DeliveryTag(1, 1), queue, message))

    def reply(
        self,
        body: bytes,
        routing_key: str,
        *,
        key: Key = KEY,
        outcome: Outcome = Outcome.SUCCEEDED,
    ) -> AmqpMessage:
        """A reply of `flights` with a good token."""
        reply = Reply(
            saga_id=SAGA,
            type="flights.reserve",
            key=key,
            attempt=1,
            token=self.tokens.sign(key),
            message_id=MessageId("m"),
            outcome=outcome,
            body=body,
            content_type=JSON_TYPE if outcome is Outcome.SUCCEEDED else PROBLEM_CONTENT_TYPE,
        )
        return encode_reply(reply, routing_key, TOPOLOGY)


@pytest.fixture
def reader() -> Reader:
    """An edge without an orchestrator."""
    return Reader()


async def test_a_reply_that_is_wrong_in_two_ways_is_a_dead_letter(reader: Reader) -> None:
    """A body that is none, under another service's routing key: nobody's output, nobody's death."""
    message = reader.reply(b"[]", "reply.hotels.03")
    reading = await reader.read(TOPOLOGY.partition_queue(3), message)
    assert reading.dead is not None
    assert not reading.works


async def test_a_member_that_is_wrong_in_two_ways_goes_alone(reader: Reader) -> None:
    """The others of its envelope are read."""
    good, bad = reader.reply(b"{}", "reply.flights.03"), reader.reply(b"[]", "reply.flights.03")
    bad = replace(bad, type="hotels.book")
    envelope = encode_batch(
        [good, bad], exchange=TOPOLOGY.replies, routing_key="reply.flights.03", message_id="e"
    )
    reading = await reader.read(TOPOLOGY.partition_queue(3), envelope)
    assert [member.index for member in reading.dead_members] == [1]
    assert len(reading.works) == 1


@pytest.mark.parametrize("version", [2**31, 10**30])
async def test_a_version_that_no_definition_can_have_is_refused(
    reader: Reader, version: int
) -> None:
    """The database is not asked for a number that it cannot hold."""
    reader.store.error = BadData("value out of int32 range")
    start = Start(definition="trip", key="k", input={}, version=version)
    reading = await reader.read(
        TOPOLOGY.start, encode_client(start, TOPOLOGY, reply_to="amq.gen-1")
    )
    assert reading.dead is not None
    assert isinstance(reading.answer, Refused)
    assert reading.answer.type == "amends:bad-request"


async def test_what_nobody_foresaw_is_a_dead_letter(reader: Reader) -> None:
    """An exception about one message stops no orchestrator; the database away is no such one."""
    message = encode_client(Start(definition="trip", key="k", input={}), TOPOLOGY)
    reader.store.error = LookupError("unforeseen")
    reading = await reader.read(TOPOLOGY.start, message)
    assert reading.dead is not None
    assert "unforeseen" in reading.dead
    reader.store.error = StoreUnavailable("away")
    with pytest.raises(StoreUnavailable):
        await reader.read(TOPOLOGY.start, message)


async def test_nobody_is_the_service_of_the_orchestrator(reader: Reader) -> None:
    """`amends` runs child sagas: a participant of that name would be sent their starts."""
    hello = Hello(service="amends", instance="i", commands={})
    reading = await reader.read(TOPOLOGY.control, encode_hello(hello, TOPOLOGY))
    assert (reading.hello, reading.dead) == (None, "service 'amends' is the orchestrator itself")


async def test_a_command_to_the_orchestrator_needs_its_own_token(reader: Reader) -> None:
    """Who may publish commands can still start no child: only we sign them."""
    key = key_of(SAGA, StepPath("stay"), Op.ACTION)
    command = Command(
        type=START_SAGA,
        op=Op.ACTION,
        message_id=MessageId("m"),
        body=b"{}",
        saga_id=SAGA,
        reply_to="reply.amends.00",
        key=key,
        digest="d",
        token="forged",
    )
    reading = await reader.read(TOPOLOGY.control, encode_command(command, TOPOLOGY))
    assert (reading.works, reading.refused) == ([], ("token",))
    known = replace(command, token=reader.tokens.sign(key))
    reading = await reader.read(TOPOLOGY.control, encode_command(known, TOPOLOGY))
    assert reading.dead is not None  # of a saga that nobody knows


async def test_nobody_says_hello_for_another_service(reader: Reader) -> None:
    """Whom the broker has authenticated may promise outputs of its own service alone."""
    commands = {
        "flights.reserve": CommandInfo(
            Effect.KEYED, Reversal.COMPENSATABLE, output={"type": "null"}
        )
    }
    hello = Hello(service="flights", instance="i", commands=commands)
    message = replace(encode_hello(hello, TOPOLOGY), user_id="hotels")
    assert (await reader.read(TOPOLOGY.control, message)).hello is None
    own = replace(message, user_id="flights")
    assert (await reader.read(TOPOLOGY.control, own)).hello == hello


@pytest.fixture
def website() -> Generator[tuple[str, list[str]]]:
    """A server on this machine, and the paths it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_request(self, code: object = "-", size: object = "-") -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/schema.json", asked
        server.shutdown()


def test_a_schema_is_not_fetched_from_anywhere(website: tuple[str, list[str]]) -> None:
    """A stranger's schema may name addresses: nobody is asked, and no event loop waits for them."""
    url, asked = website
    schema = Schema({"type": "object", "properties": {"a": {"$ref": url}}})
    assert schema.errors({"a": 1}) == ()
    assert asked == []


async def test_what_a_probe_finds_is_held_to_the_schema_too(reader: Reader) -> None:
    """`present` with an output that its command does not promise: an effect without an output."""
    promised: Json = {"type": "object", "required": ["code"]}
    info = CommandInfo(Effect.KEYED, Reversal.COMPENSATABLE, output=promised)
    reader.catalog.learn({"flights.reserve": info})
    key = key_of(SAGA, StepPath("flight"), Op.PROBE)
    found: dict[str, bool] = {}
    for output in ({"code": "7C"}, {}):
        body = to_body({"effect": "present", "output": output})
        message = reader.reply(body, "reply.flights.03", key=key)
        (work,) = (await reader.read(TOPOLOGY.partition_queue(3), message)).works
        assert isinstance(work, ForSaga)
        assert isinstance(work.message, ReplyReceived)
        found[str(output)] = work.message.bad_output is not None
    assert found == {"{'code': '7C'}": False, "{}": True}


async def test_a_problem_is_cut_to_what_a_journal_can_hold(reader: Reader) -> None:
    """A compensation fails for ever, once per attempt: with a page of text each time, not with a
    quarter of a megabyte.
    """
    long = "x" * 80_000
    problem = {"type": long, "title": long, "detail": long, "more": "kept only where it is short"}
    message = reader.reply(to_body(problem), "reply.flights.03", outcome=Outcome.FAILED)
    (work,) = (await reader.read(TOPOLOGY.partition_queue(3), message)).works
    assert isinstance(work, ForSaga)
    assert isinstance(work.message, ReplyReceived)
    kept = work.message.problem
    assert kept is not None
    assert len(to_body(kept.to_json())) < 5_000
    assert kept.detail is not None
    assert long.startswith(kept.detail)


async def test_a_verb_whose_properties_cannot_be_decoded_is_a_dead_letter(reader: Reader) -> None:
    """Its body alone would start a saga, for whichever tenant and in nobody's name."""
    message = encode_client(Start(definition="trip", key="k", input={}), TOPOLOGY)
    undecodable = replace(message, headers={"amends-undecodable": "UnicodeDecodeError"})
    hello = encode_hello(Hello(service="flights", instance="i", commands={}), TOPOLOGY)
    unknown = replace(hello, headers={"amends-undecodable": "UnicodeDecodeError"})
    for queue, sent in ((TOPOLOGY.start, undecodable), (TOPOLOGY.control, unknown)):
        reading = await reader.read(queue, sent)
        assert reading.dead is not None
        assert "UnicodeDecodeError" in reading.dead
        assert not reading.works
        assert reading.hello is None
