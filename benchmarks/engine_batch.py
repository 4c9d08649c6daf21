"""What a transition costs the orchestrator's process, without sockets: read, decide, write, send.

The processor's microseconds per transition of the 4-step saga, in batches of 128: from the replies
as they come off the wire to the arrays of the commit and the outbox row of what is published. The
store is a dict of the very texts that the database would be given. A saga has five transitions, a
compensated one eight.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, Final, cast
from uuid import UUID

from pydantic_core import from_json

from amends_contracts.amqp import AmqpMessage, Delivery, DeliveryTag
from amends_contracts.codec import decode_command, encode_client, encode_reply
from amends_contracts.messages import JSON_TYPE, Json, Outcome, Reply, Start
from amends_contracts.names import MessageId, Op, SagaId
from amends_contracts.problems import PROBLEM_CONTENT_TYPE
from amends_contracts.topology import Topology
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.core.state import Identity, SagaStatus
from amends_orchestrator.engine.catalog import Catalog
from amends_orchestrator.engine.circuits import Circuits
from amends_orchestrator.engine.clock import SystemClock
from amends_orchestrator.engine.commit import NOTHING_SETTLED, Committer, Durable
from amends_orchestrator.engine.counters import Counters
from amends_orchestrator.engine.dispatch import Dispatcher
from amends_orchestrator.engine.edge import Edge
from amends_orchestrator.engine.ports import Batch, Loaded, StartKey, Store, StoredSaga
from amends_orchestrator.engine.tokens import Tokens
from amends_orchestrator.engine.tracing import NoTracing
from amends_orchestrator.engine.work import Work
from amends_orchestrator.store.arrays import batch_arrays
from amends_orchestrator.store.recent import RecentRows

BATCHES: Final = range(128)
STEPS: Final = ("one", "two", "three", "four")
TOPOLOGY: Final = Topology("bench")
NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
DOCUMENT: Final[Json] = {
    "name": "bench",
    "version": 1,
    "input": {
        "type": "object",
        "properties": {"n": {"type": "integer"}},
        "required": ["n"],
    },
    "steps": [
        {
            "id": name,
            "kind": "action",
            "command": f"{name}.do",
            "input": {"n": "${ input.n }"},
            "effect": "transactional",
            "compensation": {},
        }
        for name in STEPS
    ],
}


class _Texts:
    """The store's hot calls over dicts of texts: what the real one does but for the socket."""

    def __init__(self) -> None:
        self.now = NOW
        self.sagas: dict[SagaId, tuple[Identity, int, str, str]] = {}
        self.recent = RecentRows()

    async def definition(self, name: str, version: int | None) -> tuple[int, Json]:
        return 1, DOCUMENT

    async def is_retired(self, name: str, version: int) -> bool:
        return False

    async def load(self, sagas: Sequence[SagaId], starts: Sequence[StartKey]) -> Loaded:
        self.now += timedelta(milliseconds=5)
        found: dict[SagaId, StoredSaga] = {}
        for saga_id in sagas:
            identity, seq, status, state = self.sagas[saga_id]
            found[saga_id] = StoredSaga(
                identity=identity,
                seq=seq,
                status=SagaStatus(status),
                state=from_json(state),
                wake_at=None,
            )
        remembered = self.recent.of(sagas)
        return Loaded(now=self.now, sagas=found, starts={}, remembered=remembered)

    async def commit(self, batch: Batch) -> None:
        arrays = batch_arrays(batch)
        identities = {w.identity.saga_id: w.identity for w in batch.sagas}
        for prefix in ("changed", "new"):
            columns = [arrays[f"{prefix}_{name}"] for name in ("id", "seq", "status", "state")]
            for saga_id, seq, status, state in zip(*columns, strict=True):
                self.sagas[saga_id] = (identities[saga_id], seq, status, state)
        self.recent.keep(arrays["row_saga_id"], arrays["row_seq"], arrays["row_data"])


class _Engine:
    """Edge and committer, as an orchestrator puts them together."""

    def __init__(self) -> None:
        self.store = _Texts()
        store = cast(Store, self.store)
        catalog = Catalog(store, CelExpressions(), SystemClock(), newest_for_s=60)
        tokens, tracing, counters = Tokens(["a secret"]), NoTracing(), Counters()
        dispatcher = Dispatcher(TOPOLOGY, tokens, tracing)
        self.edge = Edge(
            TOPOLOGY,
            tokens,
            catalog,
            store,
            clock=SystemClock(),
            tenant="default",
            principal_of=None,
        )
        self.committer = Committer(
            UUID(int=1),
            store,
            catalog,
            dispatcher,
            tracing,
            SystemClock(),
            counters,
            bytes_max=4_000_000,
            partitions=lambda: range(16),
            circuits=Circuits(monotonic, 5, lambda _: None, lambda _: None),
        )
        self.spent = 0.0

    async def batch(self, queue: str, messages: Sequence[AmqpMessage]) -> list[AmqpMessage]:
        """What one batch publishes; its processor time is added to `spent`."""
        deliveries = [Delivery(DeliveryTag(1, n), queue, m) for n, m in enumerate(messages)]
        sent: list[AmqpMessage] = []

        def done(durable: Durable) -> None:
            sent.extend(durable.assembled.messages)

        began = time.process_time()
        works: list[Work] = []
        for delivery in deliveries:
            works += (await self.edge.read(delivery)).works
        await self.committer.run(works, NOTHING_SETTLED, done)
        self.spent += time.process_time() - began
        assert len(works) == len(messages)
        return sent


def _answer(message: AmqpMessage, fails: str | None) -> AmqpMessage:
    command = decode_command(message)
    assert command.saga_id is not None
    assert command.key is not None
    assert command.reply_to is not None
    failed = command.op is Op.ACTION and command.type == fails
    reply = Reply(
        saga_id=command.saga_id,
        type=command.type,
        key=command.key,
        attempt=command.attempt,
        token=command.token,
        message_id=MessageId(f"{command.message_id}:reply"),
        outcome=Outcome.FAILED if failed else Outcome.SUCCEEDED,
        body=b'{"type":"no","title":"no"}' if failed else b'{"id":12}',
        content_type=PROBLEM_CONTENT_TYPE if failed else JSON_TYPE,
    )
    return encode_reply(reply, command.reply_to, TOPOLOGY)


async def _lives(seconds: float, fails: str | None) -> float:
    """Microseconds per transition: of each stage of a life the best round of all that fit."""
    engine = _Engine()
    best: dict[int, float] = {}
    number, until = 0, time.perf_counter() + seconds
    while number < 2 or time.perf_counter() < until:
        number += 1
        starts = [Start(definition="bench", key=f"{number}-{n}", input={"n": n}) for n in BATCHES]
        messages, queue = [encode_client(start, TOPOLOGY) for start in starts], TOPOLOGY.start
        stage = 0
        while messages:
            engine.spent = 0.0
            sent = await engine.batch(queue, messages)
            best[stage] = min(best.get(stage, engine.spent), engine.spent)
            stage += 1
            messages, queue = [_answer(m, fails) for m in sent], TOPOLOGY.partition_queue(0)
        engine.store.sagas.clear()
        engine.store.recent.clear()
    return round(sum(best.values()) / len(best) / len(BATCHES) * 1e6, 1)


def run(seconds: float) -> dict[str, Any]:
    """Both ways a saga can go."""
    return {
        "unit": "us of CPU per transition",
        "success": asyncio.run(_lives(seconds / 2, None)),
        "compensating": asyncio.run(_lives(seconds / 2, "four.do")),
    }
