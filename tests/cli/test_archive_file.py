"""The file of archived sagas: whole lines, whatever goes wrong."""

import gzip
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from amends_contracts.names import SagaId
from amends_orchestrator.cli.archive_file import ArchiveFile
from amends_orchestrator.core.decision import JournalRow
from amends_orchestrator.store.archive import Over

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


def saga(saga_id: str) -> Over:
    """A saga with one row."""
    row = JournalRow(seq=1, at=AT, kind="saga.started", data={"input": {"to": "Łódź"}})
    columns = {"saga_id": saga_id}
    return Over(saga_id=SagaId(saga_id), definition="trip", version=1, columns=columns, rows=(row,))


def lines(file: ArchiveFile) -> list[Any]:
    """What is in it."""
    text = gzip.decompress(file.path.read_bytes()).decode()
    return [json.loads(line) for line in text.splitlines()]


def test_batches_follow_each_other_in_one_file(tmp_path: Path) -> None:
    """It is made with the first, in a folder that need not be there."""
    file = ArchiveFile(tmp_path / "a" / "b", AT)
    assert not (tmp_path / "a").exists()
    file.write([saga("1"), saga("2")])
    file.write([saga("3")])
    file.close()
    assert [line["saga"]["saga_id"] for line in lines(file)] == ["1", "2", "3"]
    [row] = lines(file)[0]["journal"]
    assert row == {
        "seq": 1,
        "at": "2026-03-01T12:00:00+00:00",
        "kind": "saga.started",
        "data": {"input": {"to": "Łódź"}},
    }


def test_what_could_not_be_written_whole_is_taken_off_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full in the middle does not spoil what stands before."""
    file = ArchiveFile(tmp_path, AT)
    file.write([saga("1")])
    size = file.path.stat().st_size

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            file.write([saga("2")])
    assert file.path.stat().st_size == size
    file.write([saga("3")])
    file.close()
    assert [line["saga"]["saga_id"] for line in lines(file)] == ["1", "3"]
