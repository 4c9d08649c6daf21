"""Settings of the orchestrator: environment variables `AMENDS_*`, each described where it stands.

docs/settings.md is this file as a table (`python -m amends_orchestrator.settings`); a test keeps
the two together. Secrets are never printed.
"""

import sys
from typing import Annotated, Any, Final, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from amends_contracts.topology import PARTITIONS_DEFAULT, Topology

ENV_PREFIX: Final = "AMENDS_"
TOKEN_SECRET_BYTES_MIN: Final = 16


class Settings(BaseSettings):
    """All settings. Times carry their unit in the name."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore", frozen=True)

    database_url: Annotated[
        SecretStr, Field(description="Postgres: `postgresql://user:password@host:port/database`.")
    ]
    broker_url: Annotated[
        SecretStr,
        Field(
            description="RabbitMQ: `amqp://user:password@host:port/vhost`, or `amqps://` with "
            "options `?cafile=…&certfile=…&keyfile=…&auth=external`.",
        ),
    ]
    token_secrets: Annotated[
        tuple[SecretStr, ...],
        NoDecode,
        Field(
            min_length=1,
            description="Secrets that sign commands (`amends-token`), separated by commas, of at "
            "least 16 characters each, the same for every orchestrator. The first signs, all "
            "verify. To rotate: append the new one at the end, everywhere; only then move it to "
            "the front, everywhere; drop the old one when the sagas it signed for are over. An "
            "orchestrator that does not know the new one yet would refuse replies signed by it.",
        ),
    ]
    prefix: Annotated[
        str, Field(description="Prefix of every exchange and queue.", pattern=r"^[a-z][a-z0-9_-]*$")
    ] = "amends"
    partitions: Annotated[
        int,
        Field(
            ge=1, le=100, description="Partitions declared at start, each a queue with an owner."
        ),
    ] = PARTITIONS_DEFAULT
    api_host: Annotated[
        str, Field(description="Address of REST and console. Beyond loopback API keys are needed.")
    ] = "127.0.0.1"
    api_port: Annotated[int, Field(ge=0, le=65535, description="Port of REST and console.")] = 8400
    batch_max: Annotated[
        int, Field(ge=1, le=4096, description="Messages decided and committed together, at most.")
    ] = 512
    batch_bytes_max: Annotated[
        int, Field(ge=65536, description="Bytes that one batch may write to the outbox.")
    ] = 4 * 1024 * 1024
    prefetch: Annotated[
        int, Field(ge=1, le=2000, description="Messages, or envelopes, in hand per queue, at most.")
    ] = 64
    pace_ms: Annotated[
        float, Field(ge=0, le=1000, description="Least time between the starts of two batches.")
    ] = 3.0
    pace_busy_ms: Annotated[
        float,
        Field(ge=0, le=1000, description="The same while messages arrive together, at most."),
    ] = 15.0
    unsettled_max: Annotated[
        int, Field(ge=1, le=64, description="Outbox rows not confirmed at which intake stops.")
    ] = 8
    waiting_max: Annotated[
        int, Field(ge=1, description="Starts and requests waiting for a batch; more wait outside.")
    ] = 4096
    circuit_failures: Annotated[
        int,
        Field(
            ge=0,
            le=20,
            description="Timeouts, unknown outcomes and returned commands among the last 20 "
            "outcomes of a participant, at least half of them, after which new attempts wait until "
            "one of them is answered. 0: never.",
        ),
    ] = 5
    lease_s: Annotated[
        float, Field(ge=0.5, le=60, description="How long partitions outlive a dead owner.")
    ] = 3.0
    publish_timeout_s: Annotated[
        float, Field(gt=0, description="After this a publication is in doubt and is repeated.")
    ] = 10.0
    query_timeout_s: Annotated[
        float, Field(gt=0, description="After this a database call is in doubt.")
    ] = 10.0
    drain_s: Annotated[
        float, Field(ge=0, description="How long a stop waits for the broker's confirms.")
    ] = 10.0
    definition_cache_s: Annotated[
        float,
        Field(
            ge=0,
            description="How long a start may still get the last version, or one just retired.",
        ),
    ] = 0.5
    allow_unsafe_database: Annotated[
        bool, Field(description="Accept a database that may lose commits (`fsync=off`): for tests.")
    ] = False
    tenant: Annotated[
        str, Field(description="Tenant of broker clients that set no `user_id`.", min_length=1)
    ] = "default"

    jaeger_url: Annotated[
        str | None, Field(description="Where Jaeger's pages are: the console links to traces.")
    ] = None

    public_url: Annotated[
        str | None,
        Field(description="Where people reach the console: what links to reviews begin with."),
    ] = None

    review_webhook_url: Annotated[
        str | None, Field(description="Told of reviews by POST: asked, changed, decided, undone.")
    ] = None
    review_webhook_secret: Annotated[
        SecretStr | None, Field(description="Signs what the webhook is told (`Amends-Signature`).")
    ] = None
    review_remind_s: Annotated[
        float,
        Field(ge=0, description="After this an open review is told of again; 0: never."),
    ] = 86_400.0

    @model_validator(mode="after")
    def _signed(self) -> Self:
        if self.review_webhook_url and not self.review_webhook_secret:
            raise ValueError("a review webhook needs a secret: AMENDS_REVIEW_WEBHOOK_SECRET")
        return self

    @field_validator("token_secrets", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return (
            [s.strip() for s in value.split(",") if s.strip()] if isinstance(value, str) else value
        )

    @field_validator("token_secrets")
    @classmethod
    def _long_enough(cls, secrets: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(len(s.get_secret_value()) < TOKEN_SECRET_BYTES_MIN for s in secrets):
            raise ValueError(f"a token secret has at least {TOKEN_SECRET_BYTES_MIN} characters")
        return secrets

    @property
    def topology(self) -> Topology:
        """Names of exchanges and queues."""
        return Topology(self.prefix)


def table() -> str:
    """All settings as a Markdown table: what docs/settings.md holds."""
    lines = [
        "# Settings of the orchestrator",
        "",
        "Environment variables. Where *required* stands there is no default.",
        "",
        "| variable | default | what it does |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        required = field.default is PydanticUndefined
        default = (
            "*required*" if required else f"`{field.default}`" if field.default is not None else ""
        )
        lines.append(f"| `{ENV_PREFIX}{name.upper()}` | {default} | {field.description} |")
    lines += [
        "",
        "Traces and metrics follow the standard `OTEL_*` variables.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(table())
