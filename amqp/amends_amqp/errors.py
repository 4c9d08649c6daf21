"""What ends a connection. All of it is a ConnectionError; refusals are told apart by reply code."""

from typing import Final

NOT_FOUND: Final = 404
PRECONDITION_FAILED: Final = 406


class ConnectionLost(ConnectionError):
    """The connection to the broker is over: closed, silent for too long, or out of order."""


class Refused(ConnectionError):
    """The broker closed the channel or the connection, and said why.

    `code` is AMQP's reply code: 403 access refused, 404 not found, 406 precondition failed, …
    """

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text
        super().__init__(f"{code} {text}")
