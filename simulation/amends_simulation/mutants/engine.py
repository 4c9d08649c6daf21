"""Deliberate bugs of the engine: commits, outbox, leases, wake-ups, who may ask what."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from amends_contracts.amqp import PublishResult
from amends_orchestrator.core.decision import GiveBack
from amends_orchestrator.engine.ports import Conflict, StoreUnavailable
from amends_simulation.mutants.table import Patch, answers, answers_later, mutant, real

INTAKE: Final = "amends_orchestrator.engine.intake:Intake"
COMMITTER: Final = "amends_orchestrator.engine.commit:Committer"
MEMORYSTORE: Final = "amends_orchestrator.store.memory:MemoryStore"
RELAY: Final = "amends_orchestrator.engine.relay:Relay"
INBOX: Final = "amends_orchestrator.engine.inbox:Inbox"
LEASES: Final = "amends_orchestrator.engine.leases:Leases"
TOKENS: Final = "amends_orchestrator.engine.tokens:Tokens"
ASSEMBLY: Final = "amends_orchestrator.engine.batch:Assembly"
DECIDE: Final = "amends_orchestrator.core.decide"
USED: Final = "amends_orchestrator.store.memory_permits:_Used"
BATCH: Final = "amends_orchestrator.engine.batch"
BATCH_CORE: Final = "amends_orchestrator.core"


@mutant
def ack_before_commit() -> Sequence[Patch]:
    """Deliveries are acknowledged before their decisions are committed."""
    original = real(INTAKE, "_commit")

    async def commit(self: Any, works: Sequence[Any]) -> None:
        tags = [work.handle.tag for work in works if work.handle is not None]
        await self._transport.acknowledge(tags)
        await original(self, works)

    return [(INTAKE, "_commit", commit)]


@mutant
def publish_before_commit() -> Sequence[Patch]:
    """Messages go out when they are decided, whether or not the decision is committed."""
    original, assemble = real(INTAKE, "_commit"), real(COMMITTER, "_assemble")

    async def assembled(self: Any, *arguments: Any) -> Any:
        durable = await assemble(self, *arguments)
        if durable.assembled.messages:
            await self.published(durable.assembled.messages, 1.0)
        return durable

    async def commit(self: Any, works: Sequence[Any]) -> None:
        self._committer.published = self._transport.publish
        await original(self, works)

    return [(INTAKE, "_commit", commit), (COMMITTER, "_assemble", assembled)]


@mutant
def losers_messages_published() -> Sequence[Patch]:
    """Who loses the race for a saga publishes what it had decided."""

    async def until_durable(self: Any, works: Any, settlements: Any) -> Any:
        while True:
            try:
                durable = await self._assemble(works, settlements, await self._load(works))
                if durable.assembled.batch is not None:
                    await self._store.commit(durable.assembled.batch)
            except Conflict:
                return durable  # pyright: ignore[reportPossiblyUnboundVariable] - only a commit conflicts
            except StoreUnavailable:
                self.doubted = True
                await self._back_off(1)
            else:
                return durable

    return [(COMMITTER, "_until_durable", until_durable)]


@mutant
def doubt_taken_for_commit() -> Sequence[Patch]:
    """A commit without an answer is taken for done."""

    async def until_durable(self: Any, works: Any, settlements: Any) -> Any:
        while True:
            try:
                loaded = await self._load(works)
                durable = await self._assemble(works, settlements, loaded)
            except StoreUnavailable:
                await self._back_off(1)
                continue
            try:
                if durable.assembled.batch is not None:
                    await self._store.commit(durable.assembled.batch)
            except Conflict:
                continue
            except StoreUnavailable:
                return durable
            return durable

    return [(COMMITTER, "_until_durable", until_durable)]


@mutant
def doubt_taken_for_loss() -> Sequence[Patch]:
    """A commit without an answer is taken for lost, and its outbox row is not looked for."""
    return [
        (MEMORYSTORE, "committed_batch", answers_later(False)),
        (MEMORYSTORE, "stray_outbox", answers_later(())),
    ]


@mutant
def no_fence() -> Sequence[Patch]:
    """A commit does not ask whether somebody else was there first."""
    return [(MEMORYSTORE, "_fence", answers(None))]


@mutant
def orphans_left() -> Sequence[Patch]:
    """Nobody takes over the outbox rows of the dead."""
    return [(MEMORYSTORE, "claim_outbox", answers_later(()))]


@mutant
def unknown_taken_for_confirmed() -> Sequence[Patch]:
    """A publication without a confirm is not repeated."""

    async def publish(self: Any, row_id: Any, messages: Any, *, published: bool) -> None:
        results = await self._transport.publish(messages, self._timeout_s)
        for message, result in zip(messages, results, strict=True):
            if result is PublishResult.RETURNED:
                self._returned(message, never_delivered=not published)
        self._settled[row_id] = None
        self._open.discard(row_id)
        self._changed.set()

    return [(RELAY, "_publish", publish)]


@mutant
def swallowed_return() -> Sequence[Patch]:
    """A returned command is forgotten, and its step is sent no more when its time has come."""
    return [(RELAY, "_returned", answers(None)), (DECIDE, "_on_woke", answers(None))]


@mutant
def silent_saga() -> Sequence[Patch]:
    """A saga is woken once in its life."""
    return [(INBOX, "looked_at", answers(None))]


@mutant
def nobody_wakes() -> Sequence[Patch]:
    """What is due is not looked at."""
    return [(LEASES, "_wake", answers(None))]


@mutant
def token_unchecked() -> Sequence[Patch]:
    """A reply is believed whoever has signed it."""
    return [(TOKENS, "verify", answers(True))]


@mutant
def tenant_unchecked() -> Sequence[Patch]:
    """Anybody may ask anything of any saga."""
    original = real(ASSEMBLY, "_enqueue")

    def enqueue(self: Any, work: Any) -> None:
        work.tenant = None
        original(self, work)

    return [(ASSEMBLY, "_enqueue", enqueue)]


@mutant
def start_key_ignored() -> Sequence[Patch]:
    """Every start makes a saga, whatever its key."""
    original = real(MEMORYSTORE, "load")

    async def load(self: Any, sagas: Any, starts: Any) -> Any:
        self.starts.clear()
        return replace(await original(self, sagas, starts), starts={})

    return [(MEMORYSTORE, "load", load)]


@mutant
def state_loses_a_member() -> Sequence[Patch]:
    """What is stored is not all that the journal says."""
    original = real(BATCH_CORE, "state_to_json")

    def lossy(state: Any) -> Any:
        data = original(state)
        for step in data["steps"].values():
            step.pop("undo_seq", None)
            step.pop("problem", None)
        return data

    return [(BATCH_CORE, "state_to_json", lossy)]


@mutant
def limits_ignored() -> Sequence[Patch]:
    """Whoever asks for a permit is granted one, however many are at work."""
    original = real(USED, "__init__")

    def free(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        self.free, self.places = 99, None

    return [(USED, "__init__", free)]


@mutant
def permit_kept() -> Sequence[Patch]:
    """A step that is settled keeps its permit: who waits for its place waits for ever."""
    original = real(BATCH, "permit_writes")

    def kept(changes: Any) -> Any:
        return original([change for change in changes if not isinstance(change, GiveBack)])

    return [(BATCH, "permit_writes", kept)]
