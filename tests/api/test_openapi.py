"""The OpenAPI document is valid and true: a machine reads it and tries what it says."""

import re
from datetime import timedelta
from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import checks

from amends_contracts.names import StepPath
from amends_orchestrator.api.app import ROUTERS
from amends_orchestrator.api.models import UUID_PATTERN
from amends_orchestrator.api.openapi import document_of
from amends_orchestrator.api.ports import Scope
from amends_orchestrator.api.route import GuardedRoute, needs_of
from amends_orchestrator.core.decision import JournalRow
from api.fakes import BEGAN, Instance, Registered, World, app_of, key_for, saga_id

EXAMPLES_PER_OPERATION = 15


def peopled() -> World:
    """A service with something of everything."""
    world = World()
    key_for(world, Scope.ADMIN)
    for n in range(1, 5):
        made = world.add(n, labels={"channel": "web"})
        world.journals[made] = [
            JournalRow(seq=1, at=BEGAN + timedelta(seconds=n), kind="sent", step=StepPath("a"))
        ]
    world.instances = [Instance("flights", "f-1", {"commands": {}})]
    world.registered["close-books", 1] = Registered("close-books", 1, "d", {})
    world.registered["book-trip", 1] = Registered("book-trip", 1, "d", {"name": "book-trip"})
    return world


WORLD = peopled()
APP = app_of(WORLD)
HEADERS = {"Authorization": f"Bearer {key_for(WORLD, Scope.ADMIN)}"}
CHECKS: Any = checks
schema: Any = schemathesis.openapi.from_asgi("/openapi.json", APP)


@schema.parametrize()
@settings(
    max_examples=EXAMPLES_PER_OPERATION,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)
def test_every_answer_is_one_that_the_document_names(case: Any) -> None:
    """Status, content type and body of any answer to any request are as documented."""
    if re.fullmatch(UUID_PATTERN, str(case.path_parameters.get("saga_id", ""))):
        case.path_parameters["saga_id"] = saga_id(1)
    excluded: list[Any] = [CHECKS.positive_data_acceptance]  # no schema can say what a cursor is
    if "wait" in (case.query or {}):
        case.query.pop("wait")
        excluded.append(CHECKS.negative_data_rejection)  # it may have been what was wrong
    if case.path.endswith(("/undo", "/signal", "/signals")):
        excluded.append(CHECKS.not_a_server_error)  # 501 by design
    case.call_and_validate(headers=HEADERS, excluded_checks=excluded)


def test_the_document_is_valid_openapi() -> None:
    """Against the 3.1 meta-schema."""
    schema.validate()
    assert document_of(APP, ROUTERS)["openapi"] == "3.1.0"


def test_every_route_stands_in_the_document_with_its_scope() -> None:
    """Each operation says who may call it, what it does, and every refusal by an example."""
    document = document_of(APP, ROUTERS)
    routes = [r for router in ROUTERS for r in router.routes if isinstance(r, GuardedRoute)]
    for route in routes:
        for method in route.methods or ():
            operation = document["paths"][route.path][method.lower()]
            scope = needs_of(route.endpoint).scope
            assert ("security" in operation) == (scope is not None), route.path
            assert scope is None or f"Scope: `{scope}`" in operation["description"]
            for status, answer in operation["responses"].items():
                if status >= "400" and route.path != "/readyz":
                    [content] = answer["content"].items()
                    assert content[0] == "application/problem+json"
                    assert content[1]["example"]["type"].startswith("amends:")


def test_starts_are_shown_by_example() -> None:
    """Whoever reads the document finds a start that works."""
    [example] = document_of(APP, ROUTERS)["components"]["schemas"]["StartIn"]["examples"]
    assert example["definition"] == "book-trip"
