"""Ids that any replica derives alike, and what telemetry costs where nobody wants it: nothing."""

import os
import subprocess
import sys

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from amends_contracts.names import Op, SagaId, StepPath
from amends_orchestrator.core.decision import Send
from amends_orchestrator.core.state import Identity
from amends_orchestrator.telemetry import export, ids
from amends_participants import otel

SAGA = SagaId("01980000-0000-7000-8000-000000000001")
WHO = Identity(
    saga_id=SAGA, tenant="default", definition="trip", version=1, key="order-1", partition=0
)
FLIGHT = StepPath("flight")
LOADED = """
import sys
import amends_orchestrator.cli.service, amends_participants.run, amends_participants.runtime
print([name for name in ("opentelemetry.sdk", "grpc") if name in sys.modules])
"""


def send(op: Op, attempt: int) -> Send:
    """A command to the flights."""
    return Send(command="flights.reserve", path=FLIGHT, op=op, attempt=attempt, body=b"{}")


def test_ids_are_the_same_in_every_release() -> None:
    """A saga may be begun by one release and ended by the next: its trace stays one."""
    assert ids.trace_hex(SAGA) == "a51b33720f1c5e366bc7e3adf17894c4"
    assert f"{ids.saga_span_id(SAGA):016x}" == "47ab977622fb871c"
    assert f"{ids.attempt_span_id(SAGA, FLIGHT, Op.ACTION, 1):016x}" == "ca08fac171fd6e11"


def test_two_replicas_give_a_command_the_same_context() -> None:
    """Each attempt has a span of its own; who sends it again, or ends it, names the same one."""
    first, second = (export.OtlpTracing(InMemorySpanExporter()) for _ in range(2))
    sends = [send(Op.ACTION, 1), send(Op.ACTION, 2), send(Op.COMPENSATION, 1)]
    contexts = [first.command(WHO, each) for each in sends]
    assert [second.command(WHO, each) for each in sends] == contexts
    assert len(set(contexts)) == 3
    assert first.command(WHO, send(Op.PROBE, 1)) == contexts[0]
    first.close()
    second.close()


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://jaeger:4317"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://j:4317"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://j:4317"}, False),
    ],
)
def test_the_standard_variables_decide(environment: dict[str, str], wanted: bool) -> None:
    """Orchestrator and participants read them alike."""
    assert (export.is_wanted(environment), otel.is_wanted(environment)) == (wanted, wanted)


def test_off_loads_neither_sdk_nor_exporter() -> None:
    """What is not wanted is not even imported."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    done = subprocess.run(
        [sys.executable, "-c", LOADED], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
