"""The three acts of `amends demo`, what they must come to, and the buttons of the page."""

import asyncio
import contextlib
import os
import queue
import secrets
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from amends_orchestrator.cli import ledger, output, saga_tree
from amends_orchestrator.cli.controls import SETTING, Switchboard, TripButtons
from amends_orchestrator.cli.example import TRIP, examples_folder
from amends_orchestrator.cli.exits import CliError, Exit
from amends_orchestrator.cli.machine import Machine
from amends_orchestrator.cli.rest import Rest, saga_path
from amends_orchestrator.cli.sagas import wait_for_end
from amends_orchestrator.cli.up import POLL_S, ended, report, signals_raise
from amends_orchestrator.local import rabbitmq

END_S = 60.0
WORK_S = "0.15"
"""How long each service takes, so that there is a middle to kill the orchestrator in."""
ALL_ONCE = {"seat": 1, "room": 1, "charge": 1, "mail": 1}
NOTHING = dict.fromkeys(ALL_ONCE, 0)


@dataclass(frozen=True, slots=True)
class Act:
    """One run of the demo and what it must come to."""

    title: str
    key: str
    input: Mapping[str, Any]
    status: str
    held: Mapping[str, int]
    killed: bool = False


def _trip(traveller: str, to: str) -> dict[str, Any]:
    return {
        "traveller": traveller,
        "to": to,
        "nights": 2,
        "email": f"{traveller}@example.com",
    }


ACTS = (
    Act("All goes well", "order-1", _trip("ada", "Lisbon"), "completed", ALL_ONCE),
    Act(
        "Venice has no room: the seat is given back, nothing was charged",
        "order-2",
        _trip("bob", "Venice"),
        "compensated",
        NOTHING,
    ),
    Act(
        "The orchestrator is killed (SIGKILL) in the middle, and started again",
        "order-3",
        _trip("cleo", "Oslo"),
        "completed",
        ALL_ONCE,
        killed=True,
    ),
)


def play(*, stay: bool, embedded: bool, as_json: bool) -> None:
    """Bring everything up in a folder of its own, play, prove, and leave nothing behind."""
    with tempfile.TemporaryDirectory(prefix="amends-demo-") as folder:
        Path(folder).chmod(0o711)
        machine = Machine(
            folder=Path(folder),
            example=TRIP,
            embedded=embedded or not _has_broker(),
            with_key=False,
            extra_env={"AMENDS_TRIP_WORK_S": WORK_S, SETTING: str(Path(folder) / "controls.json")},
        )
        quiet = output.console(stderr=True)
        shown = quiet if as_json else output.console()
        with signals_raise(), ended(machine, quiet):
            _bring_up(machine, shown, quiet)
            results = [_play(n, act, machine, shown) for n, act in enumerate(ACTS, 1)]
            ok = _prove(machine, results, shown)
            if as_json:
                output.print_json({"ok": ok, "sagas": results})
            if not ok:
                raise typer.Exit(Exit.REFUSED)
            if stay:
                _stay(machine, shown)


def _has_broker() -> bool:
    return bool(os.environ.get("AMENDS_BROKER_URL")) or rabbitmq.available()


def _bring_up(machine: Machine, shown: Console, quiet: Console) -> None:
    began = time.monotonic()
    with quiet.status("start", spinner="dots") as status:
        machine.say = status.update
        machine.start()
    took = time.monotonic() - began
    if machine.embedded:
        shown.print(
            f"One process with the in-process transport and a real Postgres, up in {took:.1f} s.",
            soft_wrap=True,
        )
        if not _has_broker():
            shown.print(f"[quiet]No RabbitMQ here. {rabbitmq.INSTALL}[/]", soft_wrap=True)
    else:
        shown.print(
            "RabbitMQ, Postgres, the orchestrator and four services, each a process of its own, "
            f"up in {took:.1f} s.",
            soft_wrap=True,
        )


def _play(number: int, act: Act, machine: Machine, shown: Console) -> dict[str, Any]:
    """Run one act; the saga's view with what the services hold for it."""
    shown.print()
    shown.print(Text.assemble((f"{number}  ", "quiet"), (act.title, "name")))
    with Rest(machine.address) as rest:
        body = {"definition": TRIP.definition, "key": act.key, "input": dict(act.input)}
        saga_id = str(rest.post("/v1/sagas", body)["saga_id"])
        if act.killed:
            _kill_in_the_middle(rest, saga_id, machine, shown)
        view = wait_for_end(rest, saga_id, END_S)
    shown.print(saga_tree.render(view))
    return view


def _kill_in_the_middle(rest: Rest, saga_id: str, machine: Machine, shown: Console) -> None:
    """SIGKILL once the seat is held and the payment is under way."""
    until = time.monotonic() + END_S
    while not _in_the_middle(rest.get(saga_path(saga_id))):
        if time.monotonic() > until:
            raise CliError("The saga did not get to its middle.", exit_code=Exit.TIMEOUT)
        time.sleep(0.01)
    killed = machine.pids()["orchestrator"]
    machine.supervisor.kill("orchestrator")
    began = time.monotonic()
    machine.poll()  # notices; the next ones start it again
    while "orchestrator" not in machine.supervisor.pids():
        machine.poll()
        time.sleep(0.02)
    machine.wait_ready()
    again = machine.pids()["orchestrator"]
    shown.print(
        f"   [quiet]killed process {killed} while the card was being charged; "
        f"{again} took over after {time.monotonic() - began:.1f} s[/]"
    )


def _in_the_middle(view: Mapping[str, Any]) -> bool:
    statuses = {step["path"]: step["status"] for step in view["steps"]}
    return statuses.get("flight") == "succeeded" and statuses.get("payment") == "running"


def _prove(machine: Machine, views: list[dict[str, Any]], shown: Console) -> bool:
    """Look into the services' own tables: exactly what each saga should hold, and every balance."""
    wrong = asyncio.run(ledger.broken(examples_folder(), machine.database_of))
    saga_ids = [str(view["saga_id"]) for view in views]
    in_the_tables = asyncio.run(ledger.held_by(saga_ids, machine.database_of))
    for act, view in zip(ACTS, views, strict=True):
        held = in_the_tables[view["saga_id"]]
        view["in_the_tables"] = held
        if view["status"] != act.status:
            wrong.append(f"{act.key} is {view['status']}, not {act.status}")
        if held != act.held:
            wrong.append(f"{act.key} holds {held}, not {dict(act.held)}")
    shown.print()
    if not wrong:
        shown.print(
            "[ok]✔[/] In the services' own tables: one seat, one room, one charge and one mail "
            "for each trip that completed, nothing for the other.",
            soft_wrap=True,
        )
    for line in wrong:
        shown.print(f"[bad]✘[/] {line}", soft_wrap=True)
    return not wrong


def _stay(machine: Machine, shown: Console) -> None:
    """Leave the page running, with its buttons, until a signal comes."""
    board = Switchboard(Path(machine.extra_env[SETTING]))
    board.open()
    buttons = _buttons(machine)
    board.publish(buttons.actions())
    shown.print()
    shown.print(f"The page is at [link]{machine.page_url}[/]  [quiet]Ctrl-C ends it all[/]")
    try:
        while True:
            report(machine.poll(), machine, shown)
            with contextlib.suppress(queue.Empty):
                press = board.presses.get(timeout=POLL_S)
                said = buttons.perform(press.action)
                board.publish(buttons.actions())
                press.answer.put(said)
    finally:
        board.close()


def _buttons(machine: Machine) -> TripButtons:
    def start_saga(trip: Mapping[str, Any]) -> str:
        body = {"definition": TRIP.definition, "key": f"page-{secrets.token_hex(4)}", "input": trip}
        with Rest(machine.address) as rest:
            return str(rest.post("/v1/sagas", body)["saga_id"])

    def kill_orchestrator() -> int:
        pid = machine.pids()["orchestrator"]
        # Later, so that the page that asked for it still gets its answer.
        threading.Timer(0.3, machine.supervisor.kill, ("orchestrator",)).start()
        return pid

    return TripButtons(
        services=() if machine.embedded else tuple(TRIP.services),
        start_saga=start_saga,
        sell_out=lambda sold: asyncio.run(ledger.sell_out(sold, machine.database_of)),
        stop_service=machine.supervisor.stop,
        run_service=machine.supervisor.start,
        kill_orchestrator=kill_orchestrator,
    )
