"""Where local servers keep their files: own folders, reachable by the user that runs the server."""

import os
import pwd
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

Owner = tuple[int, int]  # uid, gid


class UnreachableFolder(Exception):
    """The unprivileged user that runs the server for root cannot get to a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        super().__init__(
            f"{folder} is closed to other users, and a server started by root runs as one of them: "
            "choose a folder that others may pass through, or run as an ordinary user"
        )


def unprivileged() -> Owner | None:
    """Whom a server that refuses root runs as: nobody, when we are root; else None, ourselves."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return entry.pw_uid, entry.pw_gid


def temporary(kind: str) -> Path:
    """A new folder for one server, to be removed with it. Others may pass through, not look in."""
    folder = Path(tempfile.mkdtemp(prefix=f"amends-{kind}-"))
    folder.chmod(0o711)
    if not reachable(folder):
        folder.rmdir()
        raise UnreachableFolder(folder)
    return folder


def owned(folder: Path, owner: Owner | None, mode: int = 0o700) -> Path:
    """Make `folder` where it is missing, for `owner` alone."""
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    if owner is not None:
        if not reachable(folder.parent):
            raise UnreachableFolder(folder)
        os.chown(folder, *owner)
    return folder


def reachable(path: Path) -> bool:
    """Whether any user may pass through to `path` (root may hand a server over to `nobody`)."""
    if os.geteuid() != 0:
        return True
    resolved = path.resolve()
    return all(p.stat().st_mode & stat.S_IXOTH for p in (resolved, *resolved.parents))


def copied(source: Path, target: Path, names: Iterable[str]) -> Path:
    """Copy the folders `names` of `source` to where others can reach them; a no-op when there."""
    for name in names:
        if not (target / name).exists():
            shutil.copytree(source / name, target / name, symlinks=True)
    target.chmod(0o755)
    return target


def secret(folder: Path, name: str = "secret", owner: Owner | None = None) -> str:
    """The generated secret kept in `folder`, readable by `owner` alone; made at the first call."""
    file = folder / name
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(18))
        if owner is not None:
            os.chown(file, *owner)
    return file.read_text()


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it; one that is gone is fine."""
    shutil.rmtree(folder, ignore_errors=True)
