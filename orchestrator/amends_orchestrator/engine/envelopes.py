"""Which services take envelopes, and what of a batch goes to them in one.

The outbox holds the members, byte for byte, and no envelope: what was published and is not known
to have arrived is the same whether it goes again in an envelope or singly, for its ids are its own.
Whoever takes a row over sends it singly.

A service that says it takes envelopes and does not answer what is in them is noticed: its steps
time out, and are answered when they are asked again singly. Such a service is served singly for a
while. One that is merely slow answers the envelope after all.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Final, TypeAlias
from uuid import UUID

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import Packed, pack
from amends_contracts.messages import ACCEPTS_BATCH, JSON_TYPE, Hello
from amends_contracts.names import Op, SagaId, StepPath, service_of
from amends_contracts.topology import Topology
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.core.inputs import ReplyReceived
from amends_orchestrator.core.journal_rows import is_timeout
from amends_orchestrator.engine.ports import Clock

log = logging.getLogger(__name__)

HEARD_S: Final = 90.0
"""Three hellos missed."""
LATE_S: Final = 30.0
"""An envelope that is answered so long after its step was answered singly was read, but late."""
MISSED_MAX: Final = 3
"""Members of envelopes that were never answered, before a service is served singly."""
SINGLY_S: Final = 600.0
"""For how long. Then envelopes are tried again: it may be another release by then."""
SUSPECTS_MAX: Final = 1000

Step: TypeAlias = tuple[SagaId, StepPath]


class Envelopes:
    """What is known of services, by this orchestrator's own clock."""

    def __init__(self, topology: Topology, clock: Clock) -> None:
        self._topology = topology
        self._clock = clock
        self._taking: dict[str, float] = {}
        """By service: until when it counts as taking envelopes."""
        self._singly: dict[str, float] = {}
        """By service: until when it is served singly all the same."""
        self._suspects: dict[Step, tuple[str, float] | None] = {}
        """Steps whose first attempt timed out; with service and time, once answered singly."""
        self._missed: Counter[str] = Counter()

    # --- who takes them ------------------------------------------------------------------------

    def heard(self, hello: Hello) -> None:
        """An instance has said what it takes."""
        if ACCEPTS_BATCH in hello.accepts:
            self.learn([hello.service])

    def learn(self, services: Iterable[str]) -> None:
        """Instances of these have said lately that they take envelopes."""
        until = self._clock.monotonic() + HEARD_S
        self._taking.update(dict.fromkeys(services, until))

    def takes(self, service: str) -> bool:
        """Whether its commands go in envelopes now."""
        now = self._clock.monotonic()
        return self._taking.get(service, 0.0) > now and self._singly.get(service, 0.0) <= now

    def returned(self, envelope: Packed) -> None:
        """Nobody has the queue: until its service is heard again it is served singly."""
        self._taking.pop(service_of(envelope.members[0].type or ""), None)

    # --- what goes into them -------------------------------------------------------------------

    def packed(self, row_id: UUID, messages: Sequence[AmqpMessage]) -> list[Packed]:
        """The messages of an outbox row as they are published the first time."""
        alone: list[Packed] = []
        queues: dict[str, list[AmqpMessage]] = {}
        taking: dict[str, bool] = {}
        for message in messages:
            if not self._may_share(message):
                alone.append(Packed(message))
                continue
            lane, service, _ = message.routing_key.split(".", 2)
            if service not in taking:
                taking[service] = self.takes(service)
            if taking[service]:
                queues.setdefault(f"{lane}.{service}", []).append(message)
            else:
                alone.append(Packed(message))
        found: list[Packed] = []
        numbers = count()

        def new_id() -> str:
            return f"{row_id}:{next(numbers)}"

        for queue, members in queues.items():
            key = self._topology.batch_queue(f"{self._topology.prefix}.{queue}")
            found += pack(members, exchange=self._topology.batches, routing_key=key, new_id=new_id)
        return [*found, *alone]

    def _may_share(self, message: AmqpMessage) -> bool:
        """First attempts of what makes and takes back effects; all else travels alone."""
        headers = message.headers
        return (
            message.exchange == self._topology.commands
            and headers.get("amends-attempt") == 1
            and headers.get("amends-op") in _SHARED
            and message.content_type == JSON_TYPE
        )

    # --- who mishandles them -------------------------------------------------------------------

    def timed_out(self, saga_id: SagaId, rows: Iterable[JournalRow]) -> None:
        """A saga was looked at because it was due: what of its rows says that nobody answered."""
        for row in rows:
            if row.attempt == 1 and row.step is not None and is_timeout(row):
                self._suspects.setdefault((saga_id, row.step))
        while len(self._suspects) > SUSPECTS_MAX:
            del self._suspects[next(iter(self._suspects))]

    def answered(self, saga_id: SagaId, reply: ReplyReceived) -> None:
        """A service has answered a step."""
        step = (saga_id, reply.path)
        if step not in self._suspects:
            return
        if reply.attempt == 1 and reply.op is not Op.PROBE:
            del self._suspects[step]  # the envelope was read
        elif self.takes(reply.service):
            self._suspects[step] = (reply.service, self._clock.monotonic())

    def mishandled(self) -> list[str]:
        """Services that from now on are served singly; to be asked now and then."""
        now = self._clock.monotonic()
        over = [step for step, at in self._suspects.items() if at and at[1] + LATE_S < now]
        found: list[str] = []
        for step in over:
            answered = self._suspects.pop(step)
            assert answered is not None
            service, _ = answered
            self._missed[service] += 1
            if self._missed[service] >= MISSED_MAX and self.takes(service):
                self._singly[service] = now + SINGLY_S
                del self._missed[service]
                found.append(service)
                log.warning(
                    "%s says that it takes envelopes, but leaves what is in them unanswered;"
                    " it is served singly for %d minutes",
                    service,
                    SINGLY_S // 60,
                )
        return found


_SHARED: Final = frozenset({Op.ACTION.value, Op.COMPENSATION.value})
