"""Telling a webhook of reviews: asked, changed, decided, undone, and again while nobody decides.

What is to be told stands in table `review` and stays there until the receiver has answered 2xx: no
saga waits for it, and nothing is lost by a crash. The receiver may be told twice; `delivery` is the
same then. The address is the operator's own setting and is trusted: it may be a private one.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import httpx

from amends_orchestrator.api.review_links import Link, Links
from amends_orchestrator.api.reviews import LINK_PATH, item_of
from amends_orchestrator.core.reviews import ROLE, ReviewStage
from amends_orchestrator.engine.ports import StoreUnavailable
from amends_orchestrator.store.reviews import Notice, ReviewRow

log = logging.getLogger(__name__)

SWEEP_S: Final = 2.0
AT_ONCE: Final = 16
AGAIN_S: Final = 10.0
AGAIN_MAX_S: Final = 3600.0
TIMEOUT_S: Final = 10.0
LINK_S: Final = 7 * 86_400
SIGNATURE: Final = "Amends-Signature"
"""`t=<seconds>,v1=<hex>`: HMAC-SHA256 of `<seconds>.<body>` under the shared secret."""
DELIVERY: Final = "Amends-Delivery"


class Notices(Protocol):
    """Where it stands what is to be told (`store.reviews`)."""

    async def claim_notices(
        self, *, again_s: float, again_max_s: float, limit: int
    ) -> Sequence[Notice]:
        """Put off until later, and given."""
        ...

    async def told(self, notices: Sequence[tuple[Notice, str]], *, remind_s: float) -> None:
        """Done."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where to tell, and how."""

    url: str
    secret: bytes
    remind_s: float
    """An open review is told of again after so long; 0: never."""
    public_url: str | None = None


class Notifier:
    """One process's part of the telling; several share the work."""

    def __init__(
        self,
        notices: Notices,
        webhook: Webhook,
        links: Links,
        client: httpx.AsyncClient,
        *,
        again_s: float = AGAIN_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._notices = notices
        self._webhook = webhook
        self._links = links
        self._client = client
        self._again_s = again_s
        self._now = now

    async def run(self) -> None:
        """Tell what there is, until cancelled."""
        while True:
            try:
                while await self.sweep() == AT_ONCE:
                    pass
            except StoreUnavailable as away:
                log.info("nobody told of reviews: %s", away)
            await asyncio.sleep(SWEEP_S)

    async def sweep(self) -> int:
        """Tell what is due now; how many there were."""
        due = await self._notices.claim_notices(
            again_s=self._again_s, again_max_s=AGAIN_MAX_S, limit=AT_ONCE
        )
        if not due:
            return 0
        told = await asyncio.gather(*(self._tell(notice) for notice in due))
        done = [(n, said) for n, said in zip(due, told, strict=True) if said is not None]
        if done:
            await self._notices.told(done, remind_s=self._webhook.remind_s)
        return len(due)

    async def _tell(self, notice: Notice) -> str | None:
        """What is to be remembered of it; None if it must be told again."""
        said = fingerprint(notice.review)
        event = event_of(notice, said)
        if event is None:
            return said
        body = json.dumps(self._body(event, notice.review, said), ensure_ascii=False).encode()
        at = int(self._now())
        signed = hmac.new(self._webhook.secret, f"{at}.".encode() + body, hashlib.sha256)
        headers = {
            "Content-Type": "application/json",
            SIGNATURE: f"t={at},v1={signed.hexdigest()}",
            DELIVERY: f"{notice.review.review_id}:{event}:{said}",
        }
        try:
            response = await self._client.post(
                self._webhook.url, content=body, headers=headers, timeout=TIMEOUT_S
            )
        except httpx.HTTPError as error:
            log.warning("webhook not reached: %s", error or type(error).__name__)
            return None
        if not response.is_success:
            log.warning("webhook answered %d", response.status_code)
            return None
        return said

    def _body(self, event: str, review: ReviewRow, said: str) -> dict[str, Any]:
        """The review as in a list, and where to decide it; what it shows is read there."""
        body: dict[str, Any] = {
            "event": f"review.{event}",
            "delivery": f"{review.review_id}:{event}:{said}",
            "review": item_of(review).model_dump(mode="json"),
        }
        base = self._webhook.public_url
        if base is not None:
            body["url"] = f"{base.rstrip('/')}/console/reviews/{review.review_id}"
            if review.status is ReviewStage.OPEN and self._links.can_sign:
                body["links"] = {who: self._link(base, review, who) for who in _named(review)}
        return body

    def _link(self, base: str, review: ReviewRow, who: str) -> str:
        link = Link(
            review_id=review.review_id,
            tenant=review.tenant,
            reviewer=who,
            digest=review.digest,
            expires=int(self._now()) + LINK_S,
        )
        return base.rstrip("/") + LINK_PATH + self._links.token(link)


def _named(review: ReviewRow) -> list[str]:
    return [who for who in review.assignees if not who.startswith(ROLE)]


def fingerprint(review: ReviewRow) -> str:
    """What makes a review worth telling of anew."""
    said = [review.status.value, review.digest, [*review.assignees], [*review.approved_by]]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def event_of(notice: Notice, said: str) -> str | None:
    """What happened since it was told last; None if nobody needs to know."""
    review, told = notice.review, notice.told
    if review.status is ReviewStage.OPEN:
        return "requested" if told is None else "reminder" if told == said else "changed"
    return None if told in (None, said) else review.status.value
