"""Passwords: hashed by Argon2id, away from the event loop."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from unicodedata import normalize

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

SHORTEST = 8
LONGEST = 1024
"""In characters. The upper bound keeps hashing cheap to refuse; no person reaches it."""

NICENESS = 10
"""How much the hashing threads stand back for everything else that the machine does."""

T = TypeVar("T")


def recommended() -> PasswordHasher:
    """2 passes over 19 MiB in one lane, so that a hash takes one core and not all of them: what OWASP recommends.

    https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html#argon2id
    """
    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class Passwords:
    """Hashes passwords and compares them, in as few threads as half the cores."""

    def __init__(self, hasher: PasswordHasher | None = None, threads: int | None = None) -> None:
        self._hasher = hasher or recommended()
        self._threads = ThreadPoolExecutor(
            threads or max(1, (os.cpu_count() or 1) // 2), thread_name_prefix="passwords", initializer=_stand_back
        )
        self._nobodys = _of_no_password(self._hasher)

    async def hash(self, password: str) -> str:
        """The Argon2id hash, in the encoded form that names its parameters."""
        return await self._in_thread(lambda: self._hasher.hash(_prepared(password)))

    async def matches(self, password: str, hash: str | None) -> bool:
        """Whether the hash is the password's. Without a hash it is not, which takes as long to find out."""
        return await self._in_thread(lambda: self._verified(password, hash or self._nobodys)) and hash is not None

    def is_outdated(self, hash: str) -> bool:
        """Whether the hash was made with other parameters than those of today."""
        return self._hasher.check_needs_rehash(hash)

    def _verified(self, password: str, hash: str) -> bool:
        try:
            return self._hasher.verify(hash, _prepared(password))
        except VerifyMismatchError:
            return False

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def broken_rule(password: str) -> str | None:
    """The rule that the password breaks, None when it may be used."""
    if len(password) < SHORTEST:
        return f"a password has at least {SHORTEST} characters"
    if len(password) > LONGEST:
        return f"a password has at most {LONGEST} characters"
    return None


def _of_no_password(hasher: PasswordHasher) -> str:
    """A hash that takes as long as any to compare with and that no password has."""
    salt, digest = (b64encode(os.urandom(size)).decode().rstrip("=") for size in (hasher.salt_len, hasher.hash_len))
    return f"$argon2id$v=19$m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}${salt}${digest}"


def _prepared(password: str) -> str:
    """The same text for the same keys pressed, whatever the keyboard made of them: RFC 8265, 4.2."""
    return normalize("NFC", password)


def _stand_back() -> None:
    if sys.platform == "linux":  # elsewhere a priority is the whole process's
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
