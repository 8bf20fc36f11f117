"""The benchmarks measure what they say: their tests look at the work done, never at the time it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from statistics import median

import asyncpg
import pytest

from app.bench import append, attacks, history, hostile, imports, limits, login, mutate, query, rebuild, subscribe
from app.bench.load import WrongAnswer, graphql, load
from app.bench.report import Slices, at_most, in_turns, line, paces
from app.bench.scratch import Scratch, scratch
from app.process import patient
from app.settings import Settings
from tests.test_transfer import LINES, file_of

pytestmark = pytest.mark.anyio

MOMENT = 0.01
BRIEF = Slices(rounds=1, seconds=MOMENT)
FEW = 200
SETTINGS = patient(Settings())


@pytest.fixture
async def databases(postgres: str) -> AsyncIterator[Scratch]:
    async with scratch(postgres) as maker:
        yield maker


async def names(postgres: str) -> list[str]:
    connection = await asyncpg.connect(postgres)
    try:
        return [row[0] for row in await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'hindsight_bench%'")]
    finally:
        await connection.close()


def test_a_line_has_the_medians_and_their_ratio() -> None:
    made = line("work", [1, 100, 30], [10, 2_000, 60], "limit", wanted=0.5)
    assert (made.measured, made.limit, made.ratio, made.met) == (30, 60, 0.5, True)
    assert line("work", [29], [60], "limit", wanted=0.5).met is False
    assert line("work", [29], [60], "limit").met is None


def test_what_is_good_when_small_has_the_ratio_to_its_limit() -> None:
    made = at_most("work", 25, 50, "limit")
    assert (made.measured, made.limit, made.ratio, made.met) == (25, 50, 2, True)
    assert at_most("work", 51, 50, "limit").met is False


async def test_measurements_take_turns() -> None:
    turn = count(1)

    async def measurement() -> float:
        return next(turn)

    assert await in_turns(measurement, measurement, rounds=3) == [[1, 3, 5], [2, 4, 6]]


def test_the_pace_is_that_of_groups_and_one_slow_group_does_not_move_its_median() -> None:
    assert paces([0.0, 1.0, 2.0, 2.5, 3.0, 9.0], 2) == [1.0, 2.0]
    assert paces([0.0, 0.5], 32) == [2.0]
    stalled = [0.0, 1.0, 2.0, 60.0, 61.0, 62.0]
    assert median(paces(stalled, 1)) == 1.0


async def test_scratch_databases_are_migrated_and_dropped(postgres: str) -> None:
    async with scratch(postgres) as maker:
        connection = await asyncpg.connect(await maker.fresh())
        assert await connection.fetchval("SELECT count(*) FROM es.events") == 0
        await connection.close()
        assert len(await names(postgres)) == 2
    assert await names(postgres) == []


async def test_the_limits_write_rows_of_the_log(databases: Scratch) -> None:
    source, target = await databases.fresh(), await databases.fresh()
    async with limits.one_row_inserts(source, 2) as inserts:
        done = len(await inserts(MOMENT)) + len(await inserts(MOMENT)) - 2
    rows = await limits.log_rows(source)
    assert [row[0] for row in rows] == list(range(1, done + 1))
    assert await limits.copy(target, rows) > 0
    assert await limits.log_rows(target) == rows


async def test_appends_are_measured_for_each_number_of_clients(databases: Scratch) -> None:
    lines = [line async for line in append.measure(SETTINGS, databases, slices=BRIEF)]
    assert [line.wanted for line in lines] == [0.35, 0.8, 1.0]
    assert all(line.measured > 0 and line.limit > 0 for line in lines)


async def test_the_import_of_a_given_file_is_measured(databases: Scratch, tmp_path: Path) -> None:
    lines = [line async for line in imports.measure(SETTINGS, databases, file_of(tmp_path, LINES))]
    assert [line.work for line in lines] == ["bulk append, 300 events", "import of events.jsonl, read tables caught up"]


async def test_reads_are_measured_over_http(databases: Scratch) -> None:
    lines = [line async for line in query.measure(SETTINGS, databases, slices=BRIEF, events=FEW)]
    assert [line.wanted for line in lines] == [0.25, 0.85, 0.85, 0.25]


async def test_rebuilds_are_measured(databases: Scratch) -> None:
    lines = [line async for line in rebuild.measure(SETTINGS, databases, 1_000, rounds=1, appends=10)]
    assert [line.wanted for line in lines] == [0.5, 0.25, 1.4, 1.0, 0.15, 1.0]
    assert all(line.measured > 0 and line.limit > 0 for line in lines)


async def test_looking_back_is_measured(databases: Scratch) -> None:
    lines = [line async for line in history.measure(SETTINGS, databases, 1_000, slices=BRIEF)]
    wanted = [10, 50, 1 / 3, *[0.5] * 12, 1 / 1.5, 0.1, 0.1, 1 / 1.3]
    assert [line.wanted for line in lines] == wanted
    assert all(line.measured > 0 and line.limit > 0 for line in lines)


async def test_writes_are_measured_over_http(databases: Scratch) -> None:
    (line,) = [line async for line in mutate.measure(SETTINGS, databases, slices=BRIEF, events=FEW)]
    assert line.measured > 0


async def test_reads_are_measured_while_passwords_are_guessed(databases: Scratch) -> None:
    lines = [line async for line in login.measure(SETTINGS, databases, slices=BRIEF, events=FEW, guessers=2)]
    assert [line.wanted for line in lines] == [0.5, 0.5]
    assert all(line.measured > 0 and line.limit > 0 for line in lines)


async def test_hostile_requests_end_as_they_must_and_take_little_memory(databases: Scratch) -> None:
    """Against a process of its own, over real sockets: one that ends otherwise raises, and so does a wrong answer meanwhile."""
    lines = [
        line
        async for line in hostile.measure(
            SETTINGS, databases, slices=BRIEF, times=1, events=5_000, attack=2 * len(attacks.HOSTILE), patience_ms=500
        )
    ]
    *each, rate, delay = lines
    assert [line.limit for line in each] == [50.0, 10.0] * len(attacks.HOSTILE)
    assert all(line.measured <= line.limit for line in each if line.work.endswith("MB of memory at most"))
    assert (rate.wanted, delay.limit) == (0.2, 250.0)


async def test_a_hostile_request_that_ends_otherwise_is_told() -> None:
    async with answering([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"]) as url:
        host, _, port = url.removeprefix("http://").strip("/").rpartition(":")
        with pytest.raises(WrongAnswer, match="a fragment bomb of depth 30 was answered: HTTP"):
            await attacks.send((host, int(port)), attacks.HOSTILE[0], 1)


async def test_subscriptions_are_measured_and_each_gets_each_event(databases: Scratch) -> None:
    lines = [line async for line in subscribe.measure(SETTINGS, databases, subscribers=5, events=100, per_second=500)]
    assert [line.limit for line in lines] == [2_500.0, 250.0, 250.0, 1.0, 256.0]
    assert all(line.measured > 0 for line in lines)


@pytest.mark.parametrize("told", [[2], [1, 3], [1, 1], [2, 1]])
async def test_a_subscriber_who_misses_something_says_so(told: list[int]) -> None:
    subscriber = subscribe.Subscriber("hindsight", after=0, events=3)
    subscriber.begun.set_result(None)
    subscriber.data_received(b"".join(b'{"events":{"position":%d}}' % position for position in told))
    with pytest.raises(WrongAnswer, match="a subscriber was told"):
        await subscriber.done


@asynccontextmanager
async def answering(pieces: Iterable[bytes]) -> AsyncIterator[str]:
    """A server that answers every request alike, in pieces."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.rpartition(b"content-length: ")[2]))
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    async with server:
        yield f"http://{host}:{port}/"


@pytest.mark.parametrize(
    "pieces",
    [
        [b'HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{"user":"me"}'],
        [b"HTTP/1.1 200 OK\r\ncontent-", b'length: 13\r\nx: y\r\n\r\n{"user"', b':"me"}'],
    ],
)
async def test_answers_are_counted_however_they_arrive(pieces: list[bytes]) -> None:
    async with answering(pieces) as url:
        began, *done = await load(url, graphql(url, "{ user }"), MOMENT, expected=b'"user"', connections=2)
        assert len(done) >= 2
        assert [began, *done] == sorted([began, *done])


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 13\r\n\r\n" + b'{"user":"me"}',
        b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n" + b'{"errors":[]}',
    ],
)
async def test_a_wrong_answer_stops_the_load(answer: bytes) -> None:
    async with answering([answer]) as url:
        with pytest.raises(WrongAnswer, match="the server answered: HTTP"):
            await load(url, graphql(url, "{ user }"), MOMENT, expected=b'"user"', connections=1)
