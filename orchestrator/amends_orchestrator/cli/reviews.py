"""Reviews from the terminal: which wait, and to approve, reject or edit one.

What is decided is what was shown: the review is read, printed, and decided by the digest it had
then, so that an edit in between is refused.
"""

from typing import Annotated, Any
from urllib.parse import quote

import typer

from amends_orchestrator.cli import options, output, review_list
from amends_orchestrator.cli.address import find_service
from amends_orchestrator.cli.rest import Rest

ReviewId = Annotated[str, typer.Argument(help="A review's id, as `amends reviews` prints it.")]
Comment = Annotated[
    str | None, typer.Option("--comment", "-c", help="Said to whoever looks at it later.")
]
Digest = Annotated[
    str | None,
    typer.Option(
        "--digest",
        help="Decide only if this is still what is shown (else what is shown now).",
        show_default=False,
    ),
]


def reviews(
    review_id: Annotated[
        str | None, typer.Argument(help="Show this one, with what it asks for.", show_default=False)
    ] = None,
    *,
    status: Annotated[str, typer.Option("--status", help="open, approved, rejected, …")] = "open",
    mine: Annotated[bool, typer.Option("--mine", help="Only what this key may decide.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200)] = 20,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """List what waits for people, or show one review."""
    with Rest(find_service(url)) as rest:
        if review_id is not None:
            found = rest.get(_path(review_id))
            output.show(found, as_json, lambda: review_list.one(found))
            return
        page = rest.get("/v1/reviews", status=status, mine="true" if mine else None, limit=limit)
    more = page["next"] is not None
    output.show(page, as_json, lambda: review_list.table(page["items"], status, more=more))


def approve(
    review_id: ReviewId,
    *,
    comment: Comment = None,
    digest: Digest = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Approve what a review shows: it runs, once enough have approved."""
    _decide(review_id, {"decision": "approve"}, comment, digest, url=url, as_json=as_json)


def reject(
    review_id: ReviewId,
    *,
    comment: Comment = None,
    digest: Digest = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Reject what a review shows: the saga undoes what it has done."""
    _decide(review_id, {"decision": "reject"}, comment, digest, url=url, as_json=as_json)


def edit(
    review_id: ReviewId,
    body: Annotated[
        list[str], typer.Option("--set", "-s", help="What is to differ, like --input of start.")
    ],
    *,
    comment: Comment = None,
    digest: Digest = None,
    url: options.Url = None,
    as_json: options.Json = False,
) -> None:
    """Approve something else than what is shown: members of it are replaced by yours."""
    changed = options.read_object(body, "--set")
    decision = {"decision": "edit", "body": changed}
    _decide(review_id, decision, comment, digest, url=url, as_json=as_json)


def _decide(
    review_id: str,
    decision: dict[str, Any],
    comment: str | None,
    digest: str | None,
    *,
    url: str | None,
    as_json: bool,
) -> None:
    with Rest(find_service(url)) as rest:
        found = rest.get(_path(review_id))
        if not as_json:
            output.console().print(review_list.one(found))
        if "body" in decision and isinstance(found["show"], dict):
            decision = decision | {"body": found["show"] | decision["body"]}
        said = decision | {"shown_digest": digest or found["digest"]}
        if comment:
            said["comment"] = comment
        answer = rest.post(_path(review_id, "/decision"), said)
    output.show(answer, as_json, lambda: review_list.decided(str(decision["decision"]), answer))


def _path(review_id: str, rest: str = "") -> str:
    return f"/v1/reviews/{quote(review_id, safe='')}{rest}"
