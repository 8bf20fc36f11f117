"""Connections to PostgreSQL, and the reads that go over them.

asyncpg does the work; SQLAlchemy Core statements are compiled for it and the text is kept, so that a statement costs its
compilation once. `json` and `jsonb` travel as text in both directions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol, TypeAlias, cast
from uuid import UUID

import asyncpg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import LRUCache

from app.errors import ConfigurationError, DatabaseUnavailable
from app.eventstore.narrowing import narrowed

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"

Row: TypeAlias = asyncpg.Record

Query = str | sa.ClauseElement
"""SQL with $1, $2 … and as many arguments, or a Core statement with at most one argument, a mapping of its bindparams."""

SESSION = {
    "application_name": "hindsight",
    "default_transaction_isolation": "read committed",
    # Each query has an index to go by. A plan that reads the whole table because that is small today is kept while it grows.
    "enable_seqscan": "off",
    # What is wanted in an index's order is read in it, and not in that of another one that begins with the same column.
    "enable_incremental_sort": "off",
    "random_page_cost": "1.1",  # what is asked for again and again is in memory, where any page is as near as the next
    "jit": "off",  # it costs a short query far more than it saves
    "timezone": "UTC",
}

ROLE = "hindsight_tenant"
"""That row-level security holds back."""

OUTAGES = (
    OSError,  # refused, reset, timed out
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InternalClientError,  # asyncpg, in the instant after the server said goodbye: "another operation is in progress"
)


class Reads(Protocol):
    """Whatever answers queries: the database, or one snapshot of it."""

    walled: bool
    """Whether row-level security holds."""

    async def fetch(self, query: Query, *args: Any) -> list[asyncpg.Record]:
        """All rows."""

    async def fetchrow(self, query: Query, *args: Any) -> asyncpg.Record | None:
        """The first row, None without one."""

    async def fetchval(self, query: Query, *args: Any) -> Any:
        """The first column of the first row, None without one."""


class Database:
    """A pool of connections. Its reads each see the newest committed state; `snapshot` holds one state for several."""

    def __init__(
        self, pool: asyncpg.Pool, dsn: str, timeout: float, tenant_id: UUID | None = None, *, walled: bool = False
    ) -> None:
        """With a `tenant_id` its reads see that tenant's rows and no others; `walled`, by row-level security as well."""
        self.pool = pool
        self.tenant_id = tenant_id
        self.walled = walled
        self._dsn = dsn
        self._timeout = timeout

    @classmethod
    async def open(cls, url: str, *, pool_size: int = 10, timeout: float = 10.0) -> Database:  # noqa: ASYNC109 - kept for later calls too
        """Connect to a `postgresql://` URL. `timeout` is in seconds, for a connection and for each statement.

        Raises DatabaseUnavailable, and ConfigurationError when the server answers but refuses the URL's user or database.
        """
        dsn = driver_url(url)
        with outages_named(), refusals_named():
            pool = await asyncpg.create_pool(
                dsn,
                min_size=0,
                max_size=pool_size,
                timeout=timeout,
                command_timeout=timeout,
                server_settings=SESSION,
                reset=_left_clean,
            )
            async with pool.acquire():  # fail now rather than at the first request
                return cls(pool, dsn, timeout)

    def of_tenant(self, tenant_id: UUID, *, walled: bool = False) -> Database:
        """The same connections, but reads see that tenant's rows and no others.

        When `walled`, PostgreSQL's row-level security sees to that a second time: each read is in a transaction with the
        rights of a role that is shown that tenant's rows only.
        """
        return Database(self.pool, self._dsn, self._timeout, tenant_id, walled=walled)

    async def can_wall(self) -> bool:
        """Whether the role that row-level security needs is there, and this user may take it on."""
        found: bool = await self.fetchval(
            "SELECT coalesce((SELECT pg_has_role(oid, 'MEMBER') FROM pg_roles WHERE rolname = $1), false)", ROLE
        )
        return found

    async def close(self) -> None:
        """Wait for the connections in use and close them all."""
        await self.pool.close()

    async def connect(self) -> asyncpg.Connection:
        """A connection outside the pool, for one long-lived owner, who closes it. Raises DatabaseUnavailable."""
        with outages_named():
            return await asyncpg.connect(self._dsn, timeout=self._timeout, command_timeout=self._timeout, server_settings=SESSION)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection of the pool; an outage while it is held is raised as DatabaseUnavailable."""
        with outages_named():
            async with self.pool.acquire(timeout=self._timeout) as connection:
                yield connection

    async def fetch(self, query: Query, *args: Any) -> list[asyncpg.Record]:
        """All rows."""
        if self.walled:
            async with self.snapshot() as reads:
                return await reads.fetch(query, *args)
        sql, values = compiled(query, args, self.tenant_id)
        async with self.connection() as connection:
            return await connection.fetch(sql, *values)

    async def fetchrow(self, query: Query, *args: Any) -> asyncpg.Record | None:
        """The first row, None without one."""
        rows = await self.fetch(query, *args)
        return rows[0] if rows else None

    async def fetchval(self, query: Query, *args: Any) -> Any:
        """The first column of the first row, None without one."""
        row = await self.fetchrow(query, *args)
        return row[0] if row else None

    @asynccontextmanager
    async def snapshot(self, views: Sequence[str] = ()) -> AsyncIterator[Reads]:
        """One state of the database for all reads in the block, which may be made concurrently.

        The views show the same tables to the end of the block: tables that were filled since the state's moment look empty.
        """
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
        hold = f"; LOCK TABLE {', '.join(views)} IN ACCESS SHARE MODE" if views else ""
        wall = f"; SET LOCAL ROLE {ROLE}; SET LOCAL hindsight.tenant = '{self.tenant_id}'" if self.walled else ""
        async with self.connection() as connection:
            try:
                try:
                    await connection.execute(begin + hold + wall)  # one round trip, and before the first read sets the moment
                except asyncpg.UndefinedTableError:  # told by whoever reads the missing one; the others can be read
                    await connection.execute(f"ROLLBACK; {begin}{wall}")
                yield Transaction(connection, self.tenant_id, walled=self.walled)
            finally:
                await connection.execute("ROLLBACK")


class Transaction:
    """Reads within a transaction. A connection does one thing at a time, so concurrent reads take turns."""

    def __init__(self, connection: Connection, tenant_id: UUID | None = None, *, walled: bool = False) -> None:
        self.walled = walled
        self._connection = connection
        self._tenant_id = tenant_id
        self._turn = asyncio.Lock()

    async def fetch(self, query: Query, *args: Any) -> list[asyncpg.Record]:
        """All rows."""
        sql, values = compiled(query, args, self._tenant_id)
        async with self._turn:
            with outages_named():
                return await self._connection.fetch(sql, *values)

    async def fetchrow(self, query: Query, *args: Any) -> asyncpg.Record | None:
        """The first row, None without one."""
        rows = await self.fetch(query, *args)
        return rows[0] if rows else None

    async def fetchval(self, query: Query, *args: Any) -> Any:
        """The first column of the first row, None without one."""
        row = await self.fetchrow(query, *args)
        return row[0] if row else None


def driver_url(url: str) -> str:
    """The URL without the driver that SQLAlchemy's users write into it."""
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


@contextmanager
def outages_named() -> Iterator[None]:
    """Turns every way in which a connection fails into DatabaseUnavailable."""
    try:
        yield
    except OUTAGES as error:
        raise _unavailable(error) from error
    except asyncpg.InterfaceError as error:
        if any(word in str(error) for word in ("closed", "closing", "released back")):
            raise _unavailable(error) from error
        raise


def _unavailable(error: Exception) -> DatabaseUnavailable:
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return DatabaseUnavailable(f"PostgreSQL does not answer ({reason}); try again shortly")


@contextmanager
def refusals_named() -> Iterator[None]:
    """Turns a refused user, password or database name into ConfigurationError."""
    try:
        yield
    except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError, ValueError) as error:
        raise ConfigurationError(f"the database URL cannot be used: {error}") from error


async def _left_clean(_connection: Connection) -> None:
    """Spares the round trip of asyncpg's own reset: users of the pool leave no setting, lock, cursor or LISTEN behind."""


_DIALECT = PGDialect_asyncpg()  # type: ignore[no-untyped-call]  # as SQLAlchemy declares it
_COMPILED: LRUCache[Any, Any] = LRUCache(500)


def compiled(query: Query, args: Sequence[Any] = (), tenant_id: UUID | None = None) -> tuple[str, Sequence[Any]]:
    """SQL text and positional values for asyncpg; with a `tenant_id`, of a statement that sees that tenant's rows only."""
    sql, values = _compiled(query, args)
    return (sql, values) if tenant_id is None else narrowed(sql, values, tenant_id)


def _compiled(query: Query, args: Sequence[Any]) -> tuple[str, Sequence[Any]]:
    """As `compiled`, for all tenants.

    Statements that differ only in their values share one text, as they do in SQLAlchemy's own execution, whose steps
    these are (`DefaultExecutionContext._init_compiled`). Its value processors are left out: asyncpg takes every type as it is,
    and JSON is text already.
    """
    if isinstance(query, str):
        return query, args
    given: Mapping[str, Any] = args[0] if args else {}
    kept, extracted, collected, _ = query._compile_w_cache(_DIALECT, compiled_cache=_COMPILED, column_keys=[])
    compiler = cast(SQLCompiler, kept)
    values = compiler.construct_params(
        given, extracted_parameters=extracted, _collected_params=collected, escape_names=False, _no_postcompile=True
    )
    state = compiler._process_parameters_for_postcompile(values)
    return state.statement, state.positional_parameters
