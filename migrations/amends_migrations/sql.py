"""What the migrations share: running the SQL file that stands beside a migration."""

from pathlib import Path
from typing import Any, Final

from alembic import op
from sqlalchemy import text

_LOCK_TIMEOUT: Final = "5s"


def run_file(name: str) -> None:
    """Run `versions/<name>` in the migration's transaction.

    A lock that is not had within 5 s fails the migration (it can be run again at any time): one
    that waits would make every later query of that table wait behind it.
    """
    bind = op.get_bind()
    bind.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))  # also begins
    script = (Path(__file__).parent / "versions" / name).read_text(encoding="utf-8")
    adapted = bind.connection.dbapi_connection
    assert adapted is not None
    # Several statements in one string: only the simple protocol takes them.

    def execute(driver: Any) -> Any:
        return driver.execute(script)

    adapted.run_async(execute)
