"""FastStream services as participants (extra `faststream`).

    broker = RabbitBroker(url)
    app = FastStreamParticipant("payments", broker)

    @app.action(ChargeCard)
    async def charge(
        cmd: ChargeCard, tx: AsyncConnection, effect: Effect, fx: Annotated[Rates, Depends(rates)]
    ) -> Receipt: ...

The handlers are subscribers of the broker like all others: its middlewares run around them, their
dependencies and context are injected, AsyncAPI shows them. What brings the commands is the SDK's
own transport, on connections of its own, so that the barrier, confirms and draining are the same
as everywhere; an exchange is cached by FastStream on the channel that declared it first, which
would put publishing on the subscriber's channel.

Run it with `amends-participant payments:app`, or beside the service's other subscribers with
`FastStream(broker, lifespan=app.lifespan)`.
"""

import asyncio
import inspect
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import ExitStack, asynccontextmanager
from datetime import timedelta
from typing import Annotated, Any, Final

from aio_pika import IncomingMessage
from aiormq.abc import DeliveredMessage
from aiormq.exceptions import AMQPConnectionError
from faststream import AckPolicy, Context
from faststream.exceptions import IgnoredException
from faststream.rabbit import ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue
from faststream.rabbit.subscriber.usecase import RabbitSubscriber
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from pydantic import BaseModel
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from amends_contracts.command import Command
from amends_contracts.messages import JSON_TYPE, to_body
from amends_contracts.topology import Queue, Topology
from amends_participants.app import Participant, Registration
from amends_participants.outcomes import Failed, Unknown
from amends_participants.runtime.settings import ParticipantSettings
from amends_participants.signatures import Bound, Handler, Part, Role, bind

CONTEXT_PREFIX: Final = "amends_"
START_TIMEOUT_S: Final = 60
START_POLL_S: Final = 0.05
START_PAUSE_S_MAX: Final = 5.0

log = logging.getLogger(__name__)


class FastStreamParticipant(Participant):
    """A Participant whose handlers are subscribers of a FastStream broker.

    Handlers may take, beside what the SDK gives (`cmd`, `undo`, `tx`, `session`, `effect`),
    whatever FastStream injects. `prefix`: default AMENDS_PREFIX.
    """

    def __init__(
        self,
        service: str,
        broker: RabbitBroker,
        *,
        prefix: str | None = None,
        horizon: timedelta | None = None,
    ) -> None:
        super().__init__(service, horizon=horizon)
        self.broker = broker
        self._topology = Topology(prefix or ParticipantSettings().prefix)
        self._subscribers: list[_LaneSubscriber] = []
        self._outer_lifespan = False
        self._starting: asyncio.Task[None] | None = None
        self.on_start(self._start_broker)
        self.on_stop(self._stop_broker)

    @asynccontextmanager
    async def lifespan(self, *_: Any) -> AsyncGenerator[None]:
        """For `FastStream(broker, lifespan=app.lifespan)`: serves commands beside the rest.

        FastStream owns the broker and the signals then; settings come from `AMENDS_*`.
        """
        from amends_participants.run import served

        self._outer_lifespan = True
        async with served([self]):
            yield

    async def _start_broker(self) -> None:
        """Start it; where it is away, go on trying: handlers wait for it, as our own links do."""
        if self._outer_lifespan:
            return
        try:
            await self.broker.start()
        except (AMQPConnectionError, OSError) as away:
            log.warning("the broker is away (%s); %s goes on trying", away, self.service)
            self._starting = asyncio.create_task(self._start_in_the_end())

    async def _start_in_the_end(self) -> None:
        async for attempt in AsyncRetrying(
            wait=wait_random_exponential(multiplier=0.1, max=START_PAUSE_S_MAX),
            retry=retry_if_exception_type((AMQPConnectionError, OSError)),
        ):
            with attempt:
                await self.broker.start()

    async def _stop_broker(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        if not self._outer_lifespan:
            await self.broker.stop()

    def _bind(self, handler: Handler, role: Role, command: type[Command[Any]]) -> Bound:
        """Make a subscriber of the handler; what the runtime calls goes through it."""
        bound = bind(handler, role, command, foreign=True)
        subscriber = self._subscriber(handler, role, command)
        subscriber(_injected(handler, bound, role))
        self._subscribers.append(subscriber)

        async def call(**given: object) -> Any:
            return await subscriber.handle(self.broker, _incoming(subscriber, given), given)

        taken = bound.takes | _message_parts(role, bound)
        parameters = {part.value: part for part in Part if part in taken}
        return Bound(call, parameters, bound.body_model)

    def _subscriber(
        self, handler: Handler, role: Role, command: type[Command[Any]]
    ) -> "_LaneSubscriber":
        """A subscriber that takes nothing from the broker: it is there to be called and shown."""
        name = Registration(_spec(command)).compensation_name
        do, undo = self._topology.service_queues(self.service)
        lane, verb = (undo, "undo") if role is not Role.ACTION else (do, "do")
        routing_key = f"{verb}.{_spec(command).name if role is not Role.COMPENSATION else name}"
        made = self.broker.subscriber(
            _queue(lane, routing_key),
            RabbitExchange(self._topology.commands, type=ExchangeType.TOPIC, durable=True),
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            title=f"{role}: {routing_key}",
            description=inspect.getdoc(handler),
        )
        made.__class__ = _LaneSubscriber  # the broker's factory knows its own class alone
        assert isinstance(made, _LaneSubscriber)
        return made


class _LaneSubscriber(RabbitSubscriber):
    """Called by the runtime; its `start` prepares the handler and consumes nothing."""

    __slots__ = ()

    async def start(self) -> None:
        """Prepare the handler's dependencies."""
        await super(RabbitSubscriber, self).start()
        self._post_start()

    async def handle(
        self, broker: RabbitBroker, message: IncomingMessage, given: Mapping[str, object]
    ) -> Any:
        """Run middlewares, dependencies and the handler; what it raises passes."""
        await self._prepared()
        with ExitStack() as scopes:
            for name, value in given.items():
                scopes.enter_context(broker.context.scope(CONTEXT_PREFIX + name, value))
            try:
                response: Any = await self.process_message(message)
            except _Said as said:
                raise said.error from None
        return response.body

    async def _prepared(self) -> None:
        """Wait for `start`: the broker may be started after the runtime, by its owner."""
        for _ in range(int(START_TIMEOUT_S / START_POLL_S)):
            if all(call.dependant is not None for call in self.calls):
                return
            await asyncio.sleep(START_POLL_S)
        raise RuntimeError("the FastStream broker has not been started")


class _Said(IgnoredException):
    """Carries Failed or Unknown past FastStream's log of errors: they are answers."""

    def __init__(self, error: Failed | Unknown) -> None:
        super().__init__(str(error))
        self.error = error


def _spec(command: type[Command[Any]]) -> Any:
    from amends_contracts.command import spec_of

    return spec_of(command)


def _message_parts(role: Role, bound: Bound) -> frozenset[Part]:
    """What the message is made of, whether the handler takes it or not."""
    if role is not Role.COMPENSATION:
        return frozenset({Part.COMMAND, Part.EFFECT})
    return frozenset({Part.BODY if bound.body_model else Part.UNDO, Part.EFFECT})


def _injected(handler: Handler, bound: Bound, role: Role) -> Handler:
    """The handler with the SDK's parameters marked as FastStream's context; `cmd` is the body."""
    signature = inspect.signature(handler, eval_str=True)
    parameters = [
        _marked(p, bound.parameters.get(p.name), role) for p in signature.parameters.values()
    ]

    async def injected(*args: Any, **kwargs: Any) -> Any:
        try:
            return await handler(*args, **kwargs)
        except (Failed, Unknown) as error:
            raise _Said(error) from error

    injected.__name__ = getattr(handler, "__name__", "handler")
    injected.__doc__ = handler.__doc__
    injected.__module__ = handler.__module__
    made: Any = injected
    made.__signature__ = signature.replace(parameters=parameters)
    injected.__annotations__ = {p.name: p.annotation for p in parameters} | {
        "return": signature.return_annotation
    }
    return injected


def _marked(parameter: inspect.Parameter, part: Part | None, role: Role) -> inspect.Parameter:
    body = part is Part.COMMAND and role is not Role.COMPENSATION
    if part is None or body:
        return parameter
    return parameter.replace(annotation=Annotated[Any, Context(CONTEXT_PREFIX + part.value)])


def _incoming(subscriber: RabbitSubscriber, given: Mapping[str, object]) -> IncomingMessage:
    """The command as FastStream knows messages, for its middlewares; nothing to acknowledge."""
    body = given.get(Part.COMMAND.value) or given.get(Part.BODY.value)
    effect: Any = given[Part.EFFECT.value]
    content = body.model_dump_json(by_alias=True).encode() if isinstance(body, BaseModel) else b"{}"
    if (undo := given.get(Part.UNDO.value)) is not None:
        content = to_body(getattr(undo, "body", None))
    properties = Basic.Properties(
        content_type=JSON_TYPE,
        message_id=f"{effect.key}:{effect.attempt}",
        correlation_id=effect.saga_id,
        headers={"amends-key": effect.key, "amends-attempt": effect.attempt},
    )
    frame = Basic.Deliver(exchange=subscriber.exchange.name, routing_key=subscriber.queue.routing())
    unused: Any = None  # it was acknowledged, or will be, on the SDK's own channel
    return IncomingMessage(
        DeliveredMessage(
            delivery=frame,
            header=ContentHeader(body_size=len(content), properties=properties),
            body=content,
            channel=unused,
        ),
        no_ack=True,
    )


def _queue(lane: Queue, routing_key: str) -> RabbitQueue:
    arguments: Any = dict(lane.arguments)
    return RabbitQueue(
        lane.name, durable=True, routing_key=routing_key, declare=False, arguments=arguments
    )
