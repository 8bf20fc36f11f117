"""Passwords are compared in threads that stand back, and a user who is not there costs as much as one who is."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import Any

import pytest
from argon2 import PasswordHasher, extract_parameters

from app.security.passwords import NICENESS, Passwords, recommended

pytestmark = pytest.mark.anyio

SWIFT = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""For tests that are not about the cost."""


@pytest.fixture
def passwords() -> Passwords:
    return Passwords(SWIFT)


async def test_a_password_matches_its_own_hash_only(passwords: Passwords) -> None:
    hash = await passwords.hash("correct horse")
    assert await passwords.matches("correct horse", hash)
    assert not await passwords.matches("correct horsE", hash)
    assert not await passwords.matches("correct horse", None)


async def test_the_same_text_composed_and_decomposed_is_one_password(passwords: Passwords) -> None:
    assert await passwords.matches("cafe\u0301 au lait", await passwords.hash("caf\u00e9 au lait"))


async def test_the_hash_is_what_owasp_recommends_in_one_lane() -> None:
    parameters = extract_parameters(await Passwords().hash("correct horse"))
    assert (parameters.type.name, parameters.time_cost, parameters.memory_cost, parameters.parallelism) == ("ID", 2, 19456, 1)


async def test_a_user_without_a_password_costs_a_comparison_with_the_parameters_of_today() -> None:
    asked: list[str] = []

    class Noting(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Any:
            asked.append(str(hash))
            return super().verify(hash, password)

    await Passwords(Noting(time_cost=2, memory_cost=16, parallelism=1)).matches("correct horse", None)
    (nobodys,) = asked
    assert nobodys.startswith("$argon2id$v=19$m=16,t=2,p=1$")
    assert len(nobodys) == len(PasswordHasher(time_cost=2, memory_cost=16, parallelism=1).hash("x"))


async def test_a_hash_with_parameters_of_the_past_is_outdated(passwords: Passwords) -> None:
    hash = await passwords.hash("correct horse")
    assert not passwords.is_outdated(hash)
    assert Passwords(recommended()).is_outdated(hash)


async def test_however_many_wait_few_are_hashed_at_once_and_the_threads_stand_back() -> None:
    at_once, most, niceness = 0, 0, set[int]()
    lock = threading.Lock()

    class Counting(PasswordHasher):
        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            nonlocal at_once, most
            with lock:
                at_once += 1
                most = max(most, at_once)
            niceness.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            made = super().hash(password, salt=salt)
            with lock:
                at_once -= 1
            return made

    passwords = Passwords(Counting(time_cost=1, memory_cost=8, parallelism=1), threads=2)
    await asyncio.gather(*(passwords.hash("correct horse") for _ in range(100)))
    assert most <= 2
    if sys.platform == "linux":
        assert niceness == {NICENESS}


async def test_who_gives_up_waiting_costs_nothing_more() -> None:
    begun, go_on = threading.Event(), threading.Event()
    hashed: list[str] = []

    class Held(PasswordHasher):
        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            hashed.append(str(password))
            begun.set()
            assert go_on.wait(60)
            return super().hash(password, salt=salt)

    passwords = Passwords(Held(time_cost=1, memory_cost=8, parallelism=1), threads=1)
    first = asyncio.create_task(passwords.hash("first"))
    await asyncio.to_thread(begun.wait)
    second = asyncio.create_task(passwords.hash("second"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    go_on.set()
    await first
    await passwords.hash("third")
    assert hashed == ["first", "third"]
