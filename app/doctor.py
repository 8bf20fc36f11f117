"""`hindsight doctor`: what is configured, reachable, behind or wrong."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import msgspec
from redis import RedisError

from app.errors import ConfigurationError, HindsightError
from app.eventstore.database import Database
from app.eventstore.migrate import missing_migrations
from app.process import in_loop, server
from app.settings import PREFIX, Settings, load_settings
from app.wiring import Service, service
from projections.engine import ProjectionStatus

OLDEST_POSTGRESQL = 15
FOR_TESTS = f"{PREFIX}TEST_"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    ok: bool
    what: str
    finding: str


def examine(overrides: Mapping[str, Any]) -> list[Finding]:
    """All findings, in the order in which one thing depends on another; what cannot be looked at any more is left out."""
    try:
        settings = load_settings(**overrides)
    except ConfigurationError as error:
        return [Finding(False, "settings", error.message)]
    return [_settings(settings), *_database(settings)]


def _settings(settings: Settings) -> Finding:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    given = {name for name in os.environ if name.startswith(PREFIX) and not name.startswith(FOR_TESTS)}
    if strangers := sorted(given - known):
        return Finding(False, "settings", f"no setting has the name {', '.join(strangers)}; there are {', '.join(sorted(known))}")
    changed = ", ".join(sorted(settings.model_fields_set)) or "none"
    return Finding(True, "settings", f"set: {changed}; all others have their defaults")


def _database(settings: Settings) -> list[Finding]:
    where = "HINDSIGHT_DATABASE_URL" if settings.database_url else f"PostgreSQL of its own in {settings.data_dir}"
    try:
        with server(settings) as url:
            return in_loop(lambda: _collect(_in_database(settings, url, where)))
    except HindsightError as error:
        return [Finding(False, "database", f"{where}: {error.message}")]


async def _collect(findings: AsyncIterator[Finding]) -> list[Finding]:
    return [finding async for finding in findings]


async def _in_database(settings: Settings, url: str, where: str) -> AsyncIterator[Finding]:
    database = await Database.open(url, pool_size=2, timeout=settings.deadline_ms / 1000)
    try:
        version = int(await database.fetchval("SHOW server_version_num")) // 10_000
        yield Finding(version >= OLDEST_POSTGRESQL, "database", f"{where}: PostgreSQL {version}")
    finally:
        await database.close()
    missing = await missing_migrations(url)
    yield Finding(not missing, "migrations", f"missing: {', '.join(missing)}; run `hindsight migrate`" if missing else "newest")
    if not missing:
        async with service(settings, url, run_projections=False) as parts:
            for finding in [await _log(parts), await _snapshots(parts), await _cache(parts), *await _projections(parts)]:
                yield finding


async def _log(service: Service) -> Finding:
    head = await service.store.head()
    last = await service.store.read(head - 1, 1) if head else []
    return Finding(True, "log", f"{head:,} events, the last recorded at {last[0].recorded_at:%F %T}Z" if last else "empty")


async def _snapshots(service: Service) -> Finding:
    stats = await service.store.states.snapshots.stats(service.database)
    ignored = f"; {stats.of_other_code:,} by other code, `hindsight snapshots prune` drops them" if stats.of_other_code else ""
    return Finding(True, "snapshots", f"{stats.snapshots:,} of {stats.streams:,} streams, {stats.bytes:,} bytes{ignored}")


async def _cache(service: Service) -> Finding:
    """What a process holds is its own affair, `cacheStats` asks it; but what Redis has found, it found for all."""
    own = f"{service.settings.cached_states:,} states a process"
    if service.redis is None:
        return Finding(True, "cache", f"{own}; no Redis is set")
    try:
        found: dict[str, int] = await service.redis.info("stats")
    except (RedisError, OSError) as error:
        return Finding(False, "cache", f"{own}; Redis does not answer, which makes reads slower: {error}")
    hits, misses = found["keyspace_hits"], found["keyspace_misses"]
    rate = f"{hits / (hits + misses):.0%}" if hits + misses else "nothing yet"
    return Finding(True, "cache", f"{own}; Redis answers, of what all its clients looked for it found {rate}")


async def _projections(service: Service) -> Iterator[Finding]:
    """A read table that is behind is a problem only when its engine says so: somebody may be about to catch it up."""
    return (
        Finding(not each.error and not each.parked, f"projection {each.name}", each.error or _standing(each))
        for each in await service.engine.status()
    )


def _standing(projection: ProjectionStatus) -> str:
    parked = f"; parked keys: {projection.parked:,}, `hindsight dead-letters list` shows why" if projection.parked else ""
    return f"{projection.status}, {projection.lag:,} events behind{parked}"
