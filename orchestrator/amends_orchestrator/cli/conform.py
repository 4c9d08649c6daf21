"""`amends conform`: whether a service, in whatever language, keeps what docs/wire.md promises."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.text import Text

from amends_contracts.names import is_name
from amends_orchestrator.cli import options, output
from amends_orchestrator.cli.address import find_broker
from amends_orchestrator.cli.exits import CliError, Exit
from amends_orchestrator.cli.schema import without_password

if TYPE_CHECKING:
    from amends_orchestrator.conform.examples import Examples, Unplayed
    from amends_orchestrator.conform.report import Report, Result
    from amends_orchestrator.conform.run import Options

LOOKS = {"pass": ("✔", "ok"), "fail": ("✘", "bad"), "skipped": ("·", "quiet")}
TEMPLATE = 'commands:\n  {name}:\n    input: {{"…": "…"}}'


Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        help="Its broker, amqp://… (else AMENDS_BROKER_URL, else up.json).",
        show_default=False,
    ),
]
Prefix = Annotated[
    str | None,
    typer.Option("--prefix", help="Of exchange and queue names (else AMENDS_PREFIX, amends)."),
]
Commands = Annotated[
    Path | None,
    typer.Option("--commands", help="YAML with example inputs: docs/conformance.md."),
]
Observe = Annotated[
    str | None,
    typer.Option(
        "--observe",
        help="SQL or a shell command that gives the number of effects there are; "
        "of one action's key where it uses $1, or AMENDS_KEY in the shell.",
    ),
]
ObserveDatabase = Annotated[
    str | None, typer.Option("--observe-database", help="Where that SQL runs, postgresql://…")
]
Restart = Annotated[
    str | None,
    typer.Option("--restart", help="Shell command that starts the service: it is killed, too."),
]
Pid = Annotated[
    str | None,
    typer.Option(
        "--pid",
        help="The running service's process, or a file with it; else --restart starts it.",
    ),
]
HelloWithin = Annotated[
    float | None,
    typer.Option(
        "--hello-within",
        min=0,
        help="Seconds to wait for its hello (default: 35 without --commands, else 0).",
        show_default=False,
    ),
]


def conform(
    *,
    service: Annotated[str, typer.Option("--service", help="The service that is checked.")],
    against: Against = None,
    prefix: Prefix = None,
    commands: Commands = None,
    observe: Observe = None,
    observe_database: ObserveDatabase = None,
    restart: Restart = None,
    pid: Pid = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", help="A check's name; repeat for several.")
    ] = None,
    repeat: Annotated[
        int, typer.Option("--repeat", min=1, help="Play everything so often; once bad is bad.")
    ] = 1,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0.1, help="Seconds to wait for a reply.")
    ] = 10.0,
    recovery: Annotated[
        float, typer.Option("--recovery", min=1, help="The same after the service was killed.")
    ] = 90.0,
    hello_within: HelloWithin = None,
    tenant: Annotated[str, typer.Option("--tenant", help="As whom commands are sent.")] = "conform",
    junit: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML here.")] = None,
    badge: Annotated[Path | None, typer.Option("--badge", help="Write an SVG badge here.")] = None,
    as_json: options.Json = False,
) -> None:
    """Play the orchestrator against one service, and check what the wire contract promises.

    It makes real effects and takes them back: use a service and a broker for tests. Needs neither
    an orchestrator nor a database. Exit code 1 if a promise is broken or an effect stays.
    """
    from amends_orchestrator.conform.run import Options
    from amends_orchestrator.conform.stage import Waits

    _refuse(service, only or (), pid=pid, restart=restart)
    asked = Options(
        service=service,
        url=_broker(against),
        prefix=prefix or os.environ.get("AMENDS_PREFIX", "amends"),
        examples=_examples(commands, service),
        observe=observe,
        observe_database=observe_database,
        restart=restart,
        pid=pid,
        waits=Waits(reply_s=timeout, recovery_s=recovery),
        hello_s=hello_within,
        tenant=tenant,
        only=frozenset(only or ()),
    )
    report = _run(asked, repeat)
    _write(report, junit, badge)
    output.show(report.to_json(), as_json, lambda: _shown(report))
    if not report.conforms:
        raise typer.Exit(Exit.REFUSED)


def _refuse(service: str, only: Sequence[str], *, pid: str | None, restart: str | None) -> None:
    from amends_orchestrator.conform.checks import CHECKS

    unknown = set(only) - {check.name for check in CHECKS}
    if unknown:
        known = ", ".join(check.name for check in CHECKS)
        raise _usage(f"--only: there is no check {min(unknown)!r}.", f"There are: {known}")
    if not is_name(service):
        raise _usage(f"--service: {service!r} is no name of a service.", "For example: flights")
    if pid is not None and restart is None:
        raise _usage("--pid is killed, and nothing would start it again.", "Give --restart, too.")


def _usage(what: str, do: str) -> CliError:
    return CliError(what, do, exit_code=Exit.USAGE)


def _broker(against: str | None) -> str:
    url = find_broker(against)
    if url is None:
        raise CliError(
            "No broker is known here.",
            "Give --against amqp://…, or set AMENDS_BROKER_URL.",
            exit_code=Exit.UNREACHABLE,
        )
    return url


def _examples(file: Path | None, service: str) -> "Examples | None":
    from amends_orchestrator.conform.examples import BadExamples, read_examples

    if file is None:
        return None
    try:
        return read_examples(file.read_text(), service)
    except OSError as error:
        raise _usage(f"--commands: {file}: {error.strerror}.", "Name a file.") from error
    except (BadExamples, UnicodeDecodeError) as error:
        raise _usage(f"--commands: {file}: {error}.", "docs/conformance.md shows one.") from error


def _run(asked: "Options", repeat: int) -> "Report":
    from amends_orchestrator.conform.observing import BadObservation
    from amends_orchestrator.conform.report import worst
    from amends_orchestrator.conform.run import Nobody, NothingToPlay, Unreachable
    from amends_orchestrator.conform.run import conform as play

    where = without_password(asked.url)
    try:
        with output.console(stderr=True).status("connecting") as status:
            return worst([asyncio.run(play(asked, status.update)) for _ in range(repeat)])
    except Unreachable as error:
        raise CliError(
            f"{where} cannot be reached: {error}",
            "Check --against, that RabbitMQ runs, and that the user may declare exchanges there.",
            exit_code=Exit.UNREACHABLE,
        ) from error
    except Nobody as error:
        others = f" Heard of there: {', '.join(error.strangers)}." if error.strangers else ""
        raise CliError(
            f"Nobody serves {error.service} at {where}: {error.what}.",
            f"Start it with this broker and prefix {asked.prefix!r}, or mend --service.{others}",
            exit_code=Exit.NOT_FOUND,
        ) from error
    except NothingToPlay as error:
        raise _nothing(error.service, error.left) from error
    except BadObservation as error:
        raise _usage(str(error), "docs/conformance.md shows what it may be.") from error


def _nothing(service: str, left: "Sequence[Unplayed]") -> CliError:
    if not left:
        return _usage(
            f"{service} said no hello that names a command.",
            f"Name its commands in a file, --commands:\n{TEMPLATE.format(name=f'{service}.…')}",
        )
    said = "; ".join(f"{one.name}: {one.why}" for one in left)
    return _usage(
        f"No command of {service} could be played: {said}.", TEMPLATE.format(name=left[0].name)
    )


def _write(report: "Report", junit: Path | None, badge: Path | None) -> None:
    from amends_orchestrator.conform.report import to_badge, to_junit

    if junit is not None:
        junit.write_text(to_junit(report))
    if badge is not None:
        badge.write_text(to_badge(report))


def _shown(report: "Report") -> Group:
    results = sorted(report.results, key=lambda result: result.command or "")
    width = max(len(result.check) for result in results)
    lines: list[Text] = []
    owner: str | None = ""
    for result in results:
        if result.command != owner:
            owner = result.command
            lines.append(Text(owner or report.service, "name"))
        lines += _lines(result, width)
    lines += [Text(note, "quiet") for note in report.notes]
    lines += [Text(f"left behind: {left}", "bad") for left in report.left]
    lines.append(_verdict(report))
    return Group(*lines)


def _lines(result: "Result", width: int) -> list[Text]:
    mark, style = LOOKS[result.verdict.value]
    verdict = result.verdict.value.upper()
    head = (mark, style), " ", result.check.ljust(width), "  ", (verdict.ljust(7), style), "  "
    lines = [Text.assemble("  ", *head, (result.title, "quiet"))]
    indent = " " * (width + 15)
    if result.why:
        lines.append(Text(f"{indent}{result.why}"))
    if result.verdict.value == "fail":
        lines.append(Text(f"{indent}{result.rule.at} says: {result.rule.says}", "quiet"))
    return lines


def _verdict(report: "Report") -> Text:
    counts = {name: sum(r.verdict.value == name for r in report.results) for name in LOOKS}
    said = f"{counts['pass']} passed, {counts['fail']} failed, {counts['skipped']} skipped"
    word = "conforms" if report.conforms else "does not conform"
    style = "ok" if report.conforms else "bad"
    return Text.assemble((f"{report.service} {word}", style), f": {said}")
