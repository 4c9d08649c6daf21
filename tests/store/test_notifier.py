"""The webhook of reviews over a real table: told until it answers, signed, reminded, never lost."""

import hashlib
import hmac
import json
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import httpx
import pytest

from amends_contracts.names import StepPath
from amends_orchestrator.api.review_links import Links
from amends_orchestrator.core.review_tasks import ReviewRequest, ReviewTask
from amends_orchestrator.core.reviews import ReviewStage
from amends_orchestrator.engine.ports import SagaWrite
from amends_orchestrator.notifier import SIGNATURE, Notifier, Webhook
from amends_orchestrator.store import PostgresStore
from amends_orchestrator.store.reviews import Reviews
from conformance.stores import ME, batch, moved, new_saga

SECRET = b"what the receiver knows"
Hears = (
    Callable[[httpx.Request], httpx.Response]
    | Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]
)


class Receiver:
    """Somebody else's service."""

    def __init__(self) -> None:
        self.status = 204
        self.got: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        at, _, signature = request.headers[SIGNATURE].partition(",v1=")
        said = at.removeprefix("t=").encode() + b"." + request.content
        assert signature == hmac.new(SECRET, said, hashlib.sha256).hexdigest()
        self.got.append(json.loads(request.content))
        return httpx.Response(self.status)

    def events(self) -> list[str]:
        """What it was told, in order."""
        return [one["event"] for one in self.got]


@pytest.fixture
def receiver() -> Receiver:
    """One that takes everything."""
    return Receiver()


def notifier(store: PostgresStore, receiver: Hears, *, remind_s: float = 0) -> Notifier:
    """One that tries again at once."""
    webhook = Webhook(
        url="http://crm/hook", secret=SECRET, remind_s=remind_s, public_url="https://amends/"
    )
    client = httpx.AsyncClient(transport=httpx.MockTransport(receiver))
    links = Links([b"a secret for tests alone"])
    return Notifier(Reviews(store.engine), webhook, links, client, again_s=0)


async def asked(store: PostgresStore) -> tuple[SagaWrite, ReviewTask]:
    """A saga whose second row asks Ann and a role."""
    now = (await store.load([], [])).now
    saga = new_saga(now)
    task = ReviewTask(
        saga_id=saga.identity.saga_id,
        seq=saga.seq,
        stage=ReviewStage.OPEN,
        shown_seq=saga.seq,
        digest="d",
        assignees=("ann", "role:lead"),
        approved_by=(),
        due=None,
        decided_at=None,
        request=ReviewRequest(
            step=StepPath("pay"), command="payments.refund", title="Pay?", quorum=1, at=now
        ),
    )
    saga = replace(saga, reviews=(task,))
    await store.commit(batch(saga, orchestrator=ME))
    return saga, task


async def changed(
    store: PostgresStore, saga: SagaWrite, task: ReviewTask, stage: ReviewStage
) -> SagaWrite:
    """The saga goes on, and with it the review."""
    later = moved(saga, (await store.load([], [])).now)
    over = None if stage is ReviewStage.OPEN else later.rows[-1].at
    now = replace(task, stage=stage, request=None, decided_at=over)
    later = replace(later, reviews=(now,))
    await store.commit(batch(later, orchestrator=ME))
    return later


async def test_each_change_is_told_once(store: PostgresStore, receiver: Receiver) -> None:
    """Asked, approved, rolled back; with the address, and a link for whom it names."""
    telling = notifier(store, receiver)
    saga, task = await asked(store)
    assert [await telling.sweep() for _ in range(2)] == [1, 0]
    told = receiver.got[0]
    assert told["review"]["title"] == "Pay?"
    assert told["url"] == f"https://amends/console/reviews/{told['review']['review_id']}"
    assert list(told["links"]) == ["ann"]
    for stage in (ReviewStage.APPROVED, ReviewStage.ROLLED_BACK):
        saga = await changed(store, saga, task, stage)
        assert [await telling.sweep() for _ in range(2)] == [1, 0]
    assert receiver.events() == ["review.requested", "review.approved", "review.rolled_back"]


async def test_it_is_told_until_somebody_has_heard(
    store: PostgresStore, receiver: Receiver
) -> None:
    """An error, or nobody there: later again, the same delivery."""
    receiver.status = 500
    telling = notifier(store, receiver)
    await asked(store)
    for _ in range(3):
        await telling.sweep()
    receiver.status = 200
    await telling.sweep()
    assert await telling.sweep() == 0
    assert receiver.events() == ["review.requested"] * 4
    assert len({one["delivery"] for one in receiver.got}) == 1


async def test_who_forgets_is_reminded(store: PostgresStore, receiver: Receiver) -> None:
    """An open review is told of again; one that is over is not."""
    telling = notifier(store, receiver, remind_s=0.001)
    saga, task = await asked(store)
    while receiver.events()[-1:] != ["review.reminder"]:
        await telling.sweep()
    await changed(store, saga, task, ReviewStage.REJECTED)
    while receiver.events()[-1:] != ["review.rejected"]:
        await telling.sweep()
    assert await telling.sweep() == 0


async def test_what_was_over_before_anybody_heard_is_not_told(
    store: PostgresStore, receiver: Receiver
) -> None:
    """Nobody needs to know of a question that was withdrawn before it was asked."""
    saga, task = await asked(store)
    await changed(store, saga, task, ReviewStage.WITHDRAWN)
    assert await notifier(store, receiver).sweep() == 1
    assert receiver.got == []


async def test_what_is_decided_while_it_is_being_asked_is_told(
    store: PostgresStore, receiver: Receiver
) -> None:
    """The receiver may decide before it has answered: it has heard of the question."""
    saga, task = await asked(store)

    async def deciding(request: httpx.Request) -> httpx.Response:
        answer = receiver(request)
        if len(receiver.got) == 1:
            await changed(store, saga, task, ReviewStage.APPROVED)
        return answer

    telling = notifier(store, deciding)
    assert [await telling.sweep() for _ in range(3)] == [1, 1, 0]
    assert receiver.events() == ["review.requested", "review.approved"]
