"""Traces of a participant over OTLP, as the standard OTEL_* variables say (extra `otel`).

A command's work is a span below the command's own; what the handler asks of its database through
SQLAlchemy appears below that. Payloads never appear. An exporter that is away costs spans only.
"""

import os
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncEngine

from amends_contracts.messages import Command, Outcome, Trace
from amends_contracts.names import Op
from amends_participants.trace import Span

if TYPE_CHECKING:
    from opentelemetry import trace as api
    from opentelemetry.context import Context


def is_wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the environment asks for traces over OTLP."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER")
    if exporter is not None:
        return "otlp" in exporter
    named = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return any(environment.get(name) for name in named)


class OtelTracing:
    """Implements the runtime's `Tracing` hook with the OpenTelemetry SDK.

    Raises ImportError where the extra is not installed.
    """

    def __init__(self, service: str) -> None:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        named = "OTEL_SERVICE_NAME" in os.environ
        resource = Resource.create({} if named else {"service.name": service})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("amends_participants")

    def start(self, command: Command) -> AbstractContextManager[Span]:
        """A span below the command's, current while the handler runs."""
        return self._started(command)

    @contextmanager
    def _started(self, command: Command) -> Generator[Span]:
        from opentelemetry.trace import SpanKind

        undo = command.op is not Op.ACTION
        with self._tracer.start_as_current_span(
            f"{command.op} {command.type}" if undo else command.type,
            context=_context_of(command.trace),
            kind=SpanKind.CONSUMER,
            attributes=_attributes(command),
            record_exception=False,
        ) as span:
            yield _OtelSpan(span)

    def watch(self, engine: AsyncEngine) -> None:
        """Show the statements of this engine as spans below the handler's."""
        from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor

        SQLAlchemyInstrumentor().instrument(
            engine=engine.sync_engine,
            tracer_provider=self._provider,
            skip_dep_check=True,  # the instrumentation's bound excludes SQLAlchemy 2.1, which works
        )

    def close(self, timeout_s: float = 5) -> None:
        """Send what is waiting, for at most `timeout_s`, and stop."""
        self._provider.force_flush(int(timeout_s * 1000))
        self._provider.shutdown()


class _OtelSpan:
    def __init__(self, span: "api.Span") -> None:
        self._span = span

    @property
    def trace(self) -> Trace | None:
        """The context of this span, for the reply."""
        context = self._span.get_span_context()
        if not context.is_valid:
            return None
        flags = "01" if context.trace_flags.sampled else "00"
        return Trace(f"00-{context.trace_id:032x}-{context.span_id:016x}-{flags}")

    def ended(self, outcome: Outcome, problem_type: str | None) -> None:
        """Outcome and problem type as attributes; a problem makes the span an error."""
        from opentelemetry.trace.status import Status, StatusCode

        self._span.set_attribute("amends.outcome", outcome.value)
        if problem_type is not None:
            self._span.set_attribute("error.type", problem_type)
            self._span.set_status(Status(StatusCode.ERROR))


def _context_of(trace: Trace | None) -> "Context | None":
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if trace is None:
        return None
    carrier = {"traceparent": trace.traceparent}
    if trace.tracestate is not None:
        carrier["tracestate"] = trace.tracestate
    return TraceContextTextMapPropagator().extract(carrier)


def _attributes(command: Command) -> dict[str, str | int]:
    found: dict[str, str | int | None] = {
        "amends.saga_id": command.saga_id,
        "amends.definition": command.definition,
        "amends.key": command.key,
        "amends.attempt": command.attempt,
        "amends.tenant": command.tenant,
        "messaging.system": "rabbitmq",
        "messaging.operation.name": command.type,
    }
    return {name: value for name, value in found.items() if value is not None}
