"""What metered work has used, added up: of a step, of a saga, and of each model in it.

Money of which nothing is known is null and counted, never 0.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from amends_contracts.messages import Json

_COUNTS: Final = ("calls", "lost", "unpriced", "input_tokens", "output_tokens")


def usage_of(reports: Sequence[Json]) -> Json:
    """The sum of what replies have reported; None where nothing was metered."""
    if not reports:
        return None
    total: dict[str, Json] = dict.fromkeys(_COUNTS, 0)
    total["usd"] = None
    for report in reports:
        for name, number in _counted(report).items():
            total[name] += number
        usd = report.get("usd")
        if usd is not None:
            total["usd"] = round((total["usd"] or 0.0) + usd, 9)
    return total


def _counted(report: Json) -> dict[str, int]:
    calls, lost = report.get("calls", 1), report.get("lost", 0)
    return {
        "calls": calls,
        "lost": lost,
        "unpriced": calls - lost if report.get("usd") is None else 0,
        "input_tokens": report.get("input_tokens", 0),
        "output_tokens": report.get("output_tokens", 0),
    }


def usage_by_model(reports: Sequence[Json]) -> list[Json]:
    """The same for each model that answered, in the order in which they first did."""
    models = dict.fromkeys(report["model"] for report in reports if "model" in report)
    return [
        {"model": model, **usage_of([r for r in reports if r.get("model") == model])}
        for model in models
    ]


def answers_of(reports: Iterable[Json]) -> list[str]:
    """Which models answered, as their providers name them where they say it."""
    named = (r.get("answered_by") or r.get("model") for r in reports if "model" in r)
    return list(dict.fromkeys(named))


def usage_text(usage: Json) -> str:
    """`2 calls, 1,280 tokens, 0.0042 USD`, and what of it is not known."""
    calls, tokens = usage["calls"], usage["input_tokens"] + usage["output_tokens"]
    said = [f"{calls} call{'' if calls == 1 else 's'}", f"{tokens:,} tokens"]
    if usage["usd"] is not None:
        said.append(f"{usage['usd']:.6f}".rstrip("0").rstrip(".") + " USD")
    if usage["unpriced"]:
        said.append("price unknown" if usage["usd"] is None else f"{usage['unpriced']} unpriced")
    if usage["lost"]:
        said.append(f"{usage['lost']} lost")
    return ", ".join(said)
