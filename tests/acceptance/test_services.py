"""Each service of the trip alone, through everything that may happen to its commands."""

from collections.abc import Awaitable, Callable

import asyncpg
import pytest

from amends_participants.testing import Kit, failed, given, succeeded
from trip import flights, hotels, mail, payments, tables
from trip.commands import BookHotel, ChargeCard, ReserveFlight, SendMail

World = Callable[[], Awaitable[object]]


@pytest.fixture(autouse=True)
def database(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The services find their database where programs find it."""
    monkeypatch.setenv("AMENDS_DATABASE_URL", database_url)
    return database_url


async def world_of(service: str, url: str, query: str) -> World:
    """A snapshot of a service's tables, which are there."""
    await tables.prepare(service, url)

    async def look() -> object:
        connection = await asyncpg.connect(url)
        try:
            return [tuple(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()

    return look


async def test_a_seat_is_held_once_and_freed_once(database_url: str) -> None:
    """Duplicates, crashes, the undo first: no seat is lost and none is held twice."""
    held = "SELECT code FROM flights.seat WHERE held_by IS NOT NULL"
    world = await world_of("flights", database_url, held)

    async with given(flights.app, database_url) as kit:
        await kit.check(ReserveFlight(traveller="ada", to="Lisbon"), world=world)


async def test_a_room_is_held_once_and_cancelled_once(database_url: str) -> None:
    """The same for rooms."""
    held = "SELECT number FROM hotels.room WHERE held_by IS NOT NULL"
    world = await world_of("hotels", database_url, held)

    async with given(hotels.app, database_url) as kit:
        await kit.check(BookHotel(city="Oslo", nights=2), world=world)


async def test_a_mail_goes_out_once(database_url: str) -> None:
    """Its effect is outside: the mail server knows the key."""
    world = await world_of("mail", database_url, "SELECT recipient, text FROM mail.sent")

    async with given(mail.app, database_url) as kit:
        await kit.check(SendMail(to="ada@example.com", text="Your seat"), world=world)


async def test_money_is_taken_once_and_paid_back_once(database_url: str) -> None:
    """The balance is what was not refunded."""
    balances = "SELECT balance FROM payments.account WHERE traveller = 'ada' AND balance <> 5000"
    world = await world_of("payments", database_url, balances)

    async with given(payments.app, database_url) as kit:
        await kit.check(ChargeCard(traveller="ada", usd=120, memo="trip"), world=world)


async def test_what_cannot_be_had_is_refused_and_nothing_is_undone(database_url: str) -> None:
    """Sold out, declined: `failed`, and the undo has nothing to do."""
    async with given(flights.app, database_url) as kit:
        await refused(kit, ReserveFlight(traveller="ada", to="Nowhere"), "sold-out")
    async with given(hotels.app, database_url) as kit:
        await refused(kit, BookHotel(city="Venice", nights=2), "sold-out")
    async with given(payments.app, database_url) as kit:
        await refused(kit, ChargeCard(traveller="broke", usd=120, memo="trip"), "declined")


async def refused(kit: Kit, command: ReserveFlight | BookHotel | ChargeCard, problem: str) -> None:
    """The command fails for good; its compensation acknowledges."""
    step = kit.command(command)
    await step.action().expect_reply(failed(problem, retryable=False))
    await step.compensation().expect_reply(succeeded())


async def test_a_greylisted_mail_is_tried_again(database_url: str) -> None:
    """The mail server says no to the first attempt and yes to the second."""
    async with given(mail.app, database_url) as kit:
        step = kit.command(SendMail(to="ada@greylist.example", text="Your seat"))
        await step.action().expect_reply(failed("greylisted", retryable=True))
        await step.action(2).expect_reply(succeeded())
