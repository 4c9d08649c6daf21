"""Exchanges, queues and bindings of the wire contract, as data; names carry a prefix.

Who declares what: the orchestrator the exchanges and the engine's queues, a participant its own
two queues, and two more where it takes envelopes. Nothing here touches a broker.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from amends_contracts.names import ENGINE

DELIVERY_LIMIT: Final = 20
"""Of participants' queues; instances of one service must declare the same."""
PARTITIONS_DEFAULT: Final = 16

Argument: TypeAlias = str | int | bool


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable quorum queue with its bindings, as (exchange, routing key)."""

    name: str
    bindings: tuple[tuple[str, str], ...]
    arguments: Mapping[str, Argument] = field(default_factory=dict[str, Argument])


@dataclass(frozen=True, slots=True)
class Topology:
    """All names under one prefix."""

    prefix: str = "amends"

    @property
    def commands(self) -> str:
        """Topic exchange of commands."""
        return f"{self.prefix}.commands"

    @property
    def batches(self) -> str:
        """Direct exchange of command envelopes."""
        return f"{self.prefix}.batches"

    @property
    def replies(self) -> str:
        """Topic exchange of replies."""
        return f"{self.prefix}.replies"

    @property
    def control(self) -> str:
        """Topic exchange of client verbs and `hello`; also the queue for most of them."""
        return f"{self.prefix}.control"

    @property
    def events(self) -> str:
        """Topic exchange of lifecycle events."""
        return f"{self.prefix}.events"

    @property
    def dead(self) -> str:
        """Fanout exchange and queue of poison and undecodable messages."""
        return f"{self.prefix}.dead"

    @property
    def dead_commands(self) -> str:
        """The engine's own copy of what is dead-lettered: a command tells its step from here.

        Bound to the same fanout exchange, so that what operators look at in `dead` stays there.
        It has no dead letters of its own, or one would come back for ever.
        """
        return f"{self.prefix}.dead.commands"

    @property
    def start(self) -> str:
        """Queue of starts."""
        return f"{self.prefix}.start"

    def partition_queue(self, partition: int) -> str:
        """`amends.partition.07`."""
        return f"{self.prefix}.partition.{partition:02d}"

    def partition_of(self, queue: str) -> int | None:
        """The inverse of `partition_queue`; None for any other queue."""
        number = queue.removeprefix(f"{self.prefix}.partition.")
        return int(number) if number != queue and number.isdigit() else None

    def do_queue(self, service: str) -> str:
        """Queue of a service's actions and turns."""
        return f"{self.prefix}.do.{service}"

    def undo_queue(self, service: str) -> str:
        """Queue of a service's compensations, probes, ledger queries and `forget`."""
        return f"{self.prefix}.undo.{service}"

    def batch_queue(self, queue: str) -> str:
        """Queue of the envelopes for a participant's queue; also their routing key."""
        return f"{queue}.batch"

    def client_queue(self, name: str) -> str:
        """A client's own answer queue; only such, `amq.gen-*` and direct reply-to are answered."""
        return f"{self.prefix}.client.{name}"

    def may_be_answered(self, reply_to: str) -> bool:
        """Whether an answer may be sent to this queue."""
        own = reply_to.startswith((f"{self.prefix}.client.", "amq.gen-"))
        return own or reply_to.startswith("amq.rabbitmq.reply-to")

    def exchanges(self) -> tuple[Exchange, ...]:
        """Every exchange; declared by the orchestrator, checked passively by participants."""
        return (
            Exchange(self.commands, "topic"),
            Exchange(self.batches, "direct"),
            Exchange(self.replies, "topic"),
            Exchange(self.control, "topic"),
            Exchange(self.events, "topic"),
            Exchange(self.dead, "fanout"),
        )

    def engine_queues(self, partitions: int) -> tuple[Queue, ...]:
        """The engine's own queues: no delivery limit (set by the caller to -1 on 4.x)."""
        control_keys = ("cancel", "signal", "decide", "undo", "enlist.*", "hello")
        control = tuple((self.control, key) for key in control_keys)
        children = tuple((self.commands, f"{lane}.{ENGINE}.#") for lane in ("do", "undo"))
        return (
            Queue(self.dead, ((self.dead, ""),), {"x-queue-type": "quorum"}),
            Queue(self.dead_commands, ((self.dead, ""),), {"x-queue-type": "quorum"}),
            Queue(self.start, ((self.control, "start"),), self._arguments()),
            Queue(self.control, (*control, *children), self._arguments()),
            *(self.engine_partition(p) for p in range(partitions)),
        )

    def engine_partition(self, partition: int) -> Queue:
        """The queue of one partition, with a single active consumer."""
        bindings = (
            (self.replies, f"reply.*.{partition:02d}"),
            (self.control, f"partition.{partition:02d}"),
        )
        arguments = {**self._arguments(), "x-single-active-consumer": True}
        return Queue(self.partition_queue(partition), bindings, arguments)

    def service_queues(self, service: str) -> tuple[Queue, Queue]:
        """A participant's two queues (do, undo)."""
        arguments = {**self._arguments(), "x-delivery-limit": DELIVERY_LIMIT}
        return (
            Queue(self.do_queue(service), ((self.commands, f"do.{service}.#"),), arguments),
            Queue(self.undo_queue(service), ((self.commands, f"undo.{service}.#"),), arguments),
        )

    def batch_queues(self, service: str) -> tuple[Queue, Queue]:
        """The queues beside these (do, undo) of a participant that takes envelopes."""
        do, undo = self.service_queues(service)
        return self._batch(do), self._batch(undo)

    def _batch(self, queue: Queue) -> Queue:
        name = self.batch_queue(queue.name)
        return Queue(name, ((self.batches, name),), queue.arguments)

    def _arguments(self) -> dict[str, Argument]:
        return {
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": self.dead,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
