"""Passwords: hashed by Argon2id, away from the event loop."""

from __future__ import annotations

import os

from anyio import CapacityLimiter, to_thread
from argon2 import PasswordHasher

SHORTEST = 8
LONGEST = 1024
"""In characters. The upper bound keeps hashing cheap to refuse; no person reaches it."""


class Passwords:
    """Hashes passwords in threads, no more at once than the machine has cores: each takes a core and 64 MiB for a while."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher()  # RFC 9106's second recommended parameters
        self._cores = CapacityLimiter(os.cpu_count() or 1)

    async def hash(self, password: str) -> str:
        """The Argon2id hash, in the encoded form that names its parameters."""
        return await to_thread.run_sync(self._hasher.hash, password, limiter=self._cores)


def broken_rule(password: str) -> str | None:
    """The rule that the password breaks, None when it may be used."""
    if len(password) < SHORTEST:
        return f"a password has at least {SHORTEST} characters"
    if len(password) > LONGEST:
        return f"a password has at most {LONGEST} characters"
    return None
