"""What participants say of their commands, as JSON in table `participant` and back."""

import contextlib
from collections.abc import Mapping

from amends_contracts.messages import CommandInfo, Effect, Json, Reversal


def commands_to_json(commands: Mapping[str, CommandInfo]) -> Json:
    """The `commands` of a hello, as wire.md writes them; what is not said is left out."""
    said: dict[str, Json] = {}
    for name, info in commands.items():
        entry: dict[str, Json] = {"effect": info.effect.value, "reversal": info.reversal.value}
        optional = {"input": info.input, "output": info.output, "compensation": info.compensation}
        optional["drill"] = info.drill
        entry |= {key: value for key, value in optional.items() if value is not None}
        if info.probe:
            entry["probe"] = True
        said[name] = entry
    return said


def commands_from_json(said: Json) -> dict[str, CommandInfo]:
    """The inverse; a command of which a newer release has written what is not known is left out."""
    read: dict[str, CommandInfo] = {}
    for name, entry in said.items():
        with contextlib.suppress(KeyError, ValueError):
            read[name] = _info(entry)
    return read


def _info(entry: Json) -> CommandInfo:
    return CommandInfo(
        effect=Effect(entry["effect"]),
        reversal=Reversal(entry["reversal"]),
        input=entry.get("input"),
        output=entry.get("output"),
        compensation=entry.get("compensation"),
        probe=entry.get("probe", False),
        drill=entry.get("drill"),
    )
