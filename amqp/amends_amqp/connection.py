"""One AMQP connection with one channel in confirm mode. What ends either ends both.

Deliveries are handed over as they are read, in the reader itself: a consumer's callback must not
wait. Calls that the broker answers are made one at a time. Every wait is the caller's to bound,
but for the heartbeat: a broker that is silent for two of them is lost.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version as version_of
from typing import Any, Final, TypeVar

from pamqp import frame as frames
from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Confirm, Exchange, Queue
from pamqp.commands import Connection as Spec
from pamqp.common import FieldTable
from pamqp.heartbeat import Heartbeat

from amends_amqp import urls, wire
from amends_amqp.errors import ConnectionLost, Refused
from amends_amqp.publications import Publication, Publications
from amends_contracts.amqp import AmqpMessage, PublishResult

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Frame)
Receive = Callable[[AmqpMessage, int, bool], None]
"""Called with a message, its delivery tag, and whether it was delivered before."""

CHANNEL: Final = 1
FRAME_MAX: Final = 131_072
HEARTBEAT_S: Final = 5
WRITTEN_BYTES_MAX: Final = 1 << 20
"""Beyond this in the socket's buffer, publications wait."""
_HEARTBEAT_BYTES: Final = Heartbeat().marshal()
_HOT: Final = frozenset({wire.BASIC_DELIVER, wire.BASIC_RETURN, wire.BASIC_ACK, wire.BASIC_NACK})


class Connection(asyncio.Protocol):
    """A connection to a broker; made by `connect`, of no use once `closed` is done."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = loop.create_future()
        """Done when it is over; `error` says why."""
        self.error: ConnectionError | None = None
        self.server_version = ""
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._frame_max = FRAME_MAX
        self._heartbeat_s = 0.0
        self._heard_at = loop.time()
        self._beating: asyncio.TimerHandle | None = None
        self._unread = b""
        self._writable = asyncio.Event()
        self._writable.set()
        self._out: list[bytes] = []
        self._publications = Publications()
        self._consumers: dict[str, Receive] = {}
        self._calling = asyncio.Lock()
        self._answer: asyncio.Future[Frame] | None = None
        self._expected: type[Frame] = Frame
        self._address: wire.Address | None = None
        """Of the content that is being read."""
        self._properties = wire.Properties({})
        self._body: list[bytes] = []
        self._missing = 0
        """Bytes of its body still to come."""

    # --- life ----------------------------------------------------------------------------------

    @classmethod
    async def connect(cls, url: str, *, name: str) -> "Connection":
        """Connect, log in, open the channel. Raises OSError; bounded by the caller."""
        where = urls.parse(url)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, where.host, where.port, ssl=where.tls)
        try:
            await connection.open(where, name)
        except BaseException:
            connection.abort()
            raise
        return connection

    @property
    def is_closed(self) -> bool:
        """Whether it is over."""
        return self.closed.done()

    async def close(self) -> None:
        """Take leave of the broker; it takes back what was not acknowledged. Never raises."""
        if not self.is_closed:
            self._flush()
            try:
                async with asyncio.timeout(3):
                    await self._call(Spec.Close(200, "bye", 0, 0), Spec.CloseOk, channel=0)
            except (OSError, TimeoutError):
                pass
            finally:
                self.abort()

    def abort(self) -> None:
        """End it now, without a word."""
        self._end(ConnectionLost("closed by us"))

    async def open(self, where: urls.BrokerUrl, name: str) -> None:
        """Log in and open the channel; part of `connect`."""
        self._write(b"AMQP\x00\x00\x09\x01")
        start = await self._await_answer(Spec.Start)
        server: Mapping[str, Any] = start.server_properties or {}
        version = server.get("version", "")
        self.server_version = version.decode() if isinstance(version, bytes) else str(version)
        tune = await self._call(_start_ok(where, name), Spec.Tune, channel=0)
        self._frame_max = min(tune.frame_max or FRAME_MAX, FRAME_MAX)
        self._heartbeat_s = min(tune.heartbeat or HEARTBEAT_S, HEARTBEAT_S)
        tuned = Spec.TuneOk(1, self._frame_max, int(self._heartbeat_s))
        self._write(frames.marshal(tuned, 0))
        self._beat()
        await self._call(Spec.Open(where.vhost), Spec.OpenOk, channel=0)
        await self._call(Channel.Open(), Channel.OpenOk)
        await self._call(Confirm.Select(), Confirm.SelectOk)

    def _beat(self) -> None:
        """Say that we are there, and look whether the broker is."""
        if self.is_closed:
            return
        if self._loop.time() - self._heard_at > 2 * self._heartbeat_s:
            self._end(ConnectionLost(f"the broker was silent for {2 * self._heartbeat_s:.0f} s"))
            return
        self._write(_HEARTBEAT_BYTES)
        self._beating = self._loop.call_later(self._heartbeat_s / 2, self._beat)

    def _end(self, error: ConnectionError) -> None:
        if self.is_closed:
            return
        self.error = error
        self.closed.set_result(None)
        if self._beating is not None:
            self._beating.cancel()
        if self._transport is not None:
            self._transport.abort()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
        self._writable.set()
        self._publications.end()
        self._consumers.clear()

    def _check(self) -> None:
        if self.error is not None:
            raise ConnectionLost(str(self.error)) from self.error

    # --- declaring -----------------------------------------------------------------------------

    async def declare_exchange(self, name: str, kind: str, *, passive: bool = False) -> None:
        """Declare a durable exchange, or with `passive` ask for it. Raises Refused."""
        declare = Exchange.Declare(exchange=name, exchange_type=kind, durable=True, passive=passive)
        await self._call(declare, Exchange.DeclareOk)

    async def declare_queue(
        self, name: str, arguments: Mapping[str, Any], *, passive: bool = False
    ) -> tuple[int, int]:
        """Declare a durable queue, or with `passive` ask for it: its messages that wait, and its
        consumers. Raises Refused.
        """
        table: FieldTable = dict(arguments)
        declare = Queue.Declare(queue=name, durable=True, passive=passive, arguments=table)
        ok = await self._call(declare, Queue.DeclareOk)
        return ok.message_count or 0, ok.consumer_count or 0

    async def bind(self, queue: str, exchange: str, routing_key: str) -> None:
        """Bind a queue. Raises Refused."""
        bind = Queue.Bind(queue=queue, exchange=exchange, routing_key=routing_key)
        await self._call(bind, Queue.BindOk)

    async def delete_queue(self, name: str) -> None:
        """Delete a queue with what is in it; one that is not there is no harm. Raises Refused."""
        await self._call(Queue.Delete(queue=name), Queue.DeleteOk)

    # --- consuming -----------------------------------------------------------------------------

    async def consume(self, queue: str, prefetch: int, receive: Receive) -> str:
        """Have a queue delivered, at most so many unacknowledged; the consumer's tag."""
        async with self._calling:
            tag = f"{queue}/{len(self._consumers)}"
            self._consumers[tag] = receive
            await self._ask(Basic.Qos(prefetch_count=prefetch), Basic.QosOk)
            await self._ask(Basic.Consume(queue=queue, consumer_tag=tag), Basic.ConsumeOk)
        return tag

    async def cancel(self, tag: str) -> None:
        """Have no more delivered; what is on its way still comes until this returns."""
        await self._call(Basic.Cancel(consumer_tag=tag), Basic.CancelOk)
        self._consumers.pop(tag, None)

    def acknowledge(self, tags: Iterable[int], *, up_to: int = 0) -> None:
        """Acknowledge all up to a tag, and single ones beyond; nothing on a dead channel."""
        if up_to:
            self._write_soon(wire.encode_ack(CHANNEL, up_to, multiple=True))
        for tag in tags:
            self._write_soon(wire.encode_ack(CHANNEL, tag, multiple=False))

    def requeue(self, tags: Iterable[int]) -> None:
        """Give deliveries back, to be delivered again."""
        for tag in tags:
            self._write_soon(wire.encode_nack(CHANNEL, tag))

    # --- publishing ----------------------------------------------------------------------------

    async def publish(
        self, messages: Sequence[AmqpMessage], timeout_s: float
    ) -> list[PublishResult]:
        """Publish all in one write and wait for their confirms, at most so long.

        A message that AMQP cannot carry stays unknown, and is logged.
        """
        publication = Publication(len(messages), self._loop.create_future())
        try:
            async with asyncio.timeout(timeout_s):
                await self._writable.wait()
                if not self.is_closed:
                    self._publish(messages, publication)
                    await publication.done
        except TimeoutError:
            pass
        return publication.results

    def _publish(self, messages: Sequence[AmqpMessage], publication: Publication) -> None:
        parts: list[bytes] = []
        for index, message in enumerate(messages):
            try:
                parts.append(wire.encode_publish(message, CHANNEL, self._frame_max))
            except ValueError as error:  # Unencodable, or text that UTF-8 cannot carry
                log.error("message %s cannot be published: %s", message.message_id, error)
                publication.settled()
                continue
            self._publications.add(publication, index, message)
        if parts:
            self._write_soon(b"".join(parts))
        elif not messages:
            publication.done.set_result(None)

    # --- calls ---------------------------------------------------------------------------------

    async def _call(self, frame: Frame, answer: type[F], *, channel: int = CHANNEL) -> F:
        async with self._calling:
            return await self._ask(frame, answer, channel=channel)

    async def _ask(self, frame: Frame, answer: type[F], *, channel: int = CHANNEL) -> F:
        self._check()
        self._flush()
        self._write(frames.marshal(frame, channel))
        return await self._await_answer(answer)

    async def _await_answer(self, answer: type[F]) -> F:
        self._check()
        self._answer = self._loop.create_future()
        self._expected = answer
        try:
            got = await self._answer
        except ConnectionError as error:
            if isinstance(error, Refused):
                raise Refused(error.code, error.text) from error
            raise ConnectionLost(str(error)) from error
        finally:
            self._answer = None
        assert isinstance(got, answer)
        return got

    # --- writing -------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self.is_closed:
            self._transport.write(data)

    def _write_soon(self, data: bytes) -> None:
        """Together with all else of this turn of the loop: each write wakes the broker."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(data)

    def _flush(self) -> None:
        if self._out:
            data = b"".join(self._out)
            self._out.clear()
            self._write(data)

    def pause_writing(self) -> None:
        """Of the loop: the socket's buffer is full."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Of the loop: there is room again."""
        self._writable.set()

    # --- reading -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of the loop."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITTEN_BYTES_MAX)

    def connection_lost(self, exc: Exception | None) -> None:
        """Of the loop."""
        self._end(ConnectionLost(str(exc) if exc else "the broker closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Of the loop: read all frames that are whole."""
        self._heard_at = self._loop.time()
        if self._unread:
            data = self._unread + data
        at, length = 0, len(data)
        try:
            while length - at >= wire.PREFIX_BYTES and not self.is_closed:
                kind, channel, size = wire.decode_prefix(data, at)
                start = at + wire.PREFIX_BYTES
                end = start + size
                if kind > wire.HEARTBEAT or size > self._frame_max:
                    raise ConnectionLost("what answers there is no AMQP 0-9-1 broker")
                if length <= end:
                    break
                if data[end] != wire.FRAME_END:
                    raise ConnectionLost("a frame that does not end where it says")
                self._read(kind, channel, data[start:end])
                at = end + 1
        except ConnectionError as error:
            self._end(error)
        except Exception as error:
            log.exception("a frame of the broker's could not be read")
            self._end(ConnectionLost(f"a frame that cannot be read: {error!r}"))
        self._unread = data[at:]

    def _read(self, kind: int, channel: int, payload: bytes) -> None:
        if kind == wire.METHOD:
            method = int.from_bytes(payload[:4], "big")
            if method in _HOT:
                self._read_hot(method, payload)
            else:
                self._read_cold(channel, payload)
        elif kind == wire.HEADER:
            self._missing, self._properties = wire.decode_header(payload)
            self._read_content(b"")
        elif kind == wire.BODY:
            self._read_content(payload)

    def _read_hot(self, method: int, payload: bytes) -> None:
        if method == wire.BASIC_DELIVER:
            self._address = wire.decode_deliver(payload)
        elif method == wire.BASIC_RETURN:
            self._address = wire.decode_return(payload)
        else:
            tag, multiple = wire.decode_confirm(payload)
            positive = method == wire.BASIC_ACK
            self._publications.confirmed(tag, multiple=multiple, positive=positive)

    def _read_content(self, chunk: bytes) -> None:
        """Part of a body; the last part makes the message."""
        if chunk:
            self._body.append(chunk)
            self._missing -= len(chunk)
        if self._missing > 0:
            return
        address, properties, body = self._address, self._properties, b"".join(self._body)
        self._address = None
        self._body.clear()
        if address is None:
            raise ConnectionLost("content without an address")
        if not address.consumer:
            self._publications.returned(properties.message_id)
        elif (receive := self._consumers.get(address.consumer)) is not None:
            message = wire.message_of(address, properties, body)
            receive(message, address.tag, address.redelivered)

    def _read_cold(self, channel: int, payload: bytes) -> None:
        _, _, frame = frames.unmarshal(wire.encode_frame(wire.METHOD, channel, payload))
        if isinstance(frame, Spec.Close | Channel.Close):
            ok = Spec.CloseOk() if isinstance(frame, Spec.Close) else Channel.CloseOk()
            self._write(frames.marshal(ok, channel))
            self._end(Refused(frame.reply_code or 0, frame.reply_text or ""))
        elif isinstance(frame, Basic.Cancel):
            self._end(ConnectionLost(f"the broker cancelled consumer {frame.consumer_tag}"))
        elif isinstance(frame, Channel.Flow):
            self._write(frames.marshal(Channel.FlowOk(active=frame.active), channel))
        elif self._answer is not None and isinstance(frame, self._expected):
            if not self._answer.done():
                self._answer.set_result(frame)
        elif not isinstance(frame, Spec.Blocked | Spec.Unblocked):
            raise ConnectionLost(f"the broker said {type(frame).__name__}, which nobody asked")


def _start_ok(where: urls.BrokerUrl, name: str) -> Spec.StartOk:
    properties: FieldTable = {
        "product": "Amends",
        "version": version_of("amends-amqp"),
        "connection_name": name,
        "capabilities": {
            "authentication_failure_close": True,
            "basic.nack": True,
            "consumer_cancel_notify": True,
            "publisher_confirms": True,
        },
    }
    if where.external:
        return Spec.StartOk(properties, "EXTERNAL", "")
    return Spec.StartOk(properties, "PLAIN", f"\0{where.user}\0{where.password}")
