"""A moment in the history of a stream."""

from __future__ import annotations

from datetime import datetime

import msgspec

from app.errors import BadInput


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly one of: just after a version of the stream, a position of the log, or all that occurred by a timestamp."""

    version: int | None = None
    position: int | None = None
    timestamp: datetime | None = None

    def __post_init__(self) -> None:
        given = [name for name in self.__struct_fields__ if getattr(self, name) is not None]
        if len(given) != 1:
            raise BadInput("moment", f"takes exactly one of version, position and timestamp, not {' and '.join(given) or 'none'}")
        if self.version is not None and self.version < 0:
            raise BadInput("version", f"counts from 1, with 0 for before the first event; {self.version} is no version")
        if self.position is not None and self.position < 0:
            raise BadInput("position", f"counts from 1, with 0 for before the first event; {self.position} is no position")
        if self.timestamp is not None and self.timestamp.utcoffset() is None:
            raise BadInput("timestamp", f"needs an offset, such as Z or +02:00; {self.timestamp.isoformat()} has none")
