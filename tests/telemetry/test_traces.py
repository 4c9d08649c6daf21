"""A whole compensated saga as one trace, through a real OTLP receiver, over real processes."""

from pathlib import Path

import pytest

from acceptance.world import running_world
from amends_contracts.names import SagaId
from amends_orchestrator.telemetry.ids import trace_hex
from telemetry.otlp_receiver import ReceivedSpan, otlp_receiver

ERROR = 2
pytestmark = pytest.mark.servers


def test_a_compensated_saga_is_one_trace_and_its_undo_links_to_what_it_undoes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names, parents and links of a trip whose hotel is sold out, from five processes."""
    tmp_path.chmod(0o711)
    with otlp_receiver() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        with running_world(tmp_path) as world:
            saga_id = world.start(to="Venice")
            shown = world.end_of(saga_id)
            assert shown["status"] == "compensated"
            trace_id = trace_hex(SagaId(saga_id))
            assert shown["trace_id"] == trace_id

            def of_saga() -> list[ReceivedSpan]:
                return [s for s in receiver.spans() if s.trace_id == trace_id]

            named = ("saga book-trip", "flight", "hotel", "undo flight", "compensation")
            world.until(
                lambda: all(any(n in s.name for s in of_saga()) for n in named), "the spans"
            )
        spans = of_saga()
    only = {s.name: s for s in spans if s.service == "amends-orchestrator"}
    assert sorted(only) == ["flight", "hotel", "saga book-trip", "undo flight"]
    root, flight, undo = only["saga book-trip"], only["flight"], only["undo flight"]
    assert root.parent_id == ""
    assert {s.parent_id for s in (flight, only["hotel"], undo)} == {root.span_id}
    assert undo.links == (flight.span_id,)
    assert (root.status, flight.status, only["hotel"].status) == (ERROR, 0, ERROR)
    assert only["hotel"].attributes["error.type"] == "sold-out"

    work = {s.name: s for s in spans if s.service in {"flights", "hotels"} and s.parent_id in
            {s.span_id for s in only.values()}}  # fmt: skip
    assert work["flights.reserve"].parent_id == flight.span_id
    assert work["hotels.book"].parent_id == only["hotel"].span_id
    [undoing] = [s for name, s in work.items() if name.startswith("compensation")]
    assert undoing.parent_id == undo.span_id
    statements = [s for s in spans if s.parent_id == work["flights.reserve"].span_id]
    assert statements, "the handler's statements stand below its span"
    assert all(s.start_ns <= s.end_ns for s in spans)
    assert root.start_ns <= flight.start_ns <= work["flights.reserve"].start_ns


def test_an_exporter_that_is_away_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spans are lost, sagas are not."""
    tmp_path.chmod(0o711)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    with running_world(tmp_path) as world:
        sagas = [world.start() for _ in range(5)]
        assert set(world.ends_of(sagas).values()) == {"completed"}
        assert world.broken() == []
