"""Checks of the form of what a client sends; whether it may be done is the domain's affair."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import phonenumbers
from email_validator import EmailNotValidError, validate_email

from app.api.problems import Problem, invalid, not_allowed, problem
from app.errors import NotFound
from app.security.passwords import broken_rule

NO_ID = UUID(int=0)


class Checks:
    """Checks the fields of one input and collects what is wrong with all of them, so that a client learns it at once.

    A check answers with the value in its normal form; with something of the same type when it is wrong, for then
    nothing is done with it.
    """

    def __init__(self, *path: str) -> None:
        self.path: Sequence[str] = path
        self.problems: list[Problem] = []

    def wrong(self, field: str, rule: str) -> None:
        self.problems.append(invalid([*self.path, *field.split(".")], rule))

    def refused(self, field: str, lacking: str) -> None:
        """The caller lacks what it takes to give that field."""
        self.problems.append(not_allowed([*self.path, field], lacking))

    def not_found(self, what: str, id: UUID) -> None:
        """What the input is about is not there."""
        self.problems.append(problem(NotFound(what, id), self.path))

    def id(self, field: str, text: str) -> UUID:
        """A UUID."""
        try:
            return UUID(text)
        except ValueError:
            self.wrong(field, f"an id is a UUID, and {text!r} is none")
            return NO_ID

    def ids(self, field: str, texts: Sequence[str]) -> tuple[UUID, ...]:
        """UUIDs."""
        return tuple(self.id(f"{field}.{place}", text) for place, text in enumerate(texts))

    def email(self, text: str) -> str:
        """An address after RFC 5322 with a domain that could exist. No DNS is asked."""
        try:
            return validate_email(text, check_deliverability=False).normalized
        except EmailNotValidError as error:
            self.wrong("email", f"{text!r} is no e-mail address: {error}")
            return text

    def phone(self, text: str | None) -> str | None:
        """A number with its country code, in the form E.164: +493012345678.

        It need only be possible, by its country and length: numbering plans grow faster than the library is updated.
        """
        if text is None:
            return None
        try:
            number = phonenumbers.parse(text)
        except phonenumbers.NumberParseException as error:
            self.wrong("phone", f"{text!r} is no phone number with its country code, such as +49 30 12345678: {error}")
            return text
        if not phonenumbers.is_possible_number(number):
            self.wrong("phone", f"{text!r} is no phone number: it is too short or too long for its country")
        return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)

    def password(self, text: str, field: str = "password") -> str:
        """A password of acceptable length."""
        if rule := broken_rule(text):
            self.wrong(field, rule)
        return text
