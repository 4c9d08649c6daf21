"""Links to one review for one reviewer: signed, good for a while and for one decision.

A link names the review, the reviewer and the digest of what it shows. A reviewer decides once on
one digest, so a link that was used, or whose review has been edited since, decides nothing more.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from amends_contracts.problems import ProblemType
from amends_orchestrator.api.problems import ApiProblem

_PURPOSE: Final = b"amends review link 1"
TOKEN_CHARS_MAX: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What a link says."""

    review_id: str
    tenant: str
    reviewer: str
    digest: str
    expires: int
    """Seconds since 1970."""


class Links:
    """Makes and reads them. The first secret signs, all are believed."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._keys = [hmac.digest(secret, _PURPOSE, "sha256") for secret in secrets]

    @property
    def can_sign(self) -> bool:
        """Whether there is a secret: without one links would not outlive the process."""
        return bool(self._keys)

    def token(self, link: Link) -> str:
        """The part of the address that says and proves it."""
        said = [link.review_id, link.tenant, link.reviewer, link.digest, link.expires]
        text = base64.urlsafe_b64encode(json.dumps(said, separators=(",", ":")).encode()).decode()
        return f"{text.rstrip('=')}.{_sign(self._keys[0], text.rstrip('='))}"

    def read(self, token: str) -> Link:
        """What a link says. ApiProblem for one that is not ours, or is over."""
        text, _, signature = token.rpartition(".")
        given = signature.encode(errors="replace")
        if len(token) > TOKEN_CHARS_MAX or not any(
            hmac.compare_digest(_sign(key, text).encode(), given) for key in self._keys
        ):
            raise ApiProblem(ProblemType.UNAUTHENTICATED, "This link is not one of ours.")
        said: list[Any] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        review_id, tenant, reviewer, digest, expires = said
        if expires < time.time():
            raise ApiProblem(ProblemType.UNAUTHENTICATED, "This link has expired.")
        return Link(
            review_id=review_id,
            tenant=tenant,
            reviewer=reviewer,
            digest=digest,
            expires=expires,
        )


def _sign(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(errors="replace"), hashlib.sha256).hexdigest()
