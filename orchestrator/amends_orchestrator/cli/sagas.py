"""Commands on sagas over REST: start, list, show, undo-plan, cancel, undo, trace."""

import secrets
import time
from typing import Annotated, Any

import typer
from rich.live import Live

from amends_contracts.definition import VERSION_MAX
from amends_orchestrator.cli import options, output, saga_list, saga_tree
from amends_orchestrator.cli.acting import act, resolved
from amends_orchestrator.cli.address import find_service
from amends_orchestrator.cli.exits import CliError, Exit
from amends_orchestrator.cli.rest import WAIT_MAX_S, Rest, saga_path

TERMINAL = frozenset({"completed", "compensated"})
WATCH_EVERY_S = 0.25
PAGE_MAX = 200
EXIT_OF_STATUS = {
    "completed": Exit.OK,
    "compensated": Exit.REFUSED,
    "stuck": Exit.STUCK,
}

Labels = Annotated[
    list[str] | None, typer.Option("--label", help="name=value; repeatable.", show_default=False)
]


def start(
    definition: Annotated[
        str, typer.Argument(help="Name of a registered definition, `name[@version]`.")
    ],
    *,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input", "-i", help="A JSON file, a JSON object, or name=value; repeatable."
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", "-k", help="Idempotency key: the same key starts one saga only."),
    ] = None,
    label: Labels = None,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Wait for the end and show it.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Longest wait in seconds.", min=1)] = 60.0,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Start a saga."""
    name, version = definition_and_version(definition)
    body: dict[str, Any] = {
        "definition": name,
        "key": key or f"cli-{secrets.token_hex(5)}",
        "input": options.read_object(input_ or (), "--input"),
    }
    if version is not None:
        body["version"] = version
    if label:
        body["labels"] = options.read_pairs(label or (), "--label")
    with Rest(find_service(url)) as rest:
        answer = rest.post("/v1/sagas", body)
        if not wait:
            output.show(answer, as_json, lambda: saga_list.started(answer, body))
            return
        _end(rest, answer["saga_id"], timeout, as_json)


def definition_and_version(text: str) -> tuple[str, int | None]:
    """`name[@version]`; CliError where the version is none."""
    name, at, version = text.partition("@")
    if at and not _is_version(version):
        raise CliError(
            f"{text[:100]!r}: a version is a number from 1 to {VERSION_MAX}.",
            exit_code=Exit.USAGE,
        )
    return name, int(version) if at else None


def _is_version(text: str) -> bool:
    short = text.isdecimal() and len(text) <= len(str(VERSION_MAX))
    return short and 1 <= int(text) <= VERSION_MAX


def list_(
    *,
    definition: Annotated[
        str | None, typer.Option("--definition", "-d", help="Only of this definition.")
    ] = None,
    status: Annotated[
        str | None, typer.Option("--status", "-s", help="Only in this status.")
    ] = None,
    label: Labels = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="At most so many.", min=1)] = 20,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """List sagas, newest first."""
    labels = options.read_pairs(label or (), "--label")
    query: dict[str, Any] = {"definition": definition, "status": status}
    query |= {f"label.{name}": value for name, value in labels.items()}
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    with Rest(find_service(url)) as rest:
        while len(items) < limit:
            page = rest.get("/v1/sagas", cursor=cursor, limit=min(limit, PAGE_MAX), **query)
            items.extend(page["items"])
            cursor = page.get("next")
            if cursor is None:
                break
    more = cursor is not None or len(items) > limit
    shown = items[:limit]
    found = {"items": shown, "next": cursor}
    output.show(found, as_json, lambda: saga_list.table(shown, more))


def show(
    saga_id: options.SagaId,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it until it ends.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for its end; see the exit codes.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Longest wait in seconds.", min=1)] = 60.0,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Show a saga as a tree: steps, attempts, undos, what is still held, why it failed."""
    with Rest(find_service(url)) as rest:
        wanted = resolved(rest, saga_id)
        if wait:
            _end(rest, wanted, timeout, as_json)
        elif watch and not as_json:
            _watch(rest, wanted)
        else:
            view = rest.get(saga_path(wanted))
            output.show(view, as_json, lambda: saga_tree.render(view))


def undo_plan(
    saga_id: options.SagaId,
    *,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Show what an undo of this saga would do now, in its order, and what would stay."""
    with Rest(find_service(url)) as rest:
        plan = rest.get(saga_path(resolved(rest, saga_id), "/undo-plan"))
    output.show(plan, as_json, lambda: saga_list.undo_plan(plan))


def cancel(
    saga_id: options.SagaId,
    *,
    reason: options.Reason = "cancelled from the command line",
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Stop a running saga and undo what it did. Refused once its pivot went through."""
    act(saga_id, "cancel", {"reason": reason}, "cancelling", url=url, as_json=as_json)


def undo(
    saga_id: options.SagaId,
    *,
    reason: options.Reason = "undone from the command line",
    across_pivot: Annotated[
        bool,
        typer.Option("--across-pivot", help="Also what its pivot had made final; see undo-plan."),
    ] = False,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Undo a completed saga, by a saga of its own."""
    body: dict[str, Any] = {"reason": reason}
    if across_pivot:
        body["across_pivot"] = True
    act(saga_id, "undo", body, "undoing", url=url, as_json=as_json)


def trace(
    saga_id: options.SagaId,
    *,
    base: Annotated[
        str,
        typer.Option("--jaeger-url", envvar="AMENDS_JAEGER_URL", help="Where Jaeger's pages are."),
    ] = "http://localhost:16686",
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Print the link to a saga's trace."""
    with Rest(find_service(url)) as rest:
        view = rest.get(saga_path(resolved(rest, saga_id)))
    trace_id = view.get("trace_id")
    if not trace_id:
        raise CliError(
            "This saga has no trace.",
            "They are written where the orchestrator runs with OTEL_EXPORTER_OTLP_ENDPOINT set.",
            exit_code=Exit.NOT_FOUND,
        )
    link = f"{base.rstrip('/')}/trace/{trace_id}"
    output.show({"trace_id": trace_id, "link": link}, as_json, lambda: f"[link]{link}[/]")


def _end(rest: Rest, saga_id: str, timeout_s: float, as_json: bool) -> None:
    """Wait for the end, show it, and leave with the code that says which end it was."""
    view = wait_for_end(rest, saga_id, timeout_s)
    output.show(view, as_json, lambda: saga_tree.render(view))
    if view["status"] not in EXIT_OF_STATUS:
        raise CliError(
            f"Still {view['status']} after {timeout_s:g} s.",
            f"It goes on by itself: amends show {saga_id} --watch",
            exit_code=Exit.TIMEOUT,
        )
    if view.get("kind") == "undo" and view["status"] == "compensated":
        raise typer.Exit(Exit.OK)  # that is what it was for
    raise typer.Exit(EXIT_OF_STATUS[view["status"]])


def wait_for_end(rest: Rest, saga_id: str, timeout_s: float) -> dict[str, Any]:
    """The saga when it ended, got stuck, or the time is over, whichever comes first."""
    until = time.monotonic() + timeout_s
    while True:
        left = until - time.monotonic()
        view = rest.get(saga_path(saga_id), wait_s=min(WAIT_MAX_S, max(left, 0.0)))
        if view["status"] in EXIT_OF_STATUS or left <= 0:
            return view
        time.sleep(0.05)  # a service that answers at once is not asked without a pause


def _watch(rest: Rest, saga_id: str) -> None:
    view = rest.get(saga_path(saga_id))
    with Live(saga_tree.render(view), console=output.console(), auto_refresh=False) as live:
        while view["status"] not in TERMINAL:
            time.sleep(WATCH_EVERY_S)
            view = rest.get(saga_path(saga_id))
            live.update(saga_tree.render(view), refresh=True)
