"""A bank with accounts, in the participant's database: the effects that tests count."""

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

TABLES = (
    "CREATE TABLE account (name text PRIMARY KEY, usd integer NOT NULL CHECK (usd >= 0))",
    "CREATE TABLE done (n serial, key text NOT NULL, what text NOT NULL)",
    "INSERT INTO account SELECT 'a' || n, 100 FROM generate_series(1, 20) n",
)


class World:
    """What a test can see of the participant's effects."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"))

    async def create(self, conn: AsyncConnection) -> None:
        """Its tables."""
        for statement in TABLES:
            await conn.execute(text(statement))

    async def balance(self, account: str = "a1") -> int:
        """What an account holds."""
        async with self.engine.connect() as conn:
            found = await conn.execute(
                text("SELECT usd FROM account WHERE name = :n"), {"n": account}
            )
            return int(found.scalar_one())

    async def total(self) -> int:
        """What all accounts hold."""
        async with self.engine.connect() as conn:
            return int((await conn.execute(text("SELECT sum(usd) FROM account"))).scalar_one())

    async def done(self, key: str) -> list[str]:
        """What was done under an action's key, in order."""
        async with self.engine.connect() as conn:
            found = await conn.execute(
                text("SELECT what FROM done WHERE key = :k ORDER BY n"), {"k": key}
            )
            return list(found.scalars())

    async def scalar(self, statement: str) -> object:
        """One value of anything."""
        async with self.engine.connect() as conn:
            return (await conn.execute(text(statement))).scalar_one()
