"""Where Amends is: as given, from `AMENDS_*`, or from `.amends/up.json` here or above."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from amends_participants.client.errors import BadAddress

_REST: Final = frozenset({"http", "https"})
_BROKER: Final = frozenset({"amqp", "amqps"})


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses and the API key; each None where nothing names it."""

    api: str | None
    api_key: str | None
    broker: str | None
    prefers_broker: bool
    """Whether verbs go over the broker: it was named first, or alone."""

    def __repr__(self) -> str:
        """Without secrets."""
        key = "***" if self.api_key else None
        return f"Addresses(api={self.api!r}, api_key={key!r}, broker={shown(self.broker)!r})"


def find(
    url: str | None, api_url: str | None, broker_url: str | None, api_key: str | None
) -> Addresses:
    """The addresses to use. What is given wins over the environment, and that over `amends up`."""
    api, broker = api_url, broker_url
    if url is not None:
        scheme = urlsplit(url).scheme
        if scheme not in _REST | _BROKER:
            raise BadAddress(shown(url) or url)
        api, broker = (url, broker) if scheme in _REST else (api, url)
    prefers_broker = api is None and broker is not None
    if url is not None:
        prefers_broker = url is broker
    api = api or os.environ.get("AMENDS_API_URL") or None
    broker = broker or os.environ.get("AMENDS_BROKER_URL") or None
    api_key = api_key or os.environ.get("AMENDS_API_KEY") or None
    up = _up() if api is None and broker is None else {}
    api = api or up.get("api_url")
    return Addresses(
        api=api.rstrip("/") if api else None,
        api_key=api_key or up.get("api_key"),
        broker=broker or up.get("broker_url"),
        prefers_broker=prefers_broker or api is None,
    )


def shown(url: str | None) -> str | None:
    """The address without its password."""
    if url is None:
        return None
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    user = f"{parts.username}@" if parts.username else ""
    return urlunsplit((parts.scheme, f"{user}{host}{port}", parts.path, "", ""))


def _up() -> dict[str, Any]:
    """What the nearest `amends up` wrote."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        file = folder / ".amends" / "up.json"
        if file.is_file():
            return json.loads(file.read_text("utf-8"))
    return {}
