"""The database: SQLite in the data folder, or PostgreSQL by URL; its tables are made by migrations."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, OperationalError
from sqlalchemy.orm import Session

from aberra.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

BUSY = 20.0
"""Seconds that SQLite waits for another writer."""

MAPPED = 1 << 28
"""Bytes of the file that SQLite reads without copying: a search in texts looks at all of an index."""

MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """Transactions that read, and such that write.

    SQLite has one writer at a time: a transaction that will write says so when it begins, and
    waits, instead of failing when it first writes.

    Args:
        url: of SQLAlchemy, as in ``postgresql+psycopg://reader@host/aberra``.

    Raises:
        ConfigError: the URL cannot be used.
    """

    def __init__(self, url: str) -> None:
        try:
            self.engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
            self.shown = make_url(url).render_as_string(hide_password=True)
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise ConfigError(
                f"--database: cannot be used ({error}); expected sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME, "
                "the latter with `pip install 'aberra[postgresql]'`"
            ) from error
        if self.is_sqlite:
            _prepare_sqlite(self.engine)
        self._writer = self.engine.execution_options(write=True)

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that changes nothing."""
        with Session(self.engine) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that is whole when the body ends, or not there."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def migrate(self) -> None:
        """Bring the tables to this version's form.

        Raises:
            ConfigError: the database cannot be reached, or a newer version has made it.
        """
        from alembic import command
        from alembic.util import CommandError

        try:
            with self.engine.begin() as connection:
                command.upgrade(alembic_config(connection), "head")
        except OperationalError as error:
            raise ConfigError(
                f"{self.shown}: cannot be reached ({error.orig}); is the database running?"
            ) from error
        except CommandError as error:
            raise ConfigError(
                f"{self.shown}: made by a newer version of aberra ({error}); update aberra"
            ) from error

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()


def alembic_config(connection: Connection) -> Any:
    """What Alembic asks for, without a file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where SQLAlchemy says, below
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            f"busy_timeout={BUSY * 1000:.0f}",
            f"mmap_size={MAPPED}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        write = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
