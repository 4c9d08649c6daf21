"""The orchestrator of a drill: the real engine over a database of its own, and a broker in this
process at whose other side the gateway stands. It can be killed, and started again.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Sequence
from typing import Final

from pydantic import SecretStr

from amends_contracts.amqp import AmqpMessage, Delivery, PublishResult
from amends_contracts.names import Op, SagaId, StepPath, split_key
from amends_contracts.topology import Topology
from amends_orchestrator.core.expressions import Expressions
from amends_orchestrator.engine.orchestrator import Orchestrator
from amends_orchestrator.engine.ports import Store
from amends_orchestrator.settings import Settings
from amends_orchestrator.transport.memory import MemoryBroker, MemoryTransport

READY_S: Final = 20.0
POLL_S: Final = 0.01
Mortal = Callable[[bool, SagaId, Op, StepPath], bool]
"""Whether the orchestrator dies at this message: it is about to be published (True), or arrived."""


class MortalTransport(MemoryTransport):
    """Where the orchestrator may die: with a message committed and unpublished, or undecided."""

    def __init__(self, broker: MemoryBroker, topology: Topology, dies: Mortal) -> None:
        super().__init__(broker, topology, partitions=1)
        self._dies = dies
        self.died = asyncio.Event()

    async def publish(
        self, messages: Sequence[AmqpMessage], timeout_s: float
    ) -> Sequence[PublishResult]:
        """Publish, unless this is the end."""
        await self._unless_dead(messages, outgoing=True)
        return await super().publish(messages, timeout_s)

    async def arrived(self, limit: int, timeout_s: float | None) -> Sequence[Delivery]:
        """What arrived, unless this is the end."""
        found = await super().arrived(limit, timeout_s)
        await self._unless_dead([delivery.message for delivery in found], outgoing=False)
        return found

    async def _unless_dead(self, messages: Sequence[AmqpMessage], *, outgoing: bool) -> None:
        if any(self._is_the_end(message, outgoing) for message in messages):
            self.died.set()
        if self.died.is_set():
            await asyncio.Event().wait()  # whoever is dead does nothing more; it is cancelled

    def _is_the_end(self, message: AmqpMessage, outgoing: bool) -> bool:
        key = message.headers.get("amends-key")
        if not isinstance(key, str):
            return False
        saga_id, path, op = split_key(key)
        return path is not None and self._dies(outgoing, saga_id, op, path)


class PrivateOrchestrator:
    """Keeps one engine running over one database; whoever was killed is followed by another."""

    def __init__(self, store: Store, topology: Topology, expressions: Expressions) -> None:
        self.broker = MemoryBroker()
        self.topology = topology
        self.deaths = 0
        self.dies: Mortal = _never
        self._store = store
        self._expressions = expressions
        self._settings = Settings(
            database_url=SecretStr("postgresql://in-use"),
            broker_url=SecretStr("memory://"),
            token_secrets=(SecretStr(secrets.token_urlsafe(32)),),
            prefix=topology.prefix,
            partitions=1,
            pace_ms=0,
            circuit_failures=0,  # the timeouts of a drill are meant, and tell nothing of a service
        )
        self._engine: Orchestrator | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def engine(self) -> Orchestrator:
        """The engine that lives now."""
        assert self._engine is not None
        return self._engine

    async def start(self) -> None:
        """Run until `stop`; returns when it is ready."""
        self._keeping = asyncio.create_task(self._keep())
        await self.ready()

    async def ready(self) -> None:
        """Wait for an engine that lives and works. TimeoutError, or what ended it."""
        async with asyncio.timeout(READY_S):
            while self._engine is None or not self._owns():
                if self._keeping is not None and self._keeping.done():
                    self._keeping.result()
                await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """Leave in order."""
        if self._keeping is None:
            return
        if not self._keeping.done() and self._engine is not None and self._owns():
            await self._engine.stop()
        self._keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._keeping

    def _owns(self) -> bool:
        engine = self._engine
        return engine is not None and engine.is_ready() and bool(engine.stats().owned)

    async def _keep(self) -> None:
        while True:
            transport = MortalTransport(self.broker, self.topology, self._is_fatal)
            engine = Orchestrator(self._store, transport, self._settings, self._expressions)
            self._engine = engine
            running = asyncio.create_task(engine.run())
            dying = asyncio.create_task(transport.died.wait())
            try:
                await asyncio.wait({running, dying}, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    running.result()
                    return
                self.deaths += 1
            finally:
                self._engine = None
                dying.cancel()
                running.cancel()  # as a kill: nothing is given up
                await asyncio.gather(running, dying, return_exceptions=True)
            # Its lease would run out; nobody learns anything while waiting for that.
            await self._store.leave(engine.id)

    def _is_fatal(self, outgoing: bool, saga_id: SagaId, op: Op, path: StepPath) -> bool:
        return self.dies(outgoing, saga_id, op, path)


def _never(_: bool, __: SagaId, ___: Op, ____: StepPath) -> bool:
    return False
