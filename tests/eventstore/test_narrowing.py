"""The wall between tenants: what a statement becomes, and what is refused."""

from __future__ import annotations

from uuid import UUID

import pytest

from app.eventstore.database import compiled
from app.eventstore.moment import Moment
from app.eventstore.narrowing import narrowed
from projections import users
from projections.users import UserFilter

TENANT = UUID(int=1)


@pytest.mark.parametrize(
    ("sql", "becomes"),
    [
        (
            "SELECT id FROM read.users WHERE id = ANY ($1)",
            "SELECT id FROM (SELECT * FROM read.users WHERE tenant_id = $2) AS users WHERE id = ANY ($1)",
        ),
        (
            "SELECT read.users.id FROM read.users, es.events AS e WHERE read.users.id = e.stream_id AND e.type = $1",
            "SELECT users.id FROM (SELECT * FROM read.users WHERE tenant_id = $2) AS users,"
            " (SELECT * FROM es.events WHERE CASE WHEN tenant_id = $2 THEN true END) AS e"
            " WHERE users.id = e.stream_id AND e.type = $1",
        ),
        (
            "SELECT * FROM es.history($1)",
            "SELECT * FROM (SELECT * FROM es.history($1) WHERE tenant_id = $2) AS history",
        ),
    ],
    ids=["a table", "two, one by another name", "a function"],
)
def test_all_that_is_read_is_the_tenants(sql: str, becomes: str) -> None:
    assert narrowed(sql, ["x"], TENANT) == (becomes, ("x", TENANT))


@pytest.mark.parametrize("sql", ["SELECT 1", "SELECT live FROM es.generations WHERE es.generations.live"])
def test_what_holds_no_tenants_data_is_left_alone(sql: str) -> None:
    assert narrowed(sql, [], TENANT) == (sql, [])


@pytest.mark.parametrize("relation", ["es.commands", "es.credentials", "es.append_events($1)", "es.something_new"])
def test_a_table_that_is_not_known_is_refused(relation: str) -> None:
    with pytest.raises(ValueError, match="is not known to hold one tenant's data"):
        narrowed(f"SELECT * FROM {relation}", [], TENANT)


def test_composed_statements_are_narrowed_in_their_subqueries_too() -> None:
    query, _ = users.filtered(UserFilter(role_name="admin", search="ann"), Moment(position=7))
    sql, values = compiled(query, (), TENANT)
    assert sql.count(f"WHERE tenant_id = ${len(values)})") == 5  # users now and then, roles, members, names
    assert values[-1] == TENANT
    assert "read.users_history." not in sql
