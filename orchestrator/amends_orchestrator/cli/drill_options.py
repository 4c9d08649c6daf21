"""What `amends drill` may be told: its arguments and options, one by one."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class FaultName(StrEnum):
    """The faults, as `drills.matrix` has them, which is slow to load."""

    FAILS_BEFORE = "fails-before-effect"
    REPLY_LOST = "reply-lost"
    REPLY_LOST_PROBED = "reply-lost-then-probed"
    SUCCEEDS_LATE = "succeeds-late"
    COMMAND_TWICE = "command-twice"
    REPLY_TWICE = "reply-twice"
    PARTICIPANT_KILLED = "participant-killed"
    UNDO_FAILS = "undo-fails"
    UNDO_FIRST = "undo-first"
    CANCELLED = "cancelled"
    KILLED_BEFORE_DISPATCH = "orchestrator-killed-before-dispatch"
    KILLED_BEFORE_DECISION = "orchestrator-killed-before-decision"
    REVIEW_REJECTED = "review-rejected"
    REVIEW_EXPIRED = "review-expired"


Target = Annotated[
    str,
    typer.Argument(
        help="A folder or file with a plan and its participants, an example (book-trip);"
        " with --against: a registered definition, or a file."
    ),
]
Input = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", help="A JSON or YAML file, a JSON object, name=value."),
]
Against = Annotated[
    str | None,
    typer.Option("--against", help="The broker (amqp://…) whose participants are drilled."),
]
InvariantFiles = Annotated[
    list[str] | None,
    typer.Option("--invariant", help="A YAML file of invariants, or module:function."),
]
Sandbox = Annotated[
    list[str] | None,
    typer.Option(
        "--sandbox", help="SERVICE=WHAT: a service without SDK, and what it acts on in drills."
    ),
]
Steps = Annotated[
    list[str] | None, typer.Option("--step", help="Only at this step (repeat for more).")
]
Faults = Annotated[
    list[FaultName] | None, typer.Option("--fault", help="Only this fault (repeat for more).")
]
TimeoutS = Annotated[
    float | None,
    typer.Option("--timeout-s", help="The longest one attempt is waited for.", min=0.05),
]
MinCoverage = Annotated[
    float | None,
    typer.Option("--min-coverage", help="Fail if fewer percent pass.", min=0, max=100),
]
JunitFile = Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML to this file.")]
HtmlFile = Annotated[
    Path | None, typer.Option("--html", help="Write a page for people to this file.")
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Begin anew, also where a run was interrupted.")
]
Brief = Annotated[bool, typer.Option("--brief", help="End with one line of JSON that sums it up.")]
Prefix = Annotated[
    str, typer.Option("--prefix", help="Prefix of exchanges and queues (AMENDS_PREFIX).")
]
