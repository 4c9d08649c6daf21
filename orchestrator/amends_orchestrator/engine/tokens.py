"""`amends-token`: proof that a reply answers a command that we sent.

HMAC-SHA256 of the idempotency key under a secret that rotates: the newest signs, all verify. The
token of a key is reproducible, so nothing is stored.
"""

import hmac
from collections.abc import Sequence

from amends_contracts.names import Key


class Tokens:
    """Signs and verifies under the secrets given, newest first."""

    def __init__(self, secrets: Sequence[str]) -> None:
        assert secrets, "no token secret"
        self._secrets = [secret.encode() for secret in secrets]

    def sign(self, key: Key) -> str:
        """The token of a key, in hex."""
        return hmac.digest(self._secrets[0], key.encode(), "sha256").hex()

    def verify(self, key: str, token: str | None) -> bool:
        """Whether any secret of ours made this token for this key."""
        if token is None or not token.isascii():
            return False
        return any(
            hmac.compare_digest(hmac.digest(secret, key.encode(), "sha256").hex(), token)
            for secret in self._secrets
        )
