"""The program `amends`: all commands, and the one place where errors become exit codes."""

import os
import sys
from collections.abc import Sequence
from typing import cast

import typer

from amends_orchestrator.cli import (
    archive,
    conform,
    definitions,
    demo,
    dev,
    doctor,
    draw,
    drill,
    keys,
    migrate,
    new,
    operate,
    output,
    reviews,
    sagas,
    schedules,
    serve,
    signals,
    sim,
    up,
)
from amends_orchestrator.cli.exits import CliError, Exit

app = typer.Typer(
    name="amends",
    help="Durable sagas over Postgres and RabbitMQ, undone in order when a step fails.",
    epilog="Start here: `amends demo`, then `amends new trip`. Exit codes: docs/cli.md",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_START = "Start here"
_SAGAS = "Sagas"
_OPERATE = "Operate"
_REVIEW = "Review"
_SERVICE = "Run the service"

for _command in (demo.demo, new.new, dev.dev, up.up):
    app.command(rich_help_panel=_START)(_command)
for _command in (
    definitions.verify,
    draw.draw,
    definitions.register,
    definitions.definitions,
    definitions.retire,
):
    app.command(rich_help_panel=_SAGAS)(_command)
for _command in (
    sagas.start,
    sagas.show,
    signals.signal,
    sagas.undo_plan,
    sagas.cancel,
    sagas.undo,
    sagas.trace,
):
    app.command(rich_help_panel=_SAGAS)(_command)
app.command("list", rich_help_panel=_SAGAS)(sagas.list_)
app.add_typer(schedules.schedules, name="schedule", rich_help_panel=_SAGAS)
for _command in (operate.retry, operate.skip, operate.resolve, operate.suspend, operate.resume):
    app.command(rich_help_panel=_OPERATE)(_command)
for _command in (reviews.reviews, reviews.approve, reviews.reject, reviews.edit):
    app.command(rich_help_panel=_REVIEW)(_command)
for _command in (serve.serve, migrate.migrate, archive.archive, doctor.doctor, sim.sim):
    app.command(rich_help_panel=_SERVICE)(_command)
app.command(rich_help_panel=_SERVICE)(conform.conform)
app.add_typer(drill.drills, name="drill", rich_help_panel=_OPERATE)
app.add_typer(keys.keys, name="keys", rich_help_panel=_SERVICE)


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; nothing of it raises."""
    as_json = "--json" in arguments
    try:
        app(args=list(arguments))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else Exit.OK
    except CliError as error:
        output.print_error(error, as_json)
        return error.exit_code
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        _hush_stdout()
        return Exit.OK
    except Exception as error:
        if os.environ.get("AMENDS_DEBUG"):
            raise
        fault = _fault(error)
        output.print_error(fault, as_json)
        return fault.exit_code
    return Exit.OK


def _fault(error: Exception) -> CliError:
    error = _only(error)
    if isinstance(error, OSError) and error.filename is not None:
        # A folder that may not be written, a full disk: nothing that a traceback explains.
        return CliError(
            f"{error.filename}: {error.strerror}.",
            "Work in a folder that you may read and write.",
            exit_code=Exit.USAGE,
        )
    return CliError(
        f"{type(error).__name__}: {error}",
        "This is a fault of amends, not yours: AMENDS_DEBUG=1 shows where; please report it.",
        exit_code=Exit.INTERNAL,
    )


def _only(error: Exception) -> Exception:
    """What is within groups of one: a task group's own name tells nothing."""
    if not isinstance(error, ExceptionGroup):
        return error
    group = cast("ExceptionGroup[Exception]", error)
    return _only(group.exceptions[0]) if len(group.exceptions) == 1 else group


def _hush_stdout() -> None:
    """The reader of our pipe is gone (`amends list | head`): say nothing at exit either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
