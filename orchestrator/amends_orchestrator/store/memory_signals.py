"""Signals for sagas that are not there yet, in memory: a part of `MemoryStore`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from amends_orchestrator.engine.ports import (
    EarlySignal,
    Kept,
    KnownStart,
    ReadySignal,
    SettledSignal,
    StartKey,
)

_At = tuple[StartKey, str]


@dataclass
class MemorySignals:
    """Table `signal`, and what goes into the audit."""

    clock: Callable[[], datetime]
    starts: Mapping[StartKey, KnownStart]
    kept: dict[_At, tuple[datetime, EarlySignal]] = field(
        default_factory=dict[_At, tuple[datetime, EarlySignal]]
    )
    audited: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Ids of dropped signals, and their outcome."""

    def keep(self, signal: EarlySignal, most: int) -> KnownStart | Kept:
        """Keep a signal, then look for its saga."""
        start = self.starts.get(signal.to)
        if start is not None:
            return start
        at = (signal.to, signal.id)
        if at in self.kept:
            same = self.kept[at][1].digest == signal.digest
            return Kept.YES if same else Kept.OTHER
        if sum(to == signal.to for to, _ in self.kept) >= most:
            return Kept.FULL
        self.kept[at] = (self.clock(), signal)
        return Kept.YES

    def ready(self, starts: Sequence[StartKey] | None, limit: int) -> Sequence[ReadySignal]:
        """Kept signals whose start is there."""
        wanted = self.starts.keys() if starts is None else self.starts.keys() & set(starts)
        found = sorted(
            (at, signal.id, signal) for at, signal in self.kept.values() if signal.to in wanted
        )[:limit]
        return [ReadySignal(signal=s, saga_id=self.starts[s.to].saga_id) for _, _, s in found]

    def settle(self, settled: Sequence[SettledSignal]) -> None:
        """Delete what its saga has recorded, or refused for good."""
        for done in settled:
            there = self.kept.pop((done.to, done.id), None)
            if there is not None and done.refused is not None:
                self.audited.append((done.id, done.refused))

    def drop_old(self, kept_s: float) -> int:
        """Drop what no saga came for."""
        before = self.clock() - timedelta(seconds=kept_s)
        old = [key for key, (at, _) in self.kept.items() if at < before]
        for key in old:
            del self.kept[key]
            self.audited.append((key[1], "amends:expired"))
        return len(old)
