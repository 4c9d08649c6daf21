"""The file that archived sagas go to: JSON lines, one saga each, compressed (gzip)."""

import gzip
import json
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import IO

from amends_contracts.messages import Json
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.store.archive import Over


class ArchiveFile:
    """Made when the first saga comes. What `write` has returned from survives a crash."""

    def __init__(self, folder: Path, at: datetime) -> None:
        self.path = folder / f"sagas-{at:%Y%m%dT%H%M%S}.{os.getpid()}.jsonl.gz"
        self._file: IO[bytes] | None = None

    def write(self, sagas: Iterable[Over]) -> None:
        """One gzip member, on the disk when this returns. Raises OSError."""
        text = "".join(f"{line(saga)}\n" for saga in sagas)
        file = self._file or self._made()
        end = file.tell()
        left = memoryview(gzip.compress(text.encode(), mtime=0))
        try:
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except OSError:
            file.seek(end)
            file.truncate()  # half a member would spoil what stands before it
            raise

    def _made(self) -> IO[bytes]:
        """A new file; it and every folder made for it survive a crash, too."""
        new = [self.path.parent, *self.path.parent.parents]
        there = next(folder for folder in new if folder.exists())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("xb", buffering=0)
        for folder in new[: new.index(there) + 1]:
            _sync_folder(folder)
        return self._file

    def close(self) -> None:
        """No more comes."""
        if self._file is not None:
            self._file.close()


def line(saga: Over) -> str:
    """`{"saga": {…}, "journal": [{"seq", "at", "kind", "step"?, "attempt"?, "data"}]}`."""
    whole = {"saga": saga.columns, "journal": [_row(row) for row in saga.rows]}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":"))


def _row(row: JournalRow) -> Json:
    pairs = (("step", row.step), ("attempt", row.attempt))
    said = {name: value for name, value in pairs if value is not None}
    return {"seq": row.seq, "at": row.at.isoformat(), "kind": row.kind, **said, "data": row.data}


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
