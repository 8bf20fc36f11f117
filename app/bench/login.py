"""Reads over HTTP while passwords are guessed, against the same reads in peace."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Sequence
from functools import partial

import asyncpg

from app.bench.load import graphql, load
from app.bench.query import CONNECTIONS, USER
from app.bench.report import Line, Slices, in_turns, line
from app.bench.scratch import Scratch
from app.bench.served import EVENTS, served
from app.settings import Settings

GUESSERS = 100
WANTED = 0.5
SLICES = Slices(rounds=8, seconds=1.0)
"""A slice lasts until the last guess is answered, which takes the longer the more of them wait to be hashed."""

LOGIN = """mutation ($input: LoginInput!) { login(input: $input) { accessToken problems { code } } }"""


async def measure(
    settings: Settings, scratch: Scratch, *, slices: Slices = SLICES, events: int = EVENTS, guessers: int = GUESSERS
) -> AsyncGenerator[Line]:
    """A line for guesses at one account, and one for guesses at many."""
    async with served(settings, scratch, events) as server:
        user, login = graphql(server.url, USER), graphql(server.url, LOGIN)
        read = partial(
            load,
            server.url,
            lambda: user(id=random.choice(server.user_ids)),
            expected=b'"user":{"id":"',
            connections=CONNECTIONS,
        )

        async def in_peace() -> float:
            return rate(await read(slices.seconds))

        async def attacked(usernames: Sequence[str]) -> float:
            def guess() -> bytes:
                return login(input={"username": random.choice(usernames), "password": f"guess {random.random()}"})

            guesses = load(server.url, guess, slices.seconds, expected=b'"LOGIN_FAILED"', connections=guessers)
            readings, _ = await asyncio.gather(read(slices.seconds), guesses)
            return rate(readings)

        names = await _usernames(server.database_url)
        for whom, usernames in (("one account", names[:1]), ("many accounts", names)):
            measured, limit = await in_turns(partial(attacked, usernames), in_peace, rounds=slices.rounds)
            yield line(f"user(id) while {guessers} guess at the password of {whom}", measured, limit, "the same in peace", WANTED)


def rate(done: Sequence[float]) -> float:
    """Answers a second over the whole slice: what guesses hold up counts, be it in a few places only."""
    return (len(done) - 1) / (done[-1] - done[0])


async def _usernames(database_url: str) -> list[str]:
    connection = await asyncpg.connect(database_url)
    try:
        return [row[0] for row in await connection.fetch("SELECT value FROM es.claims WHERE kind = 'username' ORDER BY value")]
    finally:
        await connection.close()
