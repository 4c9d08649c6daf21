"""Which publication a confirm, a nack or a return speaks of."""

import asyncio

from amends_amqp.publications import Publication, Publications
from amends_contracts.amqp import AmqpMessage, PublishResult

CONFIRMED, RETURNED, UNKNOWN = (
    PublishResult.CONFIRMED,
    PublishResult.RETURNED,
    PublishResult.UNKNOWN,
)


def published(publications: Publications, *ids: str, mandatory: bool = True) -> Publication:
    """Messages with these ids, published together."""
    publication = Publication(len(ids), asyncio.get_running_loop().create_future())
    for index, message_id in enumerate(ids):
        message = AmqpMessage(
            exchange="e", routing_key="r", body=b"", message_id=message_id, mandatory=mandatory
        )
        publications.add(publication, index, message)
    return publication


async def test_confirms_come_in_any_order_and_in_numbers() -> None:
    """Single ones, all up to a tag, and a nack, which leaves it unknown."""
    publications = Publications()
    first, second = published(publications, "a", "b", "c"), published(publications, "d", "e")
    publications.confirmed(2, multiple=False, positive=True)
    publications.confirmed(4, multiple=True, positive=True)
    assert first.done.done()
    assert first.results == [CONFIRMED] * 3
    assert not second.done.done()
    publications.confirmed(5, multiple=False, positive=False)
    assert second.done.done()
    assert second.results == [CONFIRMED, UNKNOWN]


async def test_a_return_is_a_fact_whatever_the_confirm_says() -> None:
    """The broker confirms what it has returned: nobody has it all the same."""
    publications = Publications()
    publication = published(publications, "a", "b")
    publications.returned("b")
    publications.confirmed(2, multiple=True, positive=True)
    assert publication.results == [CONFIRMED, RETURNED]


async def test_of_two_under_one_id_the_first_published_was_returned() -> None:
    """A message published again while the first is still in doubt."""
    publications = Publications()
    first, second = published(publications, "a"), published(publications, "a")
    publications.returned("a")
    publications.confirmed(1, multiple=False, positive=True)
    publications.confirmed(2, multiple=False, positive=True)
    assert (first.results, second.results) == ([RETURNED], [CONFIRMED])


async def test_the_end_of_a_channel_leaves_doubt_and_lets_nobody_wait() -> None:
    """What was settled stays so."""
    publications = Publications()
    publication = published(publications, "a", "b", mandatory=False)
    publications.confirmed(1, multiple=False, positive=True)
    publications.end()
    assert publication.done.done()
    assert publication.results == [CONFIRMED, UNKNOWN]
    publications.confirmed(2, multiple=False, positive=True)
    assert publication.results == [CONFIRMED, UNKNOWN]
