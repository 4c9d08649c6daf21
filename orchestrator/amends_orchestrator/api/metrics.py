"""The engine's counters in Prometheus' text format, read when they are asked for.

A number is a gauge; a mapping of names to numbers is one metric with a label. Names say their unit
in the engine already. Names that end in `_total` are counters.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = exposition.CONTENT_TYPE_PLAIN_0_0_4
PREFIX: Final = "amends_"
LABELS: Final[Mapping[str, str]] = {}
"""Label of a mapping's names, where `name` would say too little."""


class _Stats(Collector):
    """One reading of the engine's stats."""

    def __init__(self, stats: Mapping[str, Any]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """Each entry as a metric; what is no number is left out."""
        for name, value in self._stats.items():
            metric = _metric(name, value)
            if metric is not None:
                yield metric


def _metric(name: str, value: Any) -> Metric | None:
    family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    help_ = name.removesuffix("_total").replace("_", " ").capitalize()
    if isinstance(value, (int, float)):
        return family(PREFIX + name, help_, value=float(value))
    if isinstance(value, Mapping):
        metric = family(PREFIX + name, help_, labels=[LABELS.get(name, "name")])
        for label, number in value.items():  # pyright: ignore[reportUnknownVariableType] # stats are Any
            if isinstance(number, (int, float)):
                metric.add_metric([str(label)], float(number))  # pyright: ignore[reportUnknownArgumentType] # see above
        return metric
    return None


def render(stats: Mapping[str, Any]) -> bytes:
    """The text a Prometheus server reads."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Stats(stats))
    return exposition.generate_latest(registry)
