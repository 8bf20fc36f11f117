"""Every error that Hindsight raises on purpose.

    HindsightError
    ├── Refusal                  a rule of an aggregate said no (each aggregate adds its own below this)
    ├── BadInput                 an argument breaks a rule; names the argument and the rule
    │   └── VersionPastEnd       a version was asked for that the stream has not reached
    ├── NotFound                 no stream with that id, or none of that type
    ├── VersionConflict          the stream moved on since the writer looked
    ├── AlreadyTaken             another stream holds the claim
    ├── IdempotencyMismatch      the same idempotency key came with another input
    ├── LoginElsewhere           no key here can sign a token
    ├── LoginFailed              username and password do not let anybody in; does not say why
    ├── SessionEnded             a refresh token is good for nothing any more
    ├── UnreadableEvent          a stored event cannot be decoded or folded
    │   └── UnknownEventType     no aggregate declares the type
    ├── ImportStopped            a line of an import is wrong; names the line and how many went in
    ├── ProjectionBehind         a projection did not reach a position in time
    ├── RebuildUnderWay          somebody else is rebuilding the projection; says how far that is
    ├── PassDied                 a process of a rebuild was killed
    ├── RebuildStopped           a rebuild was cancelled, or its result differs from what is live
    ├── DatabaseUnavailable      PostgreSQL does not answer
    └── ConfigurationError       a setting or the environment is wrong

A class's docstring is its default message. Its code, which clients see, comes from the class name.
"""

from __future__ import annotations

import re
from typing import ClassVar
from uuid import UUID


class HindsightError(Exception):
    """Something that Hindsight foresaw went wrong."""

    code: ClassVar[str] = "HINDSIGHT_ERROR"
    index: int | None = None
    """Which one failed, counted from 0, when several commands were to be carried out together."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "code" not in cls.__dict__:
            cls.code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).upper()

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])

    @property
    def message(self) -> str:
        """One sentence: what is wrong, where, and what to do."""
        return str(self.args[0])


class Refusal(HindsightError):
    """A rule said no; nothing was written."""


class BadInput(HindsightError):
    """An argument breaks a rule."""

    code = "BAD_USER_INPUT"

    def __init__(self, argument: str, rule: str) -> None:
        self.argument = argument
        self.rule = rule
        super().__init__(f"{argument}: {rule}")


class VersionPastEnd(BadInput):
    """The stream has not reached that version."""

    code = "BAD_USER_INPUT"

    def __init__(self, stream_id: UUID, version: int, last: int, argument: str = "version") -> None:
        self.stream_id = stream_id
        self.version = version
        self.last = last
        super().__init__(argument, f"{version} is past the end of stream {stream_id}, whose last version is {last}")

    def of(self, argument: str) -> VersionPastEnd:
        """The same, of the argument that named the moment."""
        return VersionPastEnd(self.stream_id, self.version, self.last, f"{argument}.version")


class NotFound(HindsightError):
    """There is no such thing."""

    def __init__(self, what: str, id: UUID | str) -> None:
        self.what = what
        self.id = id
        super().__init__(f"there is no {what} {id}")


class VersionConflict(HindsightError):
    """The stream moved on since the writer looked."""

    code = "CONFLICT"

    def __init__(self, stream_id: UUID, expected: int, actual: int) -> None:
        self.stream_id = stream_id
        self.expected = expected
        self.actual = actual
        super().__init__(f"stream {stream_id} is at version {actual}, not at the expected version {expected}")


class AlreadyTaken(HindsightError):
    """Another stream holds that value."""

    def __init__(self, kind: str, value: str, holder: UUID | None = None) -> None:
        self.kind = kind
        self.value = value
        self.holder = holder
        super().__init__(f"{kind} {value!r} is already taken")


class IdempotencyMismatch(HindsightError):
    """This idempotency key was used before with another input."""


class LoginElsewhere(HindsightError):
    """This service can tell tokens and makes none; log in where they are made."""


class LoginFailed(HindsightError):
    """Username and password do not let anybody in."""


class SessionEnded(HindsightError):
    """The session has ended; log in again."""


class UnreadableEvent(HindsightError):
    """A stored event cannot be decoded or folded."""


class UnknownEventType(UnreadableEvent):
    """No aggregate declares this event type."""

    def __init__(self, type: str, where: str = "") -> None:
        self.type = type
        super().__init__(f"unknown event type {type!r}{where and ' ' + where}")


class ImportStopped(HindsightError):
    """A line of the import is wrong."""

    def __init__(self, line: int, reason: str, imported: int, file: str = "") -> None:
        self.line = line
        self.reason = reason
        self.imported = imported
        self.file = file
        super().__init__(
            f"line {line}{file and f' of {file}'}: {reason}; "
            f"{imported} events went in before and stay, mend the line and run the same command again"
        )


class ProjectionBehind(HindsightError):
    """A projection did not reach the position in time."""

    def __init__(self, projection: str, wanted: int, reached: int) -> None:
        self.projection = projection
        self.wanted = wanted
        self.reached = reached
        super().__init__(
            f"projection {projection} is at position {reached}, {wanted - reached} behind the wanted {wanted}; try again shortly"
        )


class RebuildUnderWay(HindsightError):
    """Somebody else is rebuilding the projection."""

    def __init__(self, projection: str, progress: str) -> None:
        self.projection = projection
        super().__init__(f"projection {projection} is being rebuilt already: {progress}; wait for it, or cancel it")


class PassDied(HindsightError):
    """A process of a rebuild was killed."""

    def __init__(self, code: int) -> None:
        how = f"by signal {-code}" if code < 0 else f"with code {code}"
        super().__init__(f"a process of the rebuild ended {how}; ask for the rebuild again, and it goes on from where it was")


class RebuildStopped(HindsightError):
    """A rebuild ended without a switch; what queries see is untouched."""


class DatabaseUnavailable(HindsightError):
    """PostgreSQL does not answer; nothing is known to be lost, try again shortly."""


class ConfigurationError(HindsightError):
    """A setting or the environment is wrong."""
