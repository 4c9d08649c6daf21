"""The example in JavaScript, written from the wire contract alone, keeps all of it."""

import json
import re
from pathlib import Path

import pytest

from amends_orchestrator.conform.examples import read_examples
from conform.node import NODE, ROOT, install_cars
from conform.playing import Place, failures, skipped

CARS = ROOT / "examples" / "cars"


@pytest.fixture(scope="module")
def cars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, installed."""
    return install_cars(tmp_path_factory.mktemp("node"))


@pytest.mark.slow
async def test_it_conforms_also_when_it_is_killed(place: Place, cars: Path) -> None:
    """All that a service of the light profile promises, seen in its own table."""
    env = f"AMENDS_BROKER_URL='{place.broker_url}' AMENDS_DATABASE_URL='{place.database_url}'"
    command = f"cd {cars} && {env} AMENDS_PREFIX={place.prefix} exec {NODE} cars.js"
    examples = read_examples((CARS / "conform.yaml").read_text(), "cars")
    report = await place.play(service="cars", examples=examples, observe=None, restart=command)
    assert (failures(report), report.left) == ({}, ())
    assert set(skipped(report)) == {"probe", "ledger", "envelopes", "hello"}


def test_its_lock_names_no_host_and_pins_everything() -> None:
    """Each package with its hash; where it comes from is the machine's business."""
    text = (CARS / "package-lock.json").read_text()
    packages = {name: one for name, one in json.loads(text)["packages"].items() if name}
    assert "://" not in text
    assert [name for name, one in packages.items() if "integrity" not in one] == []
    wanted = json.loads((CARS / "package.json").read_text())["dependencies"]
    assert {f"node_modules/{name}" for name in wanted} <= packages.keys()
    assert re.search(r'"lockfileVersion": 3', text)
