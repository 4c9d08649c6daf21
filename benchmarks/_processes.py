"""What processes have cost so far, as `/proc` tells it."""

import os
from collections.abc import Mapping
from pathlib import Path


def cpu_ms(components: Mapping[str, int]) -> dict[str, float]:
    """Processor time so far of processes and their children; nothing where there is no /proc."""
    per_tick_ms = 1000 / os.sysconf("SC_CLK_TCK")
    parents: dict[int, int] = {}
    spent_ms: dict[int, float] = {}
    reaped_ms: dict[int, float] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        pid = int(entry.parent.name)
        parents[pid] = int(fields[1])
        spent_ms[pid] = (int(fields[11]) + int(fields[12])) * per_tick_ms
        reaped_ms[pid] = (int(fields[13]) + int(fields[14])) * per_tick_ms
    roots = {pid: name for name, pid in components.items()}
    total = dict.fromkeys(components, 0.0)
    for pid, ms in spent_ms.items():
        above = pid
        while above and above not in roots:
            above = parents.get(above, 0)
        if above:
            total[roots[above]] += ms + reaped_ms[pid]
    return total
