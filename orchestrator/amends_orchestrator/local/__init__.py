"""Private Postgres and RabbitMQ on this machine, for `amends up`, the demo and the tests.

`servers` is the way in. Everything here is synchronous subprocess code: from async code call it
through `asyncio.to_thread`. Nothing here belongs into production.
"""
