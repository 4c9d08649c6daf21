"""compose.yaml: all of it fits together; test_compose_runs.py runs its commands as processes."""

import re
import subprocess

from amends_participants.run import load
from deploy.composed import ROOT, SERVICES, services

KNOWN = re.compile(r"amends migrate|amends serve|amends-participant trip\.[a-z_]+:app")
OTHERS = frozenset({"postgres", "rabbitmq", "jaeger"})  # images as their makers ship them


def test_all_services_are_there() -> None:
    """Database, broker, traces, migration, orchestrator and the four participants."""
    assert sorted(services()) == [
        *("flights", "hotels", "jaeger", "mail", "migrate", "orchestrator", "payments"),
        *("postgres", "rabbitmq"),
    ]


def test_every_command_is_a_known_entry_point() -> None:
    """Our images start what the tests start as processes, and name their command."""
    commands = {
        name: " ".join(service.get("command", []))
        for name, service in services().items()
        if name not in OTHERS
    }
    assert {n: c for n, c in commands.items() if not KNOWN.fullmatch(c)} == {}


def test_every_participant_is_an_example() -> None:
    """Each participant serves the service it is named for, by a program of the trip example."""
    served = {
        name: load(command[1]).service
        for name, service in services().items()
        if (command := service.get("command", [""]))[0] == "amends-participant"
    }
    assert served == {name: name for name in SERVICES}


def test_images_are_targets_of_the_dockerfile() -> None:
    """What is built here names a target that the Dockerfile has, not run by root."""
    text = (ROOT / "Dockerfile").read_text()
    targets = set(re.findall(r"^FROM base AS (\S+)", text, re.MULTILINE))
    used = {service["build"]["target"] for service in services().values() if "build" in service}
    assert used == targets
    assert "\nUSER amends\n" in text.partition("AS base")[2].partition("\nFROM")[0]


def test_the_python_commands_of_the_dockerfile_parse() -> None:
    """The health check's line of Python is one."""
    found = re.findall(r'"-c", "(.+)"\]', (ROOT / "Dockerfile").read_text())
    assert [bool(compile(code, "Dockerfile", "exec")) for code in found] == [True]


def test_secrets_come_from_the_environment() -> None:
    """Every variable that compose needs stands in .env.example, empty, and is filled at random."""
    asked = set(re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text()))
    listed = re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert (asked, {value for _, value in listed}) == ({name for name, _ in listed}, {""})
    made = subprocess.run([ROOT / "deploy/secrets"], capture_output=True, check=True, text=True)
    filled = dict(line.split("=") for line in made.stdout.splitlines())
    assert (set(filled), len(set(filled.values()))) == (asked, len(asked))
    assert {bool(re.fullmatch(r"[0-9a-f]{48}", value)) for value in filled.values()} == {True}


def test_services_wait_for_what_they_need() -> None:
    """Whoever waits for another's health waits for one that has a check."""
    all_of_them = services()
    waited = {
        needed
        for service in all_of_them.values()
        for needed, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    }
    assert waited == {name for name in waited if "healthcheck" in all_of_them[name]} != set()


def test_ports_are_published_to_this_machine_alone() -> None:
    """Nothing listens on other interfaces unless somebody decides so."""
    published = [port for service in services().values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:16686:16686", "127.0.0.1:8400:8400"]
