"""Users of a local broker and what they may do, for trying out permissions."""

import secrets
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

NOTHING = "^$"


class Ctl(Protocol):
    """A broker with its command line."""

    @property
    def url(self) -> str:
        """Where its administrator connects."""
        ...

    def ctl(self, *arguments: str) -> str:
        """`rabbitmqctl`: its output."""
        ...


def add_user(
    broker: Ctl, name: str, *, configure: str = NOTHING, write: str = NOTHING, read: str = NOTHING
) -> str:
    """A new user with these permissions (regular expressions); the URL it connects with."""
    password = secrets.token_urlsafe(18)
    broker.ctl("add_user", name, password)
    broker.ctl("set_permissions", name, configure, write, read)
    parts = urlsplit(broker.url)
    return urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.hostname}:{parts.port}"))


def permit_topic(
    broker: Ctl, name: str, exchange: str, *, write: str = NOTHING, read: str = NOTHING
) -> None:
    """Restrict a user's routing keys on a topic exchange (regular expressions)."""
    broker.ctl("set_topic_permissions", name, exchange, write, read)
