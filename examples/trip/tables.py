"""The services' own tables: created at their start, one database each; and the pace of the demo."""

import asyncio
import os
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

SQL = Path(__file__).parent / "sql"
LOCK = text("SELECT pg_advisory_xact_lock(hashtext(:service))")


async def prepare(service: str, url: str) -> None:
    """Create the tables of `service` where they are missing, once, however many instances start."""
    engine = create_async_engine(driver_url(url))
    try:
        async with engine.begin() as connection:
            await connection.execute(LOCK, {"service": service})
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            await driver.execute((SQL / f"{service}.sql").read_text())
    finally:
        await engine.dispose()


def driver_url(url: str) -> str:
    """The same database for SQLAlchemy's asyncpg dialect."""
    parsed = make_url(url).set(drivername="postgresql+asyncpg")
    return parsed.render_as_string(hide_password=False)


async def work() -> None:
    """Take as long as AMENDS_TRIP_WORK_S says (default: no time), so that one can watch."""
    seconds = float(os.environ.get("AMENDS_TRIP_WORK_S", "0"))
    if seconds:
        await asyncio.sleep(seconds)
