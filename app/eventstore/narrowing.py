"""One tenant's part of the database: the wall between tenants, through which every statement of a request goes.

A statement's text is rewritten so that each table that holds tenants' data is, to it, only the tenant's rows. PostgreSQL
folds such a subquery into the statement, so that it is planned as if it had been written with the condition. Whoever adds
a query need not think of tenants, and a table that is not known here is refused instead of shown.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

HOLDS_TENANTS_DATA = re.compile(r"read\.\w+|es\.(events|streams|history|snapshots)")
OF_ALL_TENANTS = frozenset({"es.generations", "es.dead_letters", "es.watermarks", "es.watermark_span"})
"""They say how far read tables and log are, and are looked at only with rows of the others, or by who sees all tenants."""

COLUMN = re.compile(r"\b(?:read|es)\.(\w+)\.")
"""`read.users.` before the name of a column, as SQLAlchemy writes it."""
RELATION = re.compile(r"\b((?:read|es)\.(\w+))(\([^()]*\))?(\s+AS\b)?")
"""A table, or a call of a function that returns one, with the word that gives it another name."""


def narrowed(sql: str, values: Sequence[Any], tenant_id: UUID) -> tuple[str, Sequence[Any]]:
    """The statement with all it reads narrowed to the tenant's rows. Raises ValueError for a table that is not known here."""
    text = _rewritten(sql, len(values) + 1)
    return (text, values) if text is sql else (text, (*values, tenant_id))


@lru_cache(1000)
def _rewritten(sql: str, number: int) -> str:
    """With one more parameter, of that number; the very text given where nothing is to be narrowed."""

    def of_tenant(found: re.Match[str]) -> str:
        relation, name, arguments, renamed = found.groups()
        if relation in OF_ALL_TENANTS:
            return found[0]
        if not HOLDS_TENANTS_DATA.fullmatch(relation):
            raise ValueError(f"{relation} is not known to hold one tenant's data: {sql}")
        condition = f"tenant_id = ${number}"
        if relation == "es.events":  # statements that look for events choose their index themselves
            condition = unforeseen(condition)
        return f"(SELECT * FROM {relation}{arguments or ''} WHERE {condition}){renamed or f' AS {name}'}"

    text = RELATION.sub(of_tenant, COLUMN.sub(r"\1.", sql))
    return text if f"${number}" in text else sql


def unforeseen(condition: str) -> str:
    """The same condition, but PostgreSQL expects every second row to meet it, and finds none by an index.

    Of what few events are said to meet it would rather sort all that some other index has.
    """
    return f"CASE WHEN {condition} THEN true END"
