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
        self._keyed = [hmac.new(secret.encode(), digestmod="sha256") for secret in secrets]
        """One HMAC per secret, fed with nothing: a copy of it costs half of a new one."""

    def sign(self, key: Key) -> str:
        """The token of a key, in hex."""
        return _token(self._keyed[0], key)

    def verify(self, key: str, token: str | None) -> bool:
        """Whether any secret of ours made this token for this key."""
        if token is None or not token.isascii():
            return False
        return any(hmac.compare_digest(_token(keyed, key), token) for keyed in self._keyed)


def _token(keyed: hmac.HMAC, key: str) -> str:
    fed = keyed.copy()
    fed.update(key.encode())
    return fed.hexdigest()
