"""A real OTLP/gRPC receiver on loopback that keeps the spans it is sent."""

import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

_REGISTER = "add_TraceServiceServicer_to_server"  # generated code, without types


@dataclass(frozen=True, slots=True)
class ReceivedSpan:
    """A span as it arrived, ids in hex."""

    name: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    links: tuple[str, ...]
    start_ns: int
    end_ns: int
    status: int
    """0 unset, 1 ok, 2 error."""
    attributes: dict[str, Any]


@dataclass(slots=True)
class Receiver:
    """Where it listens, and what has come."""

    endpoint: str
    _spans: list[ReceivedSpan] = field(default_factory=list[ReceivedSpan])
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def spans(self) -> list[ReceivedSpan]:
        """All spans so far, in the order of their arrival."""
        with self._changed:
            return list(self._spans)

    def add(self, spans: list[ReceivedSpan]) -> None:
        """Keep spans and wake who waits."""
        with self._changed:
            self._spans.extend(spans)
            self._changed.notify_all()

    def wait_for(self, count: int, timeout_s: float = 60) -> list[ReceivedSpan]:
        """At least `count` spans; what is there when the time is over otherwise."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._spans) >= count, timeout_s)
            return list(self._spans)


class _TraceService(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the name of the RPC
        self._receiver.add(list(_received(request)))
        return trace_service_pb2.ExportTraceServiceResponse()


def _received(request: Any) -> Iterator[ReceivedSpan]:
    for resource_spans in request.resource_spans:
        resource = _attributes(resource_spans.resource.attributes)
        for scope in resource_spans.scope_spans:
            for span in scope.spans:
                yield ReceivedSpan(
                    name=span.name,
                    service=str(resource.get("service.name", "")),
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    links=tuple(link.span_id.hex() for link in span.links),
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    status=span.status.code,
                    attributes=_attributes(span.attributes),
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@contextmanager
def otlp_receiver() -> Generator[Receiver]:
    """A receiver on a free loopback port, stopped at the end."""
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    port = server.add_insecure_port("127.0.0.1:0")
    receiver = Receiver(f"http://127.0.0.1:{port}")
    getattr(trace_service_pb2_grpc, _REGISTER)(_TraceService(receiver), server)
    server.start()
    try:
        yield receiver
    finally:
        server.stop(grace=1).wait()
