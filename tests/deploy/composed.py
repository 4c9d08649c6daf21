"""What compose.yaml says, and how its services' passwords and addresses are filled in for tests."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict, cast

import yaml

ROOT = Path(__file__).parents[2]
SERVICES = ("flights", "hotels", "mail", "payments")
USERS = ("orchestrator", *SERVICES)
TOKEN_SECRETS = "a secret of the compose test"


class Build(TypedDict):
    """Which image of the Dockerfile."""

    target: str


class Service(TypedDict, total=False):
    """What these tests read of a service."""

    build: Build
    command: list[str]
    environment: dict[str, str]
    depends_on: dict[str, dict[str, str]]
    healthcheck: dict[str, object]
    ports: list[str]
    restart: str


def services() -> dict[str, Service]:
    """The services of compose.yaml."""
    read: object = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return cast("dict[str, dict[str, Service]]", read)["services"]


def command_of(name: str) -> list[str]:
    """What a service's container runs."""
    command = services()[name].get("command")
    assert command is not None, f"{name} runs what its image does"
    return command


def password(kind: str, user: str) -> str:
    """The password that these tests give to a user; letters and digits, as deploy/secrets makes."""
    return f"{kind}0of0{user}"


def passwords(kind: str) -> dict[str, str]:
    """All passwords of a kind, by the variables that compose asks for."""
    return {f"{user}_{kind}_PASSWORD".upper(): password(kind, user) for user in USERS}


def environment(kind: str) -> Mapping[str, str]:
    """The environment of a script that is handed all passwords of a kind."""
    return {**os.environ, **passwords(kind)}


def environment_of(name: str, addresses: Mapping[str, str]) -> dict[str, str]:
    """A service's environment, word for word but for variables and `addresses` (host:port each)."""
    variables = {**passwords("database"), **passwords("broker")}
    variables["AMENDS_TOKEN_SECRETS"] = TOKEN_SECRETS

    def filled(value: str) -> str:
        value = re.sub(r"\$\{(\w+)[^}]*\}", lambda m: variables[m[1]], value)
        for inside, outside in addresses.items():
            value = value.replace(inside, outside)
        return value

    given = services()[name].get("environment", {})
    return {key: filled(str(value)) for key, value in given.items()}
