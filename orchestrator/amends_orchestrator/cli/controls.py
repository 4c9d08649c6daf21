"""The demo's buttons: the page is served by the orchestrator, the processes belong to the demo.

So the orchestrator's process holds `RemoteControls`, which reads the buttons' state from a file and
sends what is pressed to the demo's process over the loopback; `Switchboard` there does it.
"""

import asyncio
import contextlib
import itertools
import json
import os
import queue
import secrets
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from amends_orchestrator.console.demo import DemoAction

SETTING = "AMENDS_DEMO_CONTROLS"
"""Set by the demo for the orchestrator: the file with the buttons' state."""
ANSWER_S = 20.0
TRAVELLERS = ("ada", "bob", "cleo", "dan", "eve")
CITIES = ("Lisbon", "Oslo", "Venice")


@dataclass(frozen=True, slots=True)
class Press:
    """A button that was pressed, and where its answer goes."""

    action: str
    answer: "queue.Queue[str | None]"


class RemoteControls:
    """The console's `DemoControls` in the orchestrator's process."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @classmethod
    def from_environment(cls) -> "RemoteControls | None":
        """The controls, where a demo runs this process."""
        file = os.environ.get(SETTING)
        return cls(Path(file)) if file else None

    def actions(self) -> Sequence[DemoAction]:
        """The buttons as the demo last wrote them."""
        return [DemoAction(**action) for action in self._read()["actions"]]

    async def perform(self, action: str) -> str:
        """Have it done by the demo's process; KeyError for an unknown button."""
        where = self._read()
        reader, writer = await asyncio.open_connection("127.0.0.1", where["port"])
        try:
            asked = json.dumps({"secret": where["secret"], "action": action})
            writer.write(asked.encode() + b"\n")
            await writer.drain()
            answer = json.loads(await asyncio.wait_for(reader.readline(), ANSWER_S))
        finally:
            writer.close()
        if answer["said"] is None:
            raise KeyError(action)
        return str(answer["said"])

    def _read(self) -> dict[str, Any]:
        return json.loads(self._file.read_text())


@dataclass
class Switchboard:
    """The demo's side: listens, and hands each press to the main loop, which owns the processes."""

    file: Path
    presses: "queue.Queue[Press]" = field(default_factory=queue.Queue["Press"])
    _secret: str = field(default_factory=secrets.token_urlsafe)
    _socket: socket.socket | None = None

    def open(self) -> None:
        """Listen on the loopback, in a thread that goes with the process."""
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, args=(self._socket,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            self._socket.close()

    def publish(self, actions: Sequence[DemoAction]) -> None:
        """Write the buttons' state for the page."""
        assert self._socket is not None
        content = {
            "port": self._socket.getsockname()[1],
            "secret": self._secret,
            "actions": [asdict(action) for action in actions],
        }
        draft = self.file.with_suffix(".draft")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(content))
        draft.replace(self.file)

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        """Who asks in another way than the page, or is gone, is not answered."""
        with (
            contextlib.suppress(OSError, ValueError, AttributeError),
            connection,
            connection.makefile("rw", encoding="utf-8") as stream,
        ):
            asked = json.loads(stream.readline(4096))
            said = None
            if secrets.compare_digest(str(asked.get("secret")), self._secret):
                answer: queue.Queue[str | None] = queue.Queue(1)
                self.presses.put(Press(str(asked.get("action")), answer))
                said = answer.get(timeout=ANSWER_S)
            stream.write(json.dumps({"said": said}) + "\n")


@dataclass
class TripButtons:
    """What the buttons of the trip do. Runs in the demo's main loop."""

    services: Sequence[str]
    """Those with a process of their own; empty in embedded mode."""
    start_saga: Callable[[Mapping[str, Any]], str]
    sell_out: Callable[[bool], None]
    """Take all rooms away, or give them back."""
    stop_service: Callable[[str], None]
    run_service: Callable[[str], None]
    kill_orchestrator: Callable[[], int]
    sold_out: bool = False
    stopped: set[str] = field(default_factory=set[str])
    _trips: "itertools.count[int]" = field(default_factory=lambda: itertools.count(0))

    def actions(self) -> list[DemoAction]:
        """The buttons as they now are."""
        buttons = [
            DemoAction(id="start", label="Start a saga", hint="Somebody books a trip."),
            DemoAction(
                id="hotel",
                label="Give the rooms back" if self.sold_out else "Fail the hotel",
                hint="All hotels are sold out: trips are undone.",
                tone="mend" if self.sold_out else "break",
                pressed=self.sold_out,
            ),
            DemoAction(
                id="kill",
                label="Kill the orchestrator",
                hint="SIGKILL; it starts again and every saga goes on where it was.",
                tone="break",
            ),
        ]
        for service in self.services:
            stopped = service in self.stopped
            buttons.append(
                DemoAction(
                    id=f"service-{service}",
                    label=f"{'Start' if stopped else 'Stop'} {service}",
                    hint=f"Without {service} its steps wait, and go on when it is back.",
                    tone="mend" if stopped else "break",
                    pressed=stopped,
                )
            )
        return buttons

    def perform(self, action: str) -> str | None:
        """Do it; None for an unknown button."""
        if action == "start":
            return self._start()
        if action == "hotel":
            self.sold_out = not self.sold_out
            self.sell_out(self.sold_out)
            return "All hotels are sold out." if self.sold_out else "There are rooms again."
        if action == "kill":
            return f"Killed process {self.kill_orchestrator()} with SIGKILL."
        service = action.removeprefix("service-")
        if service not in self.services:
            return None
        return self._toggle(service)

    def _start(self) -> str:
        n = next(self._trips)
        traveller, city = TRAVELLERS[n % len(TRAVELLERS)], CITIES[n % len(CITIES)]
        saga_id = self.start_saga(
            {
                "traveller": traveller,
                "to": city,
                "nights": 1 + n % 3,
                "email": f"{traveller}@example.com",
            }
        )
        return f"{traveller.capitalize()} books a trip to {city}: {saga_id}"

    def _toggle(self, service: str) -> str:
        if service in self.stopped:
            self.stopped.discard(service)
            self.run_service(service)
            return f"{service} runs again."
        self.stopped.add(service)
        self.stop_service(service)
        return f"{service} is stopped."
