"""The directory at two moments: everybody who differs, once, and what differs about them."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from tests.api.conftest import Api

pytestmark = pytest.mark.anyio

COMPARE = """query ($from: AsOf!, $to: AsOf!, $filter: UserFilter, $first: Int, $after: String, $last: Int) {
    compare(from: $from, to: $to, filter: $filter, first: $first, after: $after, last: $last) {
        nodes { userId kind before { username status } after { username status } fields { field before after } }
        totalCount pageInfo { hasNextPage endCursor }
    }
}"""


class Month(NamedTuple):
    """Ann stays as she is, Bob changes and back, Cid gets a role and a name, Dan is deleted, Eve is new and locked."""

    tenant: str
    role: str
    ids: dict[str, str]
    begin: dict[str, int]
    end: dict[str, int]


@pytest.fixture
async def month(api: Api) -> Month:
    tenant = await api.tenant()
    role = await api.role(tenant, "reader", "read")
    ids = {name: await api.user(tenant, name) for name in ("ann", "bob", "cid", "dan")}
    await api.done("updateUserProfile", id=ids["bob"], fullName="Bob")
    begin = (await api.ask("{ head }"))["head"]
    await api.done("updateUserProfile", id=ids["bob"], fullName="Robert")
    await api.done("updateUserProfile", id=ids["bob"], fullName="Bob")
    await api.done("updateUserProfile", id=ids["cid"], fullName="Cid")
    await api.done("assignRoles", id=ids["cid"], roleIds=[role])
    await api.done("deleteUser", id=ids["dan"])
    ids["eve"] = await api.user(tenant, "eve")
    locked = await api.done("lockUser", id=ids["eve"], reason="who is that")
    return Month(tenant, role, ids, {"position": begin}, {"position": locked["position"]})


async def compared(api: Api, month: Month, begin: Any, end: Any, **filter: Any) -> dict[str, Any]:
    asked = {"from": begin, "to": end, "filter": {"tenantId": month.tenant, **filter}}
    names = {id: name for name, id in month.ids.items()}
    return {names[each["userId"]]: each for each in (await api.ask(COMPARE, **asked))["compare"]["nodes"]}


async def test_who_appeared_disappeared_and_changed(api: Api, month: Month) -> None:
    found = await compared(api, month, month.begin, month.end)
    assert {name: each["kind"] for name, each in found.items()} == {"cid": "CHANGED", "dan": "DISAPPEARED", "eve": "APPEARED"}
    assert found["cid"]["fields"] == [
        {"field": "fullName", "before": None, "after": "Cid"},
        {"field": "roleIds", "before": [], "after": [month.role]},
    ]
    assert (found["dan"]["before"], found["dan"]["after"]) == ({"username": "dan", "status": "ACTIVE"}, None)
    assert (found["eve"]["before"], found["eve"]["after"]) == (None, {"username": "eve", "status": "LOCKED"})
    assert {"field": "username", "before": None, "after": "eve"} in found["eve"]["fields"]


async def test_the_filter_counts_at_each_of_the_moments(api: Api, month: Month) -> None:
    with_role = await compared(api, month, month.begin, month.end, roleId=month.role)
    assert {name: each["kind"] for name, each in with_role.items()} == {"cid": "APPEARED"}
    all_of_them = await compared(api, month, month.begin, month.end, includeDeleted=True)
    assert {name: each["kind"] for name, each in all_of_them.items()} == {"cid": "CHANGED", "dan": "CHANGED", "eve": "APPEARED"}
    assert {"field": "status", "before": "ACTIVE", "after": "DELETED"} in all_of_them["dan"]["fields"]


async def test_moments_may_be_times(api: Api, month: Month) -> None:
    begun = {"timestamp": "2020-01-01T00:00:00Z"}
    found = await compared(api, month, begun, month.begin)
    assert {name: each["kind"] for name, each in found.items()} == dict.fromkeys(("ann", "bob", "cid", "dan"), "APPEARED")
    found = await compared(api, month, month.begin, {"timestamp": "2120-01-01T00:00:00Z"})
    assert set(found) == {"cid", "dan", "eve"}
    assert await compared(api, month, month.begin, month.begin) == {}


async def test_each_comes_once_page_by_page(api: Api, month: Month) -> None:
    asked = {"from": month.begin, "to": month.end, "filter": {"tenantId": month.tenant}, "first": 1}
    seen, after = [], None
    for _ in range(3):
        page = (await api.ask(COMPARE, **asked, after=after))["compare"]
        assert page["totalCount"] == 3
        seen += [each["userId"] for each in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
    assert not page["pageInfo"]["hasNextPage"]
    assert seen == sorted(month.ids[name] for name in ("cid", "dan", "eve"))
    (last,) = (await api.ask(COMPARE, **{**asked, "first": None, "last": 1}))["compare"]["nodes"]
    assert last["userId"] == seen[-1]


async def test_a_span_that_ends_before_it_starts_is_refused(api: Api, month: Month) -> None:
    early, late = "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"
    for begin, end in ((month.end, month.begin), ({"timestamp": late}, {"timestamp": early})):
        refused = await api.refused(COMPARE, **{"from": begin, "to": end})
        assert refused["code"] == "BAD_USER_INPUT"
        assert refused["message"].startswith("from: is after `to`")
