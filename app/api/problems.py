"""Problems: the failures that a mutation foresees, returned as data in its payload."""

from __future__ import annotations

from collections.abc import Sequence

import strawberry
from strawberry.utils.str_converters import to_camel_case

from app import errors

# What a claim's kind is called where a client gives its value.
FIELD_OF_CLAIM = {"roleName": "name"}


@strawberry.interface(description="Why a mutation did not do what was asked. It then wrote nothing.")
class Problem:
    code: str = strawberry.field(description="A constant for programs, such as `ALREADY_TAKEN`.")
    message: str = strawberry.field(description="A sentence for people, with the facts.")
    path: list[str] = strawberry.field(description='The part of the arguments that it is about, such as `["input", "email"]`.')


@strawberry.type(description="The thing has changed since the caller looked: load it again and decide anew.")
class Conflict(Problem):
    expected_version: int = strawberry.field(description="The version that the caller expected.")
    actual_version: int = strawberry.field(description="The version that the thing has.")


@strawberry.type(description="Another user, role or tenant holds a value that must be unique.")
class AlreadyTaken(Problem):
    field: str = strawberry.field(description="Which field holds the value.")
    value: str = strawberry.field(description="The value in the form in which it is compared.")


@strawberry.type(description="A value of the input does not have the form that it must have.")
class Invalid(Problem):
    pass


@strawberry.type(description="What the mutation should change is not there.")
class NotFound(Problem):
    pass


@strawberry.type(description="A rule forbids it, in the state in which things are. The code says which rule.")
class Refused(Problem):
    pass


@strawberry.type(description="The idempotency key was used before, with another input. Use a new key for a new intent.")
class IdempotencyMismatch(Problem):
    pass


@strawberry.type(description="The caller lacks the permission.")
class NotAllowed(Problem):
    pass


PROBLEM_TYPES = (Conflict, AlreadyTaken, Invalid, NotFound, Refused, IdempotencyMismatch, NotAllowed)

Foreseen = (
    errors.VersionConflict
    | errors.AlreadyTaken
    | errors.BadInput
    | errors.NotFound
    | errors.Refusal
    | errors.IdempotencyMismatch
    | errors.LoginElsewhere
    | errors.LoginFailed
    | errors.SessionEnded
    | errors.RebuildUnderWay
    | errors.RebuildStopped
)


def invalid(path: Sequence[str], message: str) -> Invalid:
    """A value at that path breaks the rule of its form."""
    return Invalid(code="INVALID", message=message, path=list(path))


def not_allowed(path: Sequence[str], lacking: str) -> NotAllowed:
    """The caller lacks what it takes."""
    return NotAllowed(code="NOT_ALLOWED", message=lacking, path=list(path))


def problem(error: Foreseen, path: Sequence[str] = ("input",)) -> Problem:
    """The problem that a client is told; `path` leads to the input of the command that raised the error."""
    code, message = error.code, error.message

    def at(*field: str) -> list[str]:
        return [*path, *field]

    match error:
        case errors.VersionConflict():
            return Conflict(
                code=code,
                message=message,
                path=at("expectedVersion"),
                expected_version=error.expected,
                actual_version=error.actual,
            )
        case errors.AlreadyTaken():
            field = FIELD_OF_CLAIM.get(error.kind, error.kind)
            return AlreadyTaken(code=code, message=message, path=at(field), field=field, value=error.value)
        case errors.BadInput():
            return invalid(at(*error.argument.split(".")), error.rule)
        case errors.NotFound():
            return NotFound(code=code, message=message, path=at("id"))
        case errors.IdempotencyMismatch():
            return IdempotencyMismatch(code=code, message=message, path=at("idempotencyKey"))
        case errors.LoginElsewhere() | errors.LoginFailed() | errors.SessionEnded():
            return Refused(code=code, message=message, path=at())
        case errors.RebuildUnderWay() | errors.RebuildStopped():
            return Refused(code=code, message=message, path=at("projection"))
        case errors.Refusal():
            field = getattr(error, "field", "")
            return Refused(code=code, message=message, path=at(to_camel_case(field)) if field else at())
