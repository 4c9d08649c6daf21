"""The operator's commands on a saga that needs a hand. Each is audited with who and why."""

from typing import Annotated, Any

import typer

from amends_orchestrator.cli import options
from amends_orchestrator.cli.acting import act
from amends_orchestrator.cli.exits import CliError, Exit


def retry(
    saga_id: options.SagaId,
    step: options.StepPath,
    *,
    reason: options.Reason = "retried from the command line",
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Try a step's open operation again now; attempts go on counting."""
    body = {"step": step, "reason": reason}
    act(saga_id, "retry", body, f"retrying {step}", url=url, as_json=as_json)


def skip(
    saga_id: options.SagaId,
    step: options.StepPath,
    *,
    reason: Annotated[str, typer.Option("--reason", "-r", help="Why; kept in the audit.")],
    owner: Annotated[
        str, typer.Option("--owner", help="Who takes care of what stays in the world.")
    ],
    evidence: Annotated[
        str | None, typer.Option("--evidence", help="A link or note on it.")
    ] = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Give a step's open operation up; an effect that may be there becomes residue."""
    body = {"step": step, "reason": reason, "owner": owner}
    if evidence:
        body["evidence"] = evidence
    act(saga_id, "skip", body, f"skipped {step}", url=url, as_json=as_json)


def resolve(
    saga_id: options.SagaId,
    step: options.StepPath,
    *,
    reason: Annotated[str, typer.Option("--reason", "-r", help="How you know; kept in the audit.")],
    outcome: Annotated[
        str, typer.Option("--outcome", help="`succeeded` or `failed`.")
    ] = "succeeded",
    output_: Annotated[
        list[str] | None,
        typer.Option("--output", "-o", help="The step's output, like --input of start."),
    ] = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Supply the outcome of a step's open operation, known from elsewhere."""
    if outcome not in {"succeeded", "failed"}:
        raise CliError(f"--outcome {outcome!r}: `succeeded` or `failed`.", exit_code=Exit.USAGE)
    body: dict[str, Any] = {"step": step, "outcome": outcome, "reason": reason}
    if output_:
        body["output"] = options.read_object(output_, "--output")
    act(saga_id, "resolve", body, f"resolved {step} as {outcome}", url=url, as_json=as_json)


def suspend(
    saga_id: options.SagaId,
    *,
    reason: options.Reason = "suspended from the command line",
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Dispatch nothing for this saga until it is resumed; replies are recorded."""
    act(saga_id, "suspend", {"reason": reason}, "suspended", url=url, as_json=as_json)


def resume(
    saga_id: options.SagaId,
    *,
    reason: options.Reason = "resumed from the command line",
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """End a suspension."""
    act(saga_id, "resume", {"reason": reason}, "resumed", url=url, as_json=as_json)
