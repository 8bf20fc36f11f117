"""Random events and commands, made from their fields' types, so that a new one is tried without being named here."""

from __future__ import annotations

from datetime import timedelta
from functools import cache, reduce
from operator import or_
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from tests.domain.given import ACME, ADMIN, CLOSED, ELSEWHERE, MIDNIGHT, NOWHERE, READER, RETIRED

MOMENTS = st.integers(0, 48).map(lambda hours: MIDNIGHT + timedelta(hours=hours))
FEW_OF_EACH = {
    # Few values, so that commands meet what is so already; some break a rule.
    str: st.sampled_from(["ada", "Ada", "eva ", "", "a\nb", "x" * 1001]),
    int: st.integers(0, 4),
    bool: st.booleans(),
    type(None): st.none(),
    type(MIDNIGHT): MOMENTS,
    timedelta: st.sampled_from([timedelta(hours=1), timedelta(days=1)]),
    type(NOWHERE): st.sampled_from([ACME.id, ADMIN.id, READER.id, CLOSED.id, RETIRED.id, ELSEWHERE.id, NOWHERE]),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type: a plain type, a state, a tuple of any length, or a union."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return anything((hint,))
    if get_origin(hint) is tuple:
        return st.lists(values(get_args(hint)[0]), max_size=3).map(tuple)
    if hint in FEW_OF_EACH:
        return FEW_OF_EACH[hint]
    return reduce(or_, (values(each) for each in get_args(hint)))


@cache
def anything(kinds: tuple[type[Any], ...]) -> st.SearchStrategy[Any]:
    """An event or command of one of these classes."""
    fields = {kind: {name: values(hint) for name, hint in get_type_hints(kind).items()} for kind in kinds}
    return st.one_of([st.builds(kind, **fields[kind]) for kind in kinds])


@cache
def several(kinds: tuple[type[Any], ...]) -> st.SearchStrategy[list[Any]]:
    """Up to five events or commands of these classes."""
    return st.lists(anything(kinds), max_size=5)
