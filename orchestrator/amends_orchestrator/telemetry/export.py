"""Spans out of the process, over OTLP, as the standard OTEL_* variables say.

Exporting is best effort by design: spans wait in a bounded queue, a thread of the SDK sends them,
and an exporter that is away costs spans, never sagas.
"""

import os
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from amends_contracts.messages import Trace
from amends_contracts.names import Op, SagaId, StepPath
from amends_orchestrator.core.decision import Decision, Send
from amends_orchestrator.core.inputs import Input
from amends_orchestrator.core.state import Identity
from amends_orchestrator.telemetry.ids import (
    attempt_span_id,
    saga_span_id,
    trace_hex,
    trace_id_of,
    traceparent,
)
from amends_orchestrator.telemetry.spans import EndedSpan, begun_at, ended_spans

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import SpanContext

SERVICE_NAME = "amends-orchestrator"
_START = StepPath("start")


def is_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for traces over OTLP."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER")
    if exporter is not None:
        return "otlp" in exporter
    named = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(environment.get(name) for name in named)


class OtlpTracing:
    """Implements the engine's `Tracing` port: context for commands, spans for decisions."""

    def __init__(self, exporter: "SpanExporter | None" = None) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        if exporter is None:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

            exporter = OTLPSpanExporter()
        named = Resource.create({} if _is_named() else {"service.name": SERVICE_NAME})
        provider = TracerProvider(resource=named, shutdown_on_exit=False)
        self._resource = provider.resource
        self._sampler = provider.sampler
        self._processor = BatchSpanProcessor(exporter)

    def started(self, identity: Identity, trace: Trace | None) -> str | None:
        """The trace id of a saga; in the client's own trace a span says where to find it."""
        if trace is not None:
            self._mark_start(identity, trace)
        return trace_hex(identity.saga_id)

    def command(self, identity: Identity, send: Send) -> Trace | None:
        """Context below the span of this attempt; a probe belongs to its action's."""
        op = Op.ACTION if send.op is Op.PROBE else send.op
        span_id = attempt_span_id(identity.saga_id, send.path, op, send.attempt)
        return traceparent(identity.saga_id, span_id, sampled=self._is_sampled(identity.saga_id))

    def decided(
        self,
        identity: Identity,
        message: Input | None,
        decision: Decision,
        now: datetime,
    ) -> None:
        """Export what the decision ended."""
        if self._is_sampled(identity.saga_id):
            for span in ended_spans(decision):
                self._processor.on_end(self._readable(span))

    def close(self, timeout_s: float = 5) -> None:
        """Send what is waiting, for at most `timeout_s`, and stop."""
        self._processor.force_flush(int(timeout_s * 1000))
        self._processor.shutdown()

    def _is_sampled(self, saga_id: SagaId) -> bool:
        return self._sampler.should_sample(None, trace_id_of(saga_id), "saga").decision.is_sampled()

    def _readable(self, span: EndedSpan) -> "ReadableSpan":
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Link, SpanKind
        from opentelemetry.trace.status import Status, StatusCode

        saga_id = span.saga_id
        parent = None if span.parent_id is None else _context(saga_id, span.parent_id)
        attributes = dict(span.attributes)
        if span.problem is not None:
            attributes["error.type"] = span.problem
        return ReadableSpan(
            name=span.name,
            context=_context(saga_id, span.span_id),
            parent=parent,
            resource=self._resource,
            attributes=attributes,
            links=() if span.link is None else (Link(_context(saga_id, span.link)),),
            kind=SpanKind.INTERNAL if parent is None else SpanKind.CLIENT,
            status=Status(StatusCode.UNSET if span.problem is None else StatusCode.ERROR),
            start_time=_nanoseconds(span.start),
            end_time=_nanoseconds(span.end),
        )

    def _mark_start(self, identity: Identity, trace: Trace) -> None:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Link, SpanContext, TraceFlags, get_current_span
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {"traceparent": trace.traceparent}
        context = TraceContextTextMapPropagator().extract(carrier)
        parent = get_current_span(context).get_span_context()
        if not parent.is_valid:
            return
        at = _nanoseconds(begun_at(identity.saga_id))
        own = SpanContext(
            trace_id=parent.trace_id,
            span_id=attempt_span_id(identity.saga_id, _START, Op.ACTION, 1),
            is_remote=False,
            trace_flags=TraceFlags(parent.trace_flags),
        )
        saga = _context(identity.saga_id, saga_span_id(identity.saga_id))
        self._processor.on_end(
            ReadableSpan(
                name=f"start {identity.definition}",
                context=own,
                parent=parent,
                resource=self._resource,
                attributes={"amends.saga_id": identity.saga_id, "amends.key": identity.key},
                links=(Link(saga),),
                start_time=at,
                end_time=at,
            )
        )


def _is_named() -> bool:
    attributes = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return "OTEL_SERVICE_NAME" in os.environ or "service.name=" in attributes


def _context(saga_id: SagaId, span_id: int) -> "SpanContext":
    from opentelemetry.trace import SpanContext, TraceFlags

    flags = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(trace_id_of(saga_id), span_id, is_remote=False, trace_flags=flags)


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1000
