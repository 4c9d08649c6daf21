"""`amends signal`: what it sends, and what it says."""

import pytest

from cli.fake_service import FakeService
from cli.running import Amends

ID = "01976f3e-8a4b-7c1d-9e2f-3a4b5c6d7e8f"


def test_a_signal_goes_to_the_saga_with_its_data(amends: Amends, service: FakeService) -> None:
    """Data is read as the input of a start is."""
    service.on("POST", f"/v1/sagas/{ID}/signal", {"saga_id": ID, "status": "running"})
    ran = amends("signal", "paid", ID, "--id", "p-1", "--data", "usd=7")
    assert ran.code == 0
    assert service.asked[-1].body == {"event": "paid", "id": "p-1", "data": {"usd": 7}}
    assert f"sent paid  amends show {ID}" in ran.out


def test_a_signal_for_a_saga_to_come_is_said_to_be_kept(
    amends: Amends, service: FakeService
) -> None:
    """By definition and key, the saga need not be there."""
    service.on("POST", "/v1/signals", {"kept": True}, status=202)
    ran = amends("signal", "paid", "-d", "book-trip", "-k", "order-17", "--id", "p-1")
    assert ran.code == 0
    assert service.asked[-1].body == {
        "event": "paid",
        "id": "p-1",
        "definition": "book-trip",
        "key": "order-17",
    }
    assert "is kept for seven days" in " ".join(ran.out.split())


def test_without_an_id_each_signal_is_a_new_one(amends: Amends, service: FakeService) -> None:
    """One that is typed twice was meant twice."""
    service.on("POST", f"/v1/sagas/{ID}/signal", {"saga_id": ID, "status": "running"})
    for _ in range(2):
        assert amends("signal", "paid", ID).code == 0
    first, second = (asked.body["id"] for asked in service.asked)
    assert first != second


@pytest.mark.parametrize(
    "arguments", [(), (ID, "-d", "book-trip", "-k", "k"), ("-d", "book-trip"), (ID, "-k", "k")]
)
def test_a_signal_needs_one_saga(
    amends: Amends, service: FakeService, arguments: tuple[str, ...]
) -> None:
    """Its id, or definition and key: not both, and no half."""
    ran = amends("signal", "paid", *arguments)
    assert (ran.code, service.asked) == (2, [])
    assert "Which saga?" in ran.err
