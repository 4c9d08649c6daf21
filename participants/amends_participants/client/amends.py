"""The client: starts sagas, follows them, and hears what happens to them."""

# ruff: noqa: A002  # keywords of the public API are named as the wire names them

import asyncio
import os
import uuid
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final, Self, TypeVar, cast, overload

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from amends_contracts.messages import ClientMessage, Json, Lifecycle, Signal, Start
from amends_contracts.names import SagaId
from amends_contracts.plan import Plan
from amends_contracts.topology import Topology
from amends_participants.client import addresses, outbox
from amends_participants.client.asking import Asking, current_trace
from amends_participants.client.broker import Broker, lifecycle, user_of
from amends_participants.client.errors import NoAddress, Refused
from amends_participants.client.rest import Rest
from amends_participants.client.run import Run
from amends_participants.transport import ParticipantTransport
from amends_participants.transport_amqp import AmqpTransport

In = TypeVar("In")
TIMEOUT_S: Final = 10.0
STARTS_AT_ONCE: Final = 200
"""Of `start_many`: how many questions are under way at a time."""
RELAY_POLL_S: Final = 1.0


class Amends:
    """A client of Amends, over REST (`https://…`) or the broker (`amqp://…`), by its address.

        amends = Amends()
        run = await amends.start(plan, Trip(traveller="Ada", to="LIS"), key="order-17")
        print(await run.result(timeout=30))

    Without an address: `AMENDS_API_URL` (and `AMENDS_API_KEY`), else `AMENDS_BROKER_URL`, else what
    `amends up` wrote into `.amends/up.json` here or in a folder above. Results and status are read
    over REST in any case, events come over the broker: give both where both are needed. Connects
    when it is first needed; close it, or use it as `async with Amends() as amends:`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_url: str | None = None,
        broker_url: str | None = None,
        api_key: str | None = None,
        prefix: str | None = None,
        user_id: str | None = None,
        timeout_s: float = TIMEOUT_S,
        connect: Callable[[], ParticipantTransport] | None = None,
    ) -> None:
        """`user_id` is the broker user where the URL does not name it (certificates); `connect`
        makes connections to an in-process broker instead of one with an address; `timeout_s`
        bounds each question.
        """
        self.timeout_s = timeout_s
        self._addresses = addresses.find(url, api_url, broker_url, api_key)
        self._topology = Topology(prefix or os.environ.get("AMENDS_PREFIX") or "amends")
        self._user_id = user_id
        self._connect = connect
        self._rest: Rest | None = None
        self._asking: Asking | None = None
        self._relays: list[outbox.Relay] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let go of connections."""
        asking, rest = self._asking, self._rest
        self._asking = self._rest = None
        if asking is not None:
            await asking.close()
        if rest is not None and rest is not asking:
            await rest.close()

    # --- sagas

    @overload
    async def start(
        self,
        plan: Plan[In],
        input: In,
        *,
        key: str,
        labels: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Run: ...
    @overload
    async def start(
        self,
        plan: str,
        input: Json,
        *,
        key: str,
        version: int | None = None,
        labels: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Run: ...
    async def start(
        self,
        plan: Plan[Any] | str,
        input: Json,
        *,
        key: str,
        version: int | None = None,
        labels: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Run:
        """Start a saga of a plan, or of a registered definition by its name.

        Once per key: the same start again gives the same saga, the same key with another input is
        Refused. When this returns, the start is durable. Unavailable after `timeout` seconds (by
        default the client's): start again with the same key. A plan starts its own version.
        """
        return await self._started(_start(plan, input, key, version, labels), timeout)

    @overload
    async def start_many(
        self,
        plan: Plan[In],
        inputs: Mapping[str, In],
        *,
        labels: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Run | Refused]: ...
    @overload
    async def start_many(
        self,
        plan: str,
        inputs: Mapping[str, Json],
        *,
        version: int | None = None,
        labels: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Run | Refused]: ...
    async def start_many(
        self,
        plan: Plan[Any] | str,
        inputs: Mapping[str, Json],
        *,
        version: int | None = None,
        labels: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, Run | Refused]:
        """Start one saga for each key of `inputs`, many at a time.

        Gives each key its run or its refusal. Unavailable if any was not answered; all may be
        started again.
        """
        places = asyncio.Semaphore(STARTS_AT_ONCE)

        async def one(key: str, value: Json) -> Run | Refused:
            async with places:
                try:
                    return await self._started(_start(plan, value, key, version, labels), timeout)
                except Refused as refusal:
                    return refusal

        starting = (one(key, value) for key, value in inputs.items())
        started = await asyncio.gather(*starting, return_exceptions=True)
        runs: dict[str, Run | Refused] = {}
        for key, run in zip(inputs, started, strict=True):
            if isinstance(run, BaseException) and not isinstance(run, Refused):
                raise run
            runs[key] = run
        return runs

    @overload
    async def start_in(
        self,
        session: AsyncSession | AsyncConnection,
        plan: Plan[In],
        input: In,
        *,
        key: str,
        labels: Mapping[str, str] | None = None,
    ) -> None: ...
    @overload
    async def start_in(
        self,
        session: AsyncSession | AsyncConnection,
        plan: str,
        input: Json,
        *,
        key: str,
        version: int | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None: ...
    async def start_in(
        self,
        session: AsyncSession | AsyncConnection,
        plan: Plan[Any] | str,
        input: Json,
        *,
        key: str,
        version: int | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Start a saga if, and only if, the caller's own transaction commits.

        Writes a row of table `amends_client_outbox` (`create_outbox`, or schema.sql in your own
        migrations); `relay` sends it. To follow the saga, `start` it again with the same key.
        """
        message = _start(plan, input, key, version, labels)
        await outbox.write(session, message, current_trace(), self._nudge)

    async def relay(self, engine: AsyncEngine, *, poll_s: float = RELAY_POLL_S) -> None:
        """Send what `start_in` wrote, until cancelled; run it in one task per process, or in one.

        What was committed by this client's own `start_in` is sent at once, the rest within
        `poll_s`. A start that is refused stays in the table with its problem, and is logged.
        """
        relay = outbox.Relay(engine, self._ask_with(), poll_s=poll_s)
        self._relays.append(relay)
        try:
            await relay.run()
        finally:
            self._relays.remove(relay)

    def run(self, saga_id: str) -> Run:
        """A saga by its id."""
        return Run(self, SagaId(saga_id))

    async def signal(
        self,
        definition: str,
        key: str,
        event: str,
        data: Json = None,
        *,
        id: str,
    ) -> None:
        """Hand an event to the saga of a key, which need not be there yet; once per `id`."""
        message = Signal(definition=definition, key=key, event=event, id=id, data=data)
        await self.ask(message)

    async def events(
        self, definition: str | None = None, *, queue: str | None = None
    ) -> AsyncGenerator[Lifecycle]:
        """Lifecycle events of a definition (that asks for them), or of all, as they come.

        An event is acknowledged when the next one is asked for. With a `queue` of your own name
        nothing is missed while nobody listens, and listeners of one name share the events; else
        only what happens meanwhile is heard. Needs the broker.
        """
        transport = self._new_transport("events")
        async for event in lifecycle(transport, self._topology, definition, queue):
            yield event

    # --- what Run uses

    async def ask(self, message: ClientMessage, *, timeout: float | None = None) -> Any:
        """Ask a verb until it is answered. Refused, or Unavailable in the end."""
        return await self._ask_with().ask(
            message,
            message_id=str(uuid.uuid4()),
            trace=current_trace(),
            timeout_s=self.timeout_s if timeout is None else timeout,
        )

    async def _started(self, message: Start, timeout: float | None) -> Run:
        answer = await self.ask(message, timeout=timeout)
        return Run(self, SagaId(answer["saga_id"]), created=bool(answer["created"]))

    def rest(self) -> Rest:
        """REST, where the truth is; NoAddress if none is known."""
        if self._rest is None:
            if self._addresses.api is None:
                raise NoAddress("REST", "api_url", "AMENDS_API_URL")
            self._rest = Rest(self._addresses.api, self._addresses.api_key)
        return self._rest

    def _ask_with(self) -> Asking:
        if self._asking is None:
            over_broker = self._connect is not None or self._addresses.prefers_broker
            self._asking = self._broker() if over_broker else self.rest()
        return self._asking

    def _broker(self) -> Broker:
        transport = self._new_transport("client")
        url = self._addresses.broker
        user_id = self._user_id
        if user_id is None and self._connect is None and url is not None:
            user_id = user_of(url)
        where = addresses.shown(url) or "the broker of this process"
        return Broker(transport, self._topology, where=where, user_id=user_id)

    def _new_transport(self, name: str) -> ParticipantTransport:
        if self._connect is not None:
            return self._connect()
        if self._addresses.broker is None:
            raise NoAddress("the broker", "broker_url", "AMENDS_BROKER_URL")
        return AmqpTransport(self._addresses.broker, self._topology, name=f"amends/{name}")

    def _nudge(self) -> None:
        for relay in self._relays:
            relay.nudge()


def _start(
    plan: Plan[Any] | str,
    given: object,
    key: str,
    version: int | None,
    labels: Mapping[str, str] | None,
) -> Start:
    """The start of a plan's own version, or of a name; models are written as JSON."""
    value = given.model_dump(mode="json", by_alias=True) if isinstance(given, BaseModel) else given
    if isinstance(plan, Plan):
        name, version = plan.name, version or plan.version
    else:
        name = plan
    return Start(
        definition=name, key=key, input=cast(Json, value), version=version, labels=labels or {}
    )
