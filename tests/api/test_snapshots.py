"""Snapshots over GraphQL: what is kept, how much it spares a replay, and what an operator does about them."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.api.conftest import Api, serving

pytestmark = pytest.mark.anyio

REPLAY = """query ($id: ID!, $use: Boolean, $at: Moment) { user(id: $id) {
    replay(useSnapshot: $use, at: $at) { version eventsRead state differences { field } }
} }"""
SNAPSHOTS = "query ($id: ID!) { user(id: $id) { snapshots { version position occurredAt madeAt reason bytes usable } } }"
CREATE = """mutation ($id: ID!, $reason: String!) { createSnapshot(input: {id: $id, reason: $reason, clientMutationId: "me"}) {
    snapshot { version reason } problems { __typename code message path } clientMutationId
} }"""
STATS = "{ snapshotStats { snapshots streams ofOtherCode byHand bytes oldest newest } }"


async def test_a_replay_with_and_without(still: Api) -> None:
    id = await still.user(await still.tenant(), "ann")
    await still.done("updateUserProfile", id=id, fullName="Ann A")
    made = (await still.ask(CREATE, id=id, reason="an audit"))["createSnapshot"]
    assert made == {"snapshot": {"version": 2, "reason": "an audit"}, "problems": [], "clientMutationId": "me"}
    await still.done("updateUserProfile", id=id, fullName="Ann B")
    whole = (await still.ask(REPLAY, id=id, use=False))["user"]["replay"]
    short = (await still.ask(REPLAY, id=id))["user"]["replay"]
    assert (whole["eventsRead"], short["eventsRead"]) == (3, 1)
    assert whole | {"eventsRead": 1} == short
    assert (short["version"], short["state"]["fullName"], short["differences"]) == (3, "Ann B", [])
    assert (await still.ask(REPLAY, id=id, at={"version": 2}))["user"]["replay"]["eventsRead"] == 0
    assert (await still.ask(REPLAY, id=id, at={"version": 1}))["user"]["replay"]["eventsRead"] == 1
    (kept,) = (await still.ask(SNAPSHOTS, id=id))["user"]["snapshots"]
    assert (kept["version"], kept["reason"], kept["usable"]) == (2, "an audit", True)
    stats = (await still.ask(STATS))["snapshotStats"]
    assert (stats["snapshots"], stats["streams"], stats["ofOtherCode"], stats["byHand"]) == (1, 1, 0, 1)
    assert (stats["bytes"], stats["oldest"]) == (kept["bytes"], kept["madeAt"])


async def test_pruning_tells_how_many_went(still: Api) -> None:
    tenant = await still.tenant()
    await still.ask(CREATE, id=tenant, reason="an audit")
    await still.backend.store.database.fetch("UPDATE es.snapshots SET fingerprint = 'of other code'")
    prune = "mutation { pruneSnapshots(input: {}) { dropped problems { message } } }"
    for dropped in (1, 0):
        assert (await still.ask(prune))["pruneSnapshots"] == {"dropped": dropped, "problems": []}
    stats = (await still.ask(STATS))["snapshotStats"]
    assert (stats["snapshots"], stats["bytes"], stats["newest"]) == (0, 0, None)


async def test_what_cannot_be_kept_is_a_problem(api: Api) -> None:
    tenant = await api.tenant()
    for id, reason, kind in ((tenant, " ", "Invalid"), ("me", "why not", "Invalid"), (str(uuid4()), "why not", "NotFound")):
        made = (await api.ask(CREATE, id=id, reason=reason))["createSnapshot"]
        assert made["snapshot"] is None
        assert [each["__typename"] for each in made["problems"]] == [kind]


async def test_one_is_made_when_it_is_due(url: str) -> None:
    async with serving(url, snapshot_every=5) as api:
        id = await api.user(await api.tenant(), "ann")
        for number in range(5):
            await api.done("updateUserProfile", id=id, fullName=f"Ann {number}")
    async with serving(url) as api:  # one that was due is made at the latest when the service ends
        (kept,) = (await api.ask(SNAPSHOTS, id=id))["user"]["snapshots"]
        assert (kept["version"], kept["reason"]) == (5, None)
        assert (await api.ask(REPLAY, id=id))["user"]["replay"]["eventsRead"] == 1


async def test_the_cache_tells_how_well_it_serves(url: str) -> None:
    asked = "{ cacheStats { states most hits sharedHits misses hitRate } }"
    async with serving(url, cached_states=7) as api:
        nothing = {"states": 0, "most": 7, "hits": 0, "sharedHits": 0, "misses": 0, "hitRate": None}
        assert (await api.ask(asked))["cacheStats"] == nothing
        id = await api.user(await api.tenant(), "ann")
        for _ in range(2):
            await api.ask("query ($id: ID!) { user(id: $id, at: {version: 1}) { username } }", id=id)
        stats = (await api.ask(asked))["cacheStats"]
        assert stats["hits"] >= 1
        assert stats["states"] >= 2
