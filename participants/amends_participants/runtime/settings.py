"""Settings of a participant process, from `AMENDS_*`. Secrets are never printed."""

from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from amends_contracts.drill import SECRET_CHARS_MIN


class ParticipantSettings(BaseSettings):
    """Every limit and interval of the runtime, with its default."""

    model_config = SettingsConfigDict(env_prefix="AMENDS_", extra="ignore", frozen=True)

    broker_url: SecretStr | None = None
    """`amqp://user:password@host:5672/vhost`"""
    database_url: SecretStr | None = None
    """`postgresql://user:password@host:5432/name`: this service's own database."""
    prefix: str = "amends"
    """Prefix of exchange and queue names; the same everywhere."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 16
    """Commands at work at once, of each kind (in the database, outside); a quarter is for undo."""
    envelopes: bool = True
    """Take many commands in one message, and answer them so; false: one message each."""
    group_max: Annotated[int, Field(ge=1, le=256)] = 64
    """Transactional commands in one transaction, at most, when they arrive faster than they can be
    answered; 1: each has its own."""
    group_pace_ms: Annotated[float, Field(ge=0, le=1000)] = 3.0
    """Least time between the starts of two groups; one alone goes at once."""
    group_pace_busy_ms: Annotated[float, Field(ge=0, le=1000)] = 15.0
    """What it grows to, doubling, while commands keep arriving together."""
    lease_s: Annotated[float, Field(gt=0)] = 30.0
    """How long an instance that does not renew its lease counts as alive."""
    hello_s: Annotated[float, Field(gt=0)] = 30.0
    sweep_s: Annotated[float, Field(gt=0)] = 30.0
    """How often to look for what dead instances left, and for replies not confirmed."""
    long_wait_s: Annotated[float, Field(gt=0)] = 30.0
    """A command that waits longer for its turn is taken over from the broker."""
    drain_s: Annotated[float, Field(ge=0)] = 30.0
    """How long handlers may go on after SIGTERM."""
    publish_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    query_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Of every statement, also a handler's own."""
    lock_timeout_ms: Annotated[int, Field(ge=1)] = 200
    """Of every statement, also a handler's own; a barrier row locked longer counts as running."""
    busy_s: Annotated[float, Field(ge=0)] = 10.0
    """How long an action waits for another delivery of its key before it answers `progress`."""
    skip_expired: bool = True
    """Answer an action more than 5 s past its deadline `failed`, retryable, instead of running it;
    the 5 s are for clocks that differ."""
    create_tables: bool = True
    """Create the barrier's tables at start where they are missing."""
    drill_secret: Annotated[SecretStr | None, Field(min_length=SECRET_CHARS_MIN)] = None
    """Takes part in drills that are signed with it (docs/drills.md); without, their actions are
    refused."""
    drill_exit: bool = False
    """Where a drill kills a participant, end this process for real (137): something starts it
    again. Otherwise only the delivery is lost and comes again."""
    health_port: int | None = None
    """Port of `/healthz` and `/readyz`; off by default."""
    health_host: str = "127.0.0.1"
