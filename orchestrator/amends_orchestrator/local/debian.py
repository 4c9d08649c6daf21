"""RabbitMQ without root: Debian's packages, fetched by apt-get and unpacked into a cache folder.

Run as `python -m amends_orchestrator.local.debian`. Nothing calls it by itself: fetching 50 MB is
for a person to decide.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ERLANG = (
    *("base", "asn1", "crypto", "eldap", "ftp", "inets", "mnesia", "os-mon", "parsetools"),
    *("public-key", "runtime-tools", "snmp", "ssl", "syntax-tools", "tftp", "tools", "xmerl"),
)
PACKAGES = ("rabbitmq-server", *(f"erlang-{name}" for name in ERLANG))


class UnpackFailed(Exception):
    """apt-get or dpkg could not fetch and unpack Debian's packages; this is what they said."""

    def __init__(self, said: str) -> None:
        self.said = said
        super().__init__(said)


def root() -> Path:
    """Where the unpacked packages are, or would be."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "amends" / "rabbitmq"


def scripts() -> Path:
    """The unpacked `rabbitmq-server` and `rabbitmqctl`."""
    return root() / "usr/lib/rabbitmq/bin"


def erlang_bin() -> Path:
    """The unpacked `erl` and `epmd`."""
    return root() / "usr/lib/erlang/bin"


def unpack() -> Path:
    """Fetch and unpack; the folder of the scripts. A copy that is there already stays."""
    if (scripts() / "rabbitmq-server").exists():
        return scripts()
    root().parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root().parent) as made:
        target = Path(made) / "root"
        fetched = Path(made) / "packages"
        fetched.mkdir()
        _run("apt-get", "-q", "download", *PACKAGES, cwd=fetched)
        for package in sorted(fetched.glob("*.deb")):
            _run("dpkg", "-x", str(package), str(target), cwd=fetched)
        _relocate(target)
        # In place at once or not at all.
        shutil.rmtree(root(), ignore_errors=True)
        target.rename(root())
    return scripts()


def _run(*command: str, cwd: Path) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError as missing:
        raise UnpackFailed(f"{command[0]} is not on this machine: is it a Debian?") from missing
    if done.returncode != 0:
        raise UnpackFailed(f"{' '.join(command[:3])}: {done.stderr.strip()}")


def _relocate(target: Path) -> None:
    """`erl` names its folder absolutely: let it take ours from the environment instead."""
    erl = target / "usr/lib/erlang/bin/erl"
    text = erl.read_text()
    erl.write_text(text.replace("ROOTDIR=/usr/lib/erlang", f"ROOTDIR={root()}/usr/lib/erlang"))


def main() -> int:
    """Unpack and say where."""
    try:
        sys.stdout.write(f"RabbitMQ is in {unpack()}\n")
    except UnpackFailed as failed:
        sys.stderr.write(f"{failed}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
