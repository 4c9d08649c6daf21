"""Ports of the loopback: finding a free one, and asking one whether its server speaks yet."""

import socket
import struct

AMQP_HEADER = b"AMQP\x00\x00\x09\x01"
CONNECTION_START = (10, 10)  # class and method of AMQP 0-9-1
SSL_REQUEST = struct.pack("!II", 8, 80877103)  # the one Postgres answers without credentials


def free_port() -> int:
    """A port that nobody holds now. Another may take it before its server does: then start anew."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def bindable(port: int) -> bool:
    """Whether a server may listen there now, as asyncio's do: ports in TIME_WAIT count as free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def listens(port: int) -> bool:
    """Whether anybody accepts connections there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


def speaks_amqp(port: int) -> bool:
    """Whether a broker answers. RabbitMQ opens its port before it serves, so this asks it."""
    answer = _asked(port, AMQP_HEADER, 11)
    return answer[:1] == b"\x01" and struct.unpack("!HH", answer[7:11]) == CONNECTION_START


def speaks_postgres(port: int) -> bool:
    """Whether a Postgres answers there; Docker's proxy accepts before the server does."""
    return _asked(port, SSL_REQUEST, 1) in (b"S", b"N")


def _asked(port: int, question: bytes, size: int) -> bytes:
    """Up to `size` bytes of answer, empty when there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5.0) as peer:
            peer.sendall(question)
            answer = peer.recv(size, socket.MSG_WAITALL)
    except OSError:
        return b""
    return answer if len(answer) == size else b""
