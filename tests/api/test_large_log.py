"""Every question of an auditor, asked of a directory of 100,000 users with 1,000,000 events: none scans a table or a partition.

What the server asks of PostgreSQL meanwhile is noted and explained, once as it is planned for its values and once as PostgreSQL
plans a statement that it has carried out a few times. What a plan touches is bounded by the page, not by the log.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
from asyncpg.connection import LoggedQuery

from app.demo import history
from app.domain.user_events import EmailChanged, RolesAssigned
from app.embedded import running
from app.eventstore.bulk import Fact, append_bulk
from app.eventstore.database import Connection
from app.eventstore.migrate import migrate
from app.rebuilding import catch_up
from tests.api.conftest import Api, serving
from tests.conftest import UNSAFE_BUT_FAST

pytestmark = [pytest.mark.anyio, pytest.mark.long]

USERS, EVENTS = 100_000, 1_000_000
LARGE = re.compile(r"(events_from|(users|users_history|user_names|role_members|logins|event_stats)_g|streams$|claims$)")
ASKS_FOR_ALL = "eventStats(filter: {  })"
"""Without any condition: it may go through the counts, of which there is a row a month, as it likes."""
SELECT = re.compile(r"\s*(SELECT|WITH)\b")
MOST_ROWS = 25_000
"""That one step of a plan may touch, whether it keeps them or not."""
MOST_PAGES = 25_000
"""Of 8 KiB, that a whole statement may read. The log has 40,000, the users' temporal twin 60,000."""
UNTIL_IT_IS_KEPT = 6
"""How often PostgreSQL makes a plan of a statement's values before it thinks of one for all values."""


class Large(NamedTuple):
    """The service, and what there is to ask about."""

    api: Api
    given: dict[str, Any]


@pytest.fixture(scope="module")
async def large() -> AsyncIterator[Large]:
    bin_dir = os.environ.get("HINDSIGHT_TEST_POSTGRES_BIN")
    with (
        tempfile.TemporaryDirectory(prefix="hindsight-tests-") as folder,
        running(Path(folder), Path(bin_dir) if bin_dir else None, UNSAFE_BUT_FAST) as url,
    ):
        await migrate(url)
        async with serving(url, run_projections=False, rate_limit=0) as api:
            store = api.backend.store
            await append_bulk(store, with_much_work_as_one(history(store.codec, users=USERS, events=EVENTS, seed=1)))
            await catch_up(store, api.backend.engine)
            async with store.database.connection() as connection:
                await connection.execute("VACUUM (ANALYZE)", timeout=600)
            yield Large(api, await something_to_ask_about(api))


def with_much_work_as_one(facts: Iterable[Fact]) -> Iterator[Fact]:
    """The facts, the last third of which are part of one piece of work, as if somebody had imported them."""
    for number, fact in enumerate(facts):
        late = number >= EVENTS // 3 * 2
        yield msgspec.structs.replace(fact, metadata={**fact.metadata, "correlationId": "import"}) if late else fact


async def something_to_ask_about(api: Api) -> dict[str, Any]:
    """Values for the variables of the questions."""
    store = api.backend.store
    moments: dict[str, Any] = {}
    for name, position in (("early", EVENTS // 20), ("middle", EVENTS // 2), ("late", EVENTS // 20 * 19)):
        (event,) = await store.read(position - 1, 1)
        time = event.occurred_at.isoformat()
        moments |= {
            f"{name}P": {"position": position},
            f"{name}T": {"timestamp": time},
            f"{name}Time": time,
            f"{name}Day": time[:10],
        }
    some = await store.read(EVENTS // 2, 1_000)
    own = next(each for each in some if isinstance(each.event, EmailChanged))
    given = next(each for each in some if isinstance(each.event, RolesAssigned) and each.tenant_id == own.tenant_id)
    user = await store.load(own.stream_id)
    assert user
    assert isinstance(given.event, RolesAssigned)
    role = await store.load(given.event.role_ids[0])
    assert role
    return moments | {
        "user": str(user.id),
        "username": user.state.username,
        "prefix": user.state.username[:9],
        "email": user.state.email,
        "tenant": str(user.tenant_id),
        "role": str(role.id),
        "roleName": role.state.name,
        "permission": role.state.permissions[0],
        "event": str(own.event_id),
        "cause": str(own.event_id),
        "own": own.metadata["actor"],
        "correlation": own.metadata["correlationId"],
        "from": own.position,
        "to": own.position + 500,
        "since": own.occurred_at.isoformat(),
        "until": (own.occurred_at + timedelta(days=1)).isoformat(),
        "day": own.occurred_at.date().isoformat(),
        "laterDay": (own.occurred_at + timedelta(days=7)).date().isoformat(),
    }


TYPES = {
    "Moment": ("earlyP", "earlyT", "middleP", "middleT", "lateP", "lateT"),
    "ID": ("user", "tenant", "role", "event"),
    "Position": ("from", "to"),
    "DateTime": ("since", "until", "earlyTime", "lateTime"),
    "Date": ("day", "laterDay", "earlyDay", "lateDay"),
}
TYPE_OF = {name: type for type, names in TYPES.items() for name in names}
MOMENTS = TYPES["Moment"]


def users(filter: str = "", order: str = "CREATED_AT", direction: str = "ASC", page: str = "first: 50, after: $after") -> str:
    return (
        f"users({page}, filter: {{ {filter} }}, orderBy: [{{ field: {order}, direction: {direction} }}])"
        " { nodes { id username roles { name } } pageInfo { endCursor } }"
    )


def as_of(moment: str, list: str) -> str:
    return list.replace("(", f"(asOf: ${moment}, ", 1)


def events(filter: str, order: str, page: str = "first: 50, after: $after") -> str:
    return f"events({page}, order: {order}, filter: {{ {filter} }}) {{ nodes {{ id type data }} pageInfo {{ endCursor }} }}"


def of_user(fields: str, at: str = "") -> str:
    return f"user(id: $user{at}) {{ {fields} }}"


FROM_THE_END = "last: 50"
ORDERS = ("CREATED_AT", "UPDATED_AT", "USERNAME", "EMAIL")
BOTH = ("ASC", "DESC")
OF_TENANT = ("", "tenantId: $tenant")
USER_FILTERS = (
    "ids: [$user]",
    "username: $username",
    "tenantId: $tenant, username: $username",
    "usernamePrefix: $prefix",
    "email: $email",
    "search: $username",
    "status: LOCKED",
    "tenantId: $tenant, status: DELETED",
    "createdAfter: $since, createdBefore: $until",
)
STATUS_FILTERS = (
    "not: { status: ACTIVE }",
    "tenantId: $tenant, not: { status: ACTIVE }",
    "status: LOCKED, createdBefore: $earlyTime",
    "tenantId: $tenant, status: LOCKED, createdAfter: $since",
    "or: [{ status: LOCKED }, { status: DELETED }], createdAfter: $since, createdBefore: $until",
)
ROLE_FILTERS = ("roleId: $role", "tenantId: $tenant, roleName: $roleName")
OF_ANY = ("", "tenantId: $tenant, ", "types: [EmailChanged], ", "types: [UserDeleted, RoleRetired], ", 'actor: "people", ')
SPANS = ("occurredAfter: $lateTime", "occurredBefore: $earlyTime", "occurredAfter: $earlyTime, occurredBefore: $since")
EVENT_FILTERS = (
    "",
    "types: [EmailChanged]",
    "types: [EmailChanged, UserDeleted, RoleRetired]",
    "tenantId: $tenant",
    "tenantId: $tenant, types: [UserRestored]",
    "tenantId: $tenant, types: [EmailChanged, UserDeleted, RoleRetired]",
    "streamId: $user",
    "streamId: $user, types: [EmailChanged, RolesAssigned]",
    "actor: $own",
    'actor: "people"',
    "actor: $own, types: [LoginInfoUpdated]",
    'actor: "people", types: [RoleDefined, UserDeleted]',
    'actor: "people", types: [EmailChanged, LoginInfoUpdated, PasswordChanged, RolesAssigned, UserCreated, UserRestored]',
    'tenantId: $tenant, actor: "people"',
    "tenantId: $tenant, actor: $own",
    'tenantId: $tenant, actor: "people", types: [RoleDefined]',
    'tenantId: $tenant, actor: "people", types: [UserCreated, UserDeleted]',
    "correlationId: $correlation",
    'correlationId: $correlation, actor: "people"',
    'correlationId: "import"',
    'correlationId: "import", types: [UserDeleted]',
    'correlationId: "import", types: [RoleDefined, TenantCreated]',
    "causationId: $cause",
    "occurredAfter: $since, occurredBefore: $until",
    "tenantId: $tenant, occurredAfter: $since, occurredBefore: $until",
    *(f"{more}{span}" for more, span in product(OF_ANY, SPANS)),
    "fromPosition: $from, toPosition: $to",
    "types: [EmailChanged], fromPosition: $from",
    "tenantId: $tenant, toPosition: $to",
)
HISTORY_FILTERS = (
    "",
    "types: [LoginInfoUpdated, EmailChanged]",
    "actor: $own",
    'actor: "people", types: [UserCreated, EmailChanged]',
    "occurredAfter: $since, occurredBefore: $until",
    "correlationId: $correlation",
)
A_DAY = "from: { timestamp: $since }, to: { timestamp: $until }"
LONG = (
    f"from: {{ position: {EVENTS // 20} }}, to: {{ position: {EVENTS // 20 * 19} }}",
    "from: { timestamp: $earlyTime }, to: { timestamp: $lateTime }",
    f"from: {{ position: {EVENTS // 2} }}, to: {{ timestamp: $lateTime }}",
)
STATS = "total byType { type count } byTenant { count } byDay { day count }"
OF_A_WEEK = "fromDay: $day, toDay: $laterDay"
OF_YEARS = "fromDay: $earlyDay, toDay: $lateDay"
OF_COUNTED = ("", "tenantId: $tenant, ", "types: [EmailChanged], ", "types: [UserDeleted, EmailChanged], tenantId: $tenant, ")


def questions() -> Iterator[str]:
    """Root fields whose arguments are variables named as in `something_to_ask_about`."""
    for order, direction, tenant in product(ORDERS, BOTH, OF_TENANT):
        yield users(tenant, order, direction)
        yield users(tenant, order, direction, FROM_THE_END)
    for order, direction, tenant, moment in product(ORDERS, BOTH, OF_TENANT, MOMENTS):
        yield as_of(moment, users(tenant, order, direction))
        yield as_of(moment, users(tenant, order, direction, FROM_THE_END))
    yield from map(users, (*USER_FILTERS, *STATUS_FILTERS, *ROLE_FILTERS))
    for filter, moment in product((*USER_FILTERS, *STATUS_FILTERS), MOMENTS):
        yield as_of(moment, users(filter))
    for order, tenant, moment in product(ORDERS, OF_TENANT, MOMENTS):
        yield as_of(moment, users(f"{tenant} status: DELETED", order))
    for order, direction, moment in product(("CREATED_AT", "USERNAME"), BOTH, MOMENTS):
        yield as_of(moment, users("status: LOCKED", order, direction))
        yield as_of(moment, users("not: { status: ACTIVE }", order, direction, FROM_THE_END))
    for filter, moment in product(ROLE_FILTERS, MOMENTS):
        yield as_of(moment, users(filter, page="first: 10, after: $after"))  # of which there is one in 25 users
    for moment in MOMENTS:
        at = f", at: ${moment}"
        yield of_user("username roles { name } permissions tenant { name } blame { field } changes { field }", at)
        yield f"role(id: $role) {{ members(asOf: ${moment}, first: 50) {{ nodes {{ id }} }} }}"
        yield f"role(id: $role) {{ members(asOf: ${moment}, last: 50) {{ nodes {{ id }} }} }}"
        yield f"userByUsername(asOf: ${moment}, username: $username) {{ id }}"
        yield f"roles(asOf: ${moment}, first: 50) {{ nodes {{ name }} }}"
        yield f"tenants(asOf: ${moment}) {{ nodes {{ name }} }}"
        yield f"accessProof(userId: $user, at: ${moment}, permission: $permission) {{ granted }}"
        yield f"accessProof(userId: $user, at: ${moment}, roleId: $role) {{ granted roles {{ given {{ id }} }} }}"
        yield of_user(f"changes(to: ${moment}) {{ field }} replay(at: ${moment}) {{ version differences {{ field }} }}")
    yield of_user("blame { field } changes { field } replay(useSnapshot: false) { version differences { field } }")
    for filter, order, page in product(HISTORY_FILTERS, ("OLDEST_FIRST", "NEWEST_FIRST"), ("first", "last")):
        yield of_user(f"history({page}: 50, order: {order}, filter: {{ {filter} }}) {{ nodes {{ id }} }}")
    for filter, order in product(EVENT_FILTERS, ("OLDEST_FIRST", "NEWEST_FIRST")):
        yield events(filter, order)
        yield events(filter, order, FROM_THE_END)
    yield "event(id: $event) { causes { id } effects { id } }"
    yield "head"
    for filter, moments in product(OF_TENANT, ("from: { position: $from }, to: { position: $to }", A_DAY, *LONG)):
        page = f"{moments}, first: 50, after: $after, filter: {{ {filter} }}"
        yield f"compare({page}) {{ nodes {{ kind }} pageInfo {{ endCursor }} }}"
    for span, more in product(("", OF_A_WEEK, OF_YEARS, "fromDay: $day", "toDay: $day"), OF_COUNTED):
        yield f"eventStats(filter: {{ {more}{span} }}) {{ {STATS} }}"


def document(question: str) -> tuple[str, list[str]]:
    """The question with its variables declared, and their names but for the cursor's."""
    question = re.sub(r"types: \[([^\]]*)\]", lambda found: "types: " + json.dumps(found[1].split(", ")), question)
    names = sorted(set(re.findall(r"\$(\w+)", question)) - {"after"})
    of_list = re.search(r"asOf: \$(\w+)", question)
    declared = [f"${name}: {'AsOf' if of_list and of_list[1] == name else TYPE_OF.get(name, 'String')}!" for name in names]
    declared += ["$after: String"] if "$after" in question else []
    variables = f"({', '.join(declared)})" if declared else ""
    return f"query {variables} {{ asked: {question} }}", names


@pytest.mark.parametrize("of", ["all tenants", "one tenant"])
@pytest.mark.parametrize("question", list(questions()))
async def test_it_touches_no_more_than_its_page(large: Large, question: str, of: str) -> None:
    text, names = document(question)
    variables = {name: large.given[name] for name in names}
    limits = {"tenant_id": UUID(large.given["tenant"])} if of == "one tenant" else {"all_tenants": True}
    headers = {"authorization": large.api.bearer("auditor", {"*"}, **limits)}
    answer, statements = await large.api.logged(text, headers, **variables)
    assert "errors" not in answer, answer
    if "$after" in question and (cursor := answer["data"]["asked"]["pageInfo"]["endCursor"]):
        _, further = await large.api.logged(text, headers, **variables, after=cursor)
        statements += further
    selects = [each for each in statements if SELECT.match(each.query)]
    assert selects
    async with large.api.backend.store.database.connection() as connection:
        for each in selects:
            for plan in (await planned_for_its_values(connection, each), await planned_as_kept(connection, each)):
                assert list(too_much(plan, all_counts=question.startswith(ASKS_FOR_ALL))) == [], (question, each.query)


async def planned_for_its_values(connection: Connection, statement: LoggedQuery) -> dict[str, Any]:
    explained = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.query}", *statement.args)
    return dict(json.loads(explained)[0]["Plan"])


async def planned_as_kept(connection: Connection, statement: LoggedQuery) -> dict[str, Any]:
    values = f"({', '.join(map(literal, statement.args))})" if statement.args else ""
    await connection.execute(f"PREPARE kept AS {statement.query}")
    try:
        for _ in range(UNTIL_IT_IS_KEPT):
            await connection.execute(f"EXECUTE kept {values}")
        explained = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE kept {values}")
    finally:
        await connection.execute("DEALLOCATE kept")
    return dict(json.loads(explained)[0]["Plan"])


def literal(value: Any) -> str:
    """A value as it stands in SQL."""
    if value is None:
        return "NULL"
    text = f"{{{','.join(map(element, value))}}}" if isinstance(value, (list, tuple, set)) else str(value)
    return "'" + text.replace("'", "''") + "'"


def element(value: Any) -> str:
    return "NULL" if value is None else json.dumps(str(value), ensure_ascii=False)


def too_much(plan: dict[str, Any], *, all_counts: bool) -> Iterator[str]:
    """What a plan does that grows with the table."""
    pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    if pages > MOST_PAGES:
        yield f"reads {pages:,} pages"
    for step in steps([plan]):
        table, loops = step.get("Relation Name", ""), step["Actual Loops"]
        removed = sum(step.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck"))
        rows = round((step["Actual Rows"] + removed) * loops)
        whole = step["Node Type"] == "Seq Scan" and not (all_counts and table.startswith("event_stats_g"))
        if LARGE.match(table) and (whole or rows > MOST_ROWS):
            yield f"{step['Node Type']} of {table}: {rows:,} rows"


def steps(plans: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for plan in plans:
        yield plan
        yield from steps(plan.get("Plans", ()))
