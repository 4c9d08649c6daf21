"""A link to a real broker: made anew when it ends, and never in a hurry."""

import asyncio

import pytest

from amends_amqp.connection import Connection
from amends_amqp.errors import Refused
from amends_amqp.link import AnotherConnection, Link, TopologyConflict


async def test_a_link_that_dies_when_it_is_up_is_made_anew_ever_more_slowly(
    broker_url: str,
) -> None:
    """A link that never lasts does not hammer the broker."""
    made = 0

    async def ready(connection: Connection) -> None:
        nonlocal made
        made += 1
        asyncio.get_running_loop().call_later(0.01, connection.abort)

    task = asyncio.create_task(Link(broker_url, "dies", ready).run())
    await asyncio.sleep(3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert 2 <= made <= 6


async def test_a_refused_login_is_tried_again_and_said_without_the_password(
    broker_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason is the broker's own; an operator may mend the user meanwhile."""
    scheme, _, rest = broker_url.partition("://")
    url = f"{scheme}://nobody:s3cret@{rest.rpartition('@')[2]}"

    async def ready(connection: Connection) -> None:
        """Never comes."""

    task = asyncio.create_task(Link(url, "stranger", ready).run())
    await asyncio.sleep(2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "ACCESS_REFUSED" in caplog.text
    assert "trying again (2)" in caplog.text
    assert "s3cret" not in caplog.text


async def test_a_conflict_of_topology_ends_the_link(broker_url: str, wire_prefix: str) -> None:
    """An exchange of another type than ours is for an operator: the link does not go on."""
    name = f"{wire_prefix}.odd"
    connection = await Connection.connect(broker_url, name="test")
    await connection.declare_exchange(name, "fanout")
    await connection.close()

    async def ready(connection: Connection) -> None:
        await connection.declare_exchange(name, "topic")

    with pytest.raises(TopologyConflict, match="inequivalent arg"):
        await Link(broker_url, "conflict", ready).run()


async def test_what_ready_can_do_without_costs_a_connection_and_no_wait(broker_url: str) -> None:
    """AnotherConnection is made at once."""
    made: list[int] = []
    link: Link

    async def ready(connection: Connection) -> None:
        made.append(link.generation)
        if len(made) < 3:
            with pytest.raises(Refused) as refused:
                await connection.declare_queue("nobody-has-this", {}, passive=True)
            assert refused.value.code == 404
            raise AnotherConnection("the queue is not there")

    link = Link(broker_url, "another", ready)
    task = asyncio.create_task(link.run())
    async with asyncio.timeout(20):
        await link.wait_up()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert made == [1, 2, 3]
