"""The demo's buttons: pressed on the page, done in the demo's own process."""

import asyncio
import json
import socket
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from amends_orchestrator.cli.controls import RemoteControls, Switchboard, TripButtons


@pytest.fixture
def done() -> list[str]:
    """What the buttons did."""
    return []


@pytest.fixture
def buttons(done: list[str]) -> TripButtons:
    """Buttons that only say what they would do."""

    def kill() -> int:
        done.append("kill")
        return 7

    return TripButtons(
        services=("flights", "hotels"),
        start_saga=lambda trip: f"saga to {trip['to']}",
        sell_out=lambda sold: done.append(f"sell_out {sold}"),
        stop_service=lambda name: done.append(f"stop {name}"),
        run_service=lambda name: done.append(f"run {name}"),
        kill_orchestrator=kill,
    )


@pytest.fixture
def board(tmp_path: Path, buttons: TripButtons) -> Generator[Switchboard]:
    """A switchboard whose main loop is a thread."""
    made = Switchboard(tmp_path / "controls.json")
    made.open()
    made.publish(buttons.actions())
    over = threading.Event()

    def main_loop() -> None:
        while not over.is_set():
            press = made.presses.get()
            press.answer.put(buttons.perform(press.action))
            made.publish(buttons.actions())

    thread = threading.Thread(target=main_loop, daemon=True)
    thread.start()
    yield made
    over.set()
    made.close()


def test_the_page_sees_the_buttons(board: Switchboard) -> None:
    """One for each service, and those of the story."""
    actions = RemoteControls(board.file).actions()

    assert [action.id for action in actions] == [
        *("start", "hotel", "kill", "service-flights", "service-hotels")
    ]
    assert not any(action.pressed for action in actions)


def test_a_press_is_done_and_said(board: Switchboard, done: list[str]) -> None:
    """The sentence comes back to the page."""
    remote = RemoteControls(board.file)

    said = [asyncio.run(remote.perform(a)) for a in ("start", "hotel", "hotel", "kill")]

    assert said == [
        "Ada books a trip to Lisbon: saga to Lisbon",
        "All hotels are sold out.",
        "There are rooms again.",
        "Killed process 7 with SIGKILL.",
    ]
    assert done == ["sell_out True", "sell_out False", "kill"]


def test_a_service_is_stopped_and_started_by_the_same_button(
    buttons: TripButtons, done: list[str]
) -> None:
    """The label says what the next press does."""
    labels: list[str] = []
    for _ in range(2):
        buttons.perform("service-hotels")
        labels.append(next(a.label for a in buttons.actions() if a.id == "service-hotels"))

    assert labels == ["Start hotels", "Stop hotels"]
    assert done == ["stop hotels", "run hotels"]


def test_an_unknown_button_is_a_key_error(board: Switchboard) -> None:
    """As the console's hook asks for."""
    with pytest.raises(KeyError):
        asyncio.run(RemoteControls(board.file).perform("format-disk"))


def test_a_stranger_on_this_machine_presses_nothing(board: Switchboard, done: list[str]) -> None:
    """Without the secret of the file, which only its owner may read, nothing happens."""
    text = board.file.read_text()
    stranger = board.file.with_name("guess.json")
    stranger.write_text(text.replace('"secret": "', '"secret": "x'))

    with pytest.raises(KeyError):
        asyncio.run(RemoteControls(stranger).perform("kill"))

    assert done == []
    assert board.file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b"\xff\n"])
def test_what_is_no_question_is_not_answered(
    board: Switchboard, done: list[str], said: bytes
) -> None:
    """Whoever else finds the port hears nothing, and the page goes on."""
    port = json.loads(board.file.read_text())["port"]
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(said)
        stranger.shutdown(socket.SHUT_WR)
        assert stranger.recv(100) == b""

    assert asyncio.run(RemoteControls(board.file).perform("kill")) is not None
    assert len(done) == 1
