"""The client over REST: verbs, results, and what stands between."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from amends_contracts.messages import Decide, EnlistRenew, Trace
from amends_contracts.problems import Problem
from amends_participants.client import (
    Amends,
    BadAddress,
    Compensated,
    NoAddress,
    NotEnded,
    Refused,
    Run,
    Stuck,
    Unavailable,
    WrongVerb,
)
from amends_participants.client.addresses import find
from amends_participants.client.rest import Rest
from cli.fake_service import FakeService
from client.fake_orchestrator import SAGA

ONE = f"/v1/sagas/{SAGA}"
STARTED = {"saga_id": SAGA, "created": True}


class Booked(BaseModel):
    """What the trip gives."""

    seat: str


async def test_a_start_is_a_post_with_the_key(rest: Amends, service: FakeService) -> None:
    """The body is that of the wire; the API key is the bearer."""
    service.on("POST", "/v1/sagas", STARTED, status=201)
    run = await rest.start("book-trip", {"to": "LIS"}, key="k-1", version=2)
    (asked,) = service.asked
    assert (run.saga_id, run.created, asked.body, asked.authorization) == (
        SAGA,
        True,
        {"definition": "book-trip", "version": 2, "key": "k-1", "input": {"to": "LIS"}},
        "Bearer key-1",
    )


async def test_verbs_have_their_paths(rest: Amends, service: FakeService) -> None:
    """What stands in the path is not repeated in the body."""
    for verb in ("signal", "cancel", "undo"):
        service.on("POST", f"{ONE}/{verb}", {"saga_id": SAGA, "status": "running"})
    service.on("POST", "/v1/signals", {"saga_id": SAGA, "status": "running"})
    service.on("POST", "/v1/reviews/r-1/decision", {})
    run = rest.run(SAGA)
    await run.signal("paid", {"usd": 1}, id="p-1")
    await run.cancel("why")
    await run.undo("why")
    await rest.signal("book-trip", "k-1", "paid", id="p-2")
    await rest.ask(Decide(review_id="r-1", decision="approve", shown_digest="d"))
    assert [(asked.path, asked.body) for asked in service.asked] == [
        (f"{ONE}/signal", {"event": "paid", "id": "p-1", "data": {"usd": 1}}),
        (f"{ONE}/cancel", {"reason": "why"}),
        (f"{ONE}/undo", {"reason": "why"}),
        (
            "/v1/signals",
            {
                "event": "paid",
                "id": "p-2",
                "data": None,
                "definition": "book-trip",
                "key": "k-1",
            },
        ),
        ("/v1/reviews/r-1/decision", {"decision": "approve", "shown_digest": "d"}),
    ]
    with pytest.raises(WrongVerb, match="EnlistRenew is not served over REST"):
        await rest.ask(EnlistRenew(saga_id=SAGA))


async def test_a_result_waits_for_the_end(rest: Amends, service: FakeService) -> None:
    """As long as it runs it is asked again; the output is JSON, or a model."""
    ended = {"status": "completed", "output": {"seat": "1A"}}
    service.on("GET", ONE, {"status": "running"}, {"status": "compensating"}, ended)
    run = rest.run(SAGA)
    assert await run.result(timeout=30) == {"seat": "1A"}
    assert await run.result(model=Booked) == Booked(seat="1A")
    assert await run.status() == "completed"
    assert [asked.query for asked in service.asked] == [{"wait": "10"}] * 4 + [{}]


async def test_a_compensated_saga_raises_its_first_failure(
    rest: Amends, service: FakeService
) -> None:
    """Its view has what stays in the world."""
    view: dict[str, Any] = {
        "status": "compensated",
        "failure": {"step": "hotel", "problem": {"type": "sold-out", "detail": "no room"}},
        "residue": [],
    }
    service.on("GET", ONE, view)
    with pytest.raises(Compensated) as undone:
        await rest.run(SAGA).result(timeout=5)
    assert (undone.value.failure, undone.value.view) == (
        Problem(type="sold-out", detail="no room"),
        view,
    )
    assert str(undone.value) == (
        f"Saga {SAGA} failed, and what it had done was taken back: sold-out – no room"
    )


async def test_an_undo_saga_that_has_undone_gives_nothing_and_raises_nothing(
    rest: Amends, service: FakeService
) -> None:
    """`compensated` is what it was started for."""
    undo = SAGA[:-1] + "0"
    service.on("POST", f"{ONE}/undo", {"saga_id": undo, "created": False})
    service.on("GET", f"/v1/sagas/{undo}", {"kind": "undo", "status": "compensated"})
    run = await rest.run(SAGA).undo("she called", across_pivot=True)
    assert (run.saga_id, run.created, await run.result(timeout=5)) == (undo, False, None)
    assert service.asked[0].body == {"reason": "she called", "across_pivot": True}


async def test_a_stuck_saga_is_not_waited_for(rest: Amends, service: FakeService) -> None:
    """Only an operator can go on."""
    service.on("GET", ONE, {"status": "stuck", "failure": {"type": "sold-out", "title": "No"}})
    with pytest.raises(Stuck, match=f"amends show {SAGA}.*sold-out – No"):
        await rest.run(SAGA).result()


async def test_a_result_has_its_time(rest: Amends, service: FakeService) -> None:
    """What goes on is no failure: the saga's status is said."""
    service.on("GET", ONE, {"status": "running"})
    with pytest.raises(NotEnded) as late:
        await rest.run(SAGA).result(timeout=0.1)
    assert (late.value.status, isinstance(late.value, TimeoutError)) == ("running", True)
    assert str(late.value) == (
        f"Saga {SAGA} is still running after 0.1 s; it goes on, ask again later."
    )


async def test_a_refusal_is_raised(rest: Amends, service: FakeService) -> None:
    """With the problem of the service."""
    service.on("POST", "/v1/sagas", {"type": "amends:key-conflict", "title": "Taken"}, status=409)
    with pytest.raises(Refused) as refused:
        await rest.start("book-trip", {}, key="k-1")
    assert refused.value.problem == Problem(type="amends:key-conflict", title="Taken")


async def test_an_overloaded_service_is_asked_again(service: FakeService) -> None:
    """429 and 503 pass; if they do not, it is unavailable."""
    service.answers["POST", "/v1/sagas"] = [
        (503, {"type": "amends:not-ready"}),
        (429, {"type": "amends:overloaded"}),
        (201, STARTED),
    ]
    async with Amends(service.url) as amends:
        assert (await amends.start("book-trip", {}, key="k-1")).saga_id == SAGA
        service.on("POST", "/v1/sagas", {}, status=503)
        with pytest.raises(Unavailable) as unavailable:
            await amends.start("book-trip", {}, key="k-1", timeout=0.3)
    assert unavailable.value.reason == "HTTP 503"


async def test_a_service_that_is_away_is_unavailable(service: FakeService) -> None:
    """Nothing listens there."""
    async with Amends("http://127.0.0.1:1") as amends:
        with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:1: .*connection"):
            await amends.start("book-trip", {}, key="k-1", timeout=0.3)


async def test_what_is_no_answer_of_amends_is_refused_as_such() -> None:
    """A proxy's own page is not taken for a problem; traces travel as headers."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(403, text="<h1>no</h1>")

    rest = Rest("http://amends.example", None)
    rest._http = httpx.AsyncClient(  # type: ignore[reportPrivateUsage]
        base_url="http://amends.example", transport=httpx.MockTransport(answer)
    )
    trace = Trace("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None, "a=b")
    with pytest.raises(Refused, match="<h1>no</h1>"):
        await rest._call("GET", "/v1/x", trace=trace, timeout_s=1)  # type: ignore[reportPrivateUsage]
    await rest.close()
    assert (seen[0].headers["traceparent"], seen[0].headers["baggage"]) == (
        trace.traceparent,
        "a=b",
    )


# --- addresses -------------------------------------------------------------------------------


async def test_nothing_to_talk_to_says_what_to_give() -> None:
    """Misuse explains itself."""
    with pytest.raises(NoAddress, match=r"No address of REST is known\. Give Amends\(api_url="):
        Amends().rest()
    with pytest.raises(NoAddress, match=r"No address of the broker is known"):
        await anext(Amends("http://x").events())
    with pytest.raises(BadAddress, match="ftp://x is no address of Amends"):
        Amends("ftp://x")


def test_addresses_are_given_or_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is given wins over the environment, and that over what `amends up` wrote."""
    (tmp_path / ".amends").mkdir()
    up = {"api_url": "http://up", "api_key": "up-key", "broker_url": "amqp://up"}
    (tmp_path / ".amends" / "up.json").write_text(json.dumps(up))
    below = tmp_path / "below"
    below.mkdir()
    monkeypatch.chdir(below)
    found = find(None, None, None, None)
    assert (found.api, found.api_key, found.broker, found.prefers_broker) == (
        "http://up",
        "up-key",
        "amqp://up",
        False,
    )
    monkeypatch.setenv("AMENDS_BROKER_URL", "amqp://env")
    found = find(None, None, None, None)
    assert (found.api, found.broker, found.prefers_broker) == (None, "amqp://env", True)
    monkeypatch.setenv("AMENDS_API_URL", "http://env/")
    found = find(None, None, None, "k")
    assert (found.api, found.api_key, found.prefers_broker) == ("http://env", "k", False)
    found = find("amqps://u:secret@given/vhost", None, None, None)
    assert (found.api, found.prefers_broker) == ("http://env", True)
    assert "secret" not in repr(found)


def test_a_run_shows_its_saga() -> None:
    """In a console."""
    assert repr(Run(Amends("http://x"), SAGA)) == f"Run('{SAGA}', created=False)"
