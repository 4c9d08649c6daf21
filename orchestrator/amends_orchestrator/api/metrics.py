"""The engine's counters in Prometheus' text format, read when they are asked for.

Telemetry may register further collectors; here stands what an orchestrator says of itself.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from amends_orchestrator.api.ports import Stats

CONTENT_TYPE: Final = exposition.CONTENT_TYPE_PLAIN_0_0_4


@dataclass(frozen=True, slots=True)
class _Shown:
    """A number of `Stats` as a metric."""

    name: str
    help: str
    label: str | None = None
    """What the names of a mapping are."""


GAUGES: Final[Mapping[str, _Shown]] = {
    "partitions": _Shown("partitions", "Partitions in all"),
    "owned": _Shown("partitions_owned", "Partitions this orchestrator works on"),
    "waiting": _Shown("work_waiting", "Messages and requests that are in no batch yet"),
    "unsettled": _Shown("outbox_rows_unsettled", "Outbox rows the broker may not have whole"),
    "lag_s": _Shown("wake_lag_seconds", "How late the latest wake-up was"),
}
COUNTERS: Final[Mapping[str, _Shown]] = {
    "batches": _Shown("batches", "Batches committed"),
    "messages": _Shown("messages_decided", "Messages, starts and wake-ups decided"),
    "commands": _Shown("messages_written", "Messages written to the outbox"),
    "envelopes": _Shown("envelopes", "Publications that carried several messages"),
    "conflicts": _Shown("batch_conflicts", "Batches decided again because a saga had moved"),
    "doubts": _Shown("commits_in_doubt", "Commits whose outcome was not known at once"),
    "stuck": _Shown("sagas_parked", "Sagas parked because deciding or writing them failed"),
    "republished": _Shown("messages_republished", "Messages published again"),
    "refused": _Shown("refused", "Messages and requests refused", "reason"),
    "dead_lettered": _Shown("dead_lettered", "Messages sent to the dead letters", "reason"),
    "undeliverable": _Shown("commands_returned", "Commands that nobody serves", "service"),
}


class _Engine(Collector):
    """One reading of the engine's stats."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """Each number as a metric."""
        for field, shown in GAUGES.items():
            value = getattr(self._stats, field)
            number = len(self._stats.owned) if field == "owned" else value
            yield GaugeMetricFamily(f"amends_{shown.name}", shown.help, value=number)
        for field, shown in COUNTERS.items():
            value = getattr(self._stats, field)
            if shown.label is None:
                yield CounterMetricFamily(f"amends_{shown.name}", shown.help, value=value)
                continue
            metric = CounterMetricFamily(f"amends_{shown.name}", shown.help, labels=[shown.label])
            for label, number in value.items():
                metric.add_metric([label], number)
            yield metric


def render(stats: Stats) -> bytes:
    """The text a Prometheus server reads."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Engine(stats))
    return exposition.generate_latest(registry)
