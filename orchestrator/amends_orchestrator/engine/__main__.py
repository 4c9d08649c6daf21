"""An orchestrator without REST and page: `python -m amends_orchestrator.engine`.

By the settings in `AMENDS_*`, until SIGTERM or SIGINT; exits non-zero when it cannot go on.
`amends serve` is the same with REST and page.
"""

import asyncio
import logging
import signal
import sys

from amends_orchestrator import garbage
from amends_orchestrator.cel import CelExpressions
from amends_orchestrator.engine.orchestrator import Orchestrator
from amends_orchestrator.settings import Settings
from amends_orchestrator.store import PostgresStore
from amends_orchestrator.transport.amqp import AmqpTransport

log = logging.getLogger("amends")


async def main(settings: Settings) -> None:
    """Run one orchestrator until a signal; raises what made it end."""
    store = await PostgresStore.open(
        settings.database_url.get_secret_value(),
        query_timeout_s=settings.query_timeout_s,
        partitions=settings.partitions,
        allow_unsafe=settings.allow_unsafe_database,
    )
    transport = AmqpTransport(
        settings.broker_url.get_secret_value(),
        settings.topology,
        partitions=settings.partitions,
        name="amends",
    )
    orchestrator = Orchestrator(store, transport, settings, CelExpressions())
    loop = asyncio.get_running_loop()
    stopping: set[asyncio.Task[None]] = set()

    def stop() -> None:
        stopping.add(asyncio.ensure_future(orchestrator.stop()))

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    garbage.tune()
    try:
        await orchestrator.run()
    finally:
        await store.close()


if __name__ == "__main__":
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # The environment fills in what the call does not say.
    asyncio.run(main(Settings()))  # pyright: ignore[reportCallIssue]
