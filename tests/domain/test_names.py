"""What a text must be like to be a name, and when two names are the same."""

from contextlib import suppress
from unicodedata import normalize

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.names import (
    BadText,
    TextIsEmpty,
    TextIsNotOneLine,
    TextIsTooLong,
    checked,
    checked_if_given,
    normalise,
    without_repeats,
)


@given(st.text())
@example("ß")
@example("İ")
@example("ﬃ \u0345")
def test_normalising_twice_changes_nothing_more(name: str) -> None:
    assert normalise(normalise(name)) == normalise(name)


@given(st.text())
def test_composed_and_decomposed_spellings_are_one_name(name: str) -> None:
    assert normalise(normalize("NFC", name)) == normalise(normalize("NFD", name))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada", "ADA"),
        ("Straße", "STRASSE"),
        ("\uff21da", "ada"),
        ("ﬁn", "FIN"),
        ("Σίσυφος", "ΣΊΣΥΦΟΣ"),
        ("e\u0301va", "\u00c9VA"),
        (" ada\u00a0", "ada"),
    ],
)
def test_these_are_one_name(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(("one", "other"), [("ada", "ad\u0430"), ("eva", "éva"), ("a da", "ada")])
def test_these_are_two_names(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(st.text(), st.integers(1, 10))
def test_a_checked_text_is_short_trimmed_and_on_one_line(text: str, longest: int) -> None:
    with suppress(BadText):
        name = checked("name", text, longest=longest)
        assert name == text.strip()
        assert 1 <= len(name) <= longest
        assert name.splitlines() == [name]
        assert name.encode().decode() == name


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u00a0\u3000"])
def test_nothing_but_space_is_no_name(text: str) -> None:
    with pytest.raises(TextIsEmpty, match="the full name must not be empty"):
        checked("full_name", text, longest=200)


def test_length_counts_what_is_left_without_the_space_around() -> None:
    assert checked("name", "  " + "x" * 200 + "\n", longest=200) == "x" * 200


def test_a_name_that_is_too_long_is_told_by_how_much() -> None:
    with pytest.raises(TextIsTooLong, match="the name has 201 characters; shorten it to 200"):
        checked("name", "x" * 201, longest=200)


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\0", "\x1b", "\x85", "\u2028", "\u2029", "\ud800"])
def test_a_control_character_is_named_by_its_place(character: str) -> None:
    with pytest.raises(TextIsNotOneLine, match="the name has a line break or control character at place 3"):
        checked("name", f"ab{character}c", longest=200)


def test_a_text_that_is_not_given_is_not_checked() -> None:
    assert checked_if_given("phone", None, longest=1) is None
    with pytest.raises(TextIsEmpty):
        checked_if_given("phone", "", longest=1)


def test_repeats_go_and_the_order_stays() -> None:
    assert without_repeats(["b", "a", "b", "c", "a"]) == ("b", "a", "c")
