"""Clients: starts, signals and late undos over the broker, each asked for until it is answered.

Signals are sent by key while their saga may not be there yet, and by id once it is. When all is
calm, whoever still awaits an event is sent one.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from amends_contracts.amqp import AmqpMessage
from amends_contracts.codec import encode_client
from amends_contracts.messages import Signal, Start, Undo, digest_of
from amends_contracts.names import SagaId, undo_start_key
from amends_orchestrator.core import Plan
from amends_orchestrator.core.checker import Asked, Sent
from amends_orchestrator.core.state import TERMINAL, Doing, Identity, SagaStatus
from amends_simulation.broker import TOPOLOGY, Broker
from amends_simulation.definitions import EVENTS
from amends_simulation.orchestrators import Shared
from amends_simulation.schedule import Beginning
from amends_simulation.world import World

ASK_AGAIN_S: Final = 4.0
NUDGE_S: Final = 5.0
"""How often somebody looks, when all is calm, who still awaits an event."""


@dataclass(frozen=True, slots=True)
class _Question:
    """Something asked, under its correlation id."""

    ask: Callable[[], None]
    hear: Callable[[dict[str, Any]], None]


class Clients:
    """Everybody who wants something of the service, and nothing of its inside."""

    def __init__(
        self, world: World, broker: Broker, shared: Shared, plans: dict[str, Plan]
    ) -> None:
        self._world = world
        self._broker = broker
        self._shared = shared
        self._plans = plans
        self.waiting: dict[str, _Question] = {}
        """What has not been answered yet, by correlation id."""
        self._refused: set[str] = set()
        """Correlation ids of late undos that were refused: asked again, they may not be."""
        self._questions: dict[str, _Question] = {}
        self._heard: set[tuple[str, bytes]] = set()
        self._seen: set[SagaId] = set()
        self._signals: list[Signal] = []
        broker.answers = self._answered

    def begin(self) -> None:
        """Everybody has plans; some are early with their signals."""
        chance = self._world.chance
        for beginning in self._world.schedule.sagas:
            self._later(beginning.at, beginning.key, self._start(beginning))
            for event in sorted(self._plans[beginning.definition].awaited):
                if chance.random() < 0.5:
                    signal = self._signal(event, by_key=beginning)
                    self._later(0.4 * chance.random(), signal.id, self._sending(signal))

    def changed(self, identity: Identity, status: SagaStatus) -> None:
        """A saga is there, or has gone on."""
        chance = self._world.chance
        if identity.saga_id not in self._seen:
            self._seen.add(identity.saga_id)
            for event in sorted(self._plans[identity.definition].awaited):
                if chance.random() < 0.6:
                    signal = self._signal(event, saga_id=identity.saga_id)
                    self._later(2 * chance.random(), signal.id, self._sending(signal))
        if status in TERMINAL:
            for beginning in self._world.schedule.sagas:
                if (beginning.key, beginning.definition) == (identity.key, identity.definition):
                    self._regret(identity.saga_id, beginning.regret)

    def was_refused(self, message: AmqpMessage) -> bool:
        """Whether this asked for a late undo that could not be then, and perhaps can be now."""
        return message.correlation_id in self._refused

    # --- what is asked

    def again(self, beginning: Beginning) -> None:
        """The same start once more."""
        self._questions[beginning.key].ask()

    def otherwise(self, beginning: Beginning) -> None:
        """The key of a start, with another input."""
        other = replace(beginning, n=beginning.n + 1)
        self._later(0.0, f"{beginning.key}/{other.n}", self._start(other))

    def signal_again(self) -> None:
        """Some signal that was sent before, under its id."""
        if self._signals:
            self._questions[self._world.chance.choice(self._signals).id].ask()

    def signal_otherwise(self) -> None:
        """The id of some signal, with other data."""
        if self._signals:
            signal = self._world.chance.choice(self._signals)
            self._later(0.0, f"{signal.id}/other", self._sending(replace(signal, data={"n": -1})))

    def stray_signal(self, saga_id: SagaId) -> None:
        """A signal that nobody may await any more, or ever."""
        signal = self._signal(self._world.chance.choice(EVENTS), saga_id=saga_id)
        self._later(0.0, signal.id, self._sending(signal))

    def undo(self, saga_id: SagaId, *, across_pivot: bool) -> None:
        """Somebody wants a saga undone, whatever has become of it."""
        asked = Undo(saga_id=saga_id, reason="regret", across_pivot=across_pivot)
        name = f"undo:{saga_id}:{len(self._questions)}"
        definition = self._shared.store.sagas[saga_id].stored.identity.definition

        def hear(body: dict[str, Any]) -> None:
            if body.get("saga_id") is None:
                self._refused.add(name)
            self._note_start(f"{definition}/{undo_start_key(saga_id)}", "", body)

        self._later(0.0, name, _Question(lambda: self._publish(asked, name), hear))

    def nudge(self) -> None:
        """Who still awaits an event is sent one, again and again until all is over."""
        for saga_id in list(self._shared.open):
            stored = self._shared.store.sagas[saga_id].stored
            steps = self._shared.saga(saga_id).state.steps
            for path, step in steps.items():
                node = self._plans[stored.identity.definition].node_of(path)
                if step.action.doing is Doing.AWAITING and node is not None:
                    event: str = getattr(node, "event", "")
                    signal = self._signal(event, saga_id=saga_id)
                    self._later(0.0, signal.id, self._sending(signal))
        if self._shared.open:
            self._world.later(NUDGE_S, self.nudge)

    # --- how

    def _later(self, seconds: float, name: str, question: _Question) -> None:
        """Ask, and ask again until it is answered."""
        self.waiting[name] = self._questions[name] = question
        self._world.later(seconds, self._ask, name)

    def _ask(self, name: str) -> None:
        if name in self.waiting:
            self.waiting[name].ask()
            self._world.later(ASK_AGAIN_S, self._ask, name)

    def _publish(self, asked: Start | Signal | Undo, correlation_id: str) -> None:
        message = encode_client(asked, TOPOLOGY)
        answer_to = TOPOLOGY.client_queue("c")
        self._broker.publish(replace(message, reply_to=answer_to, correlation_id=correlation_id))

    def _answered(self, message: AmqpMessage) -> None:
        """A refusal is an answer, too: somebody used the key before."""
        name = message.correlation_id or ""
        self.waiting.pop(name, None)
        if (name, message.body) in self._heard:
            return  # the same answer again
        self._heard.add((name, message.body))
        self._questions[name].hear(json.loads(message.body))

    def _start(self, beginning: Beginning) -> _Question:
        start = Start(definition=beginning.definition, key=beginning.key, input={"n": beginning.n})
        meant = next(s for s in self._world.schedule.sagas if s.key == beginning.key)
        name = beginning.key if meant == beginning else f"{beginning.key}/{beginning.n}"
        digest = digest_of(str(beginning.n).encode())

        def hear(body: dict[str, Any]) -> None:
            self._note_start(f"{beginning.definition}/{beginning.key}", digest, body)

        return _Question(lambda: self._publish(start, name), hear)

    def _note_start(self, key: str, digest: str, body: dict[str, Any]) -> None:
        saga_id: str | None = body.get("saga_id")
        self._world.asked.append(
            Asked(
                tenant="default",
                what="start",
                answer="refused" if saga_id is None else "applied",
                saga_id=None if saga_id is None else SagaId(saga_id),
                key=key,
                digest=digest,
                created=bool(body.get("created")),
            )
        )

    def _signal(
        self, event: str, *, saga_id: SagaId | None = None, by_key: Beginning | None = None
    ) -> Signal:
        """A new one."""
        number = len(self._signals)
        signal = Signal(
            event=event,
            id=f"{event}-{number}",
            data={"n": 1000 + number},
            saga_id=saga_id,
            definition=None if by_key is None else by_key.definition,
            key=None if by_key is None else by_key.key,
        )
        self._signals.append(signal)
        return signal

    def _sending(self, signal: Signal) -> _Question:
        world = self._world
        n = len(world.sent)
        name = signal.id if signal.data != {"n": -1} else f"{signal.id}/other"
        sent = Sent(
            tenant="default",
            id=signal.id,
            event=signal.event,
            data=signal.data,
            saga_id=signal.saga_id,
            definition=signal.definition,
            key=signal.key,
        )
        world.sent.append(sent)

        def hear(body: dict[str, Any]) -> None:
            was = world.sent[n].answer
            if body.get("saga_id") is not None:
                world.sent[n] = replace(sent, answer="taken")
            elif was != "taken":
                kept = body.get("kept") or was == "kept"
                world.sent[n] = replace(sent, answer="kept" if kept else "refused")

        def ask() -> None:
            world.note(f"signal {signal.id} is sent, with {signal.data}")
            self._publish(signal, name)

        return _Question(ask, hear)

    def _regret(self, saga_id: SagaId, after: float | None) -> None:
        if after is not None:
            across = self._world.chance.random() < 0.7
            name = f"regret:{saga_id}"
            self.waiting[name] = _Question(lambda: None, lambda _: None)
            self._world.later(after, self._regretted, name, saga_id, across)

    def _regretted(self, name: str, saga_id: SagaId, across_pivot: bool) -> None:
        del self.waiting[name]
        self.undo(saga_id, across_pivot=across_pivot)
