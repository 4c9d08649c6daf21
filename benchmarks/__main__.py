"""Runs benchmarks and prints one JSON document: all of them, or those named."""

import argparse
import importlib
import json
import os
import platform
import sys
from pathlib import Path


def names() -> list[str]:
    """Every benchmark of this folder."""
    return sorted(p.stem for p in Path(__file__).parent.glob("*.py") if not p.stem.startswith("_"))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*names(), []], help="default: all of them")
    parser.add_argument("--seconds", type=float, default=5.0, help="per measurement")
    chosen = parser.parse_args()
    results = {
        name: importlib.import_module(f"benchmarks.{name}").run(chosen.seconds)
        for name in chosen.names or names()
    }
    machine = {"cpus": os.cpu_count(), "python": platform.python_version()}
    json.dump({"machine": machine, "results": results}, sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
