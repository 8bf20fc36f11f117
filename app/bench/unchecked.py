"""`python -m app.bench.unchecked serve`: Hindsight without what it checks of each request, to measure what that costs.

The form of documents is not among it: that is checked once for all requests that send the same one.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import orjson

from app import cli
from app.api import http, operations
from app.api.permissions import Demands


class Unwatched(nullcontext[Any]):
    """A block of work that may take as long as it likes, for whomever."""

    def __init__(self, *_args: object) -> None:
        super().__init__(self)

    def all_received(self) -> None:
        """Nobody waits for that."""


async def admit(*_args: object) -> None:
    """Everybody may do everything."""


CHECKS = (
    (http, "Watch", Unwatched),
    (http, "decoded", lambda text, _what: orjson.loads(text)),
    (operations, "_check_limits", lambda *_: None),
    (Demands, "admit", admit),
)
"""What stands in for each: deadline and disconnects, nesting, price, permissions. A setting turns off counting requests."""


def main() -> None:
    """The command `hindsight`, without them."""
    for owner, name, nothing in CHECKS:
        getattr(owner, name)  # or it is not checked there any more
        setattr(owner, name, nothing)
    cli.main()


if __name__ == "__main__":
    main()
