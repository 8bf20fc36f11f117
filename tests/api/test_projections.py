"""Read tables in the graph: how far they are, paused, rebuilt, gone back on."""

from __future__ import annotations

from typing import Any

import pytest

from projections import PROJECTIONS
from projections.rebuilds import alone
from tests.api.conftest import Api, serving

pytestmark = pytest.mark.anyio

PROJECTION = "name generation status lag parked error rebuild { generation phase done target reason }"


async def projections(api: Api) -> dict[str, dict[str, Any]]:
    found = (await api.ask(f"{{ projections {{ {PROJECTION} lagSeconds }} }}"))["projections"]
    return {each["name"]: each for each in found}


async def problem(api: Api, mutation: str, **input: Any) -> dict[str, Any]:
    payload = await api.change(mutation, "projection { name }", **input)
    (problem,) = payload["problems"]
    return dict(problem)


async def ended(api: Api, name: str) -> dict[str, Any]:
    """The read table, once its rebuild has come to an end."""
    while True:
        found = (await projections(api))[name]
        if found["rebuild"] and found["rebuild"]["phase"] in ("DONE", "FAILED", "CANCELLED", "DIFFERENT"):
            return found


async def test_every_read_table_is_shown(still: Api) -> None:
    await still.tenant()
    found = await projections(still)
    assert list(found) == sorted(each.name for each in PROJECTIONS)
    assert found["tenants"] == {
        "name": "tenants",
        "generation": 1,
        "status": "running",
        "lag": 0,
        "lagSeconds": 0.0,
        "parked": 0,
        "error": None,
        "rebuild": None,
    }


async def test_a_paused_read_table_stands_until_it_is_resumed(still: Api) -> None:
    engine = still.backend.engine
    await still.tenant("Acme")
    paused = await still.change("pauseProjection", "projection { name status }", projection="tenants")
    assert paused["projection"] == {"name": "tenants", "status": "paused"}
    await still.change("createTenant", name="Emca")
    assert await engine.advance("tenants") == 0
    found = (await projections(still))["tenants"]
    assert (found["status"], found["lag"], found["lagSeconds"] > 0) == ("paused", 1, True)

    await still.change("resumeProjection", "projection { status }", projection="tenants")
    await engine.catch_up()
    found = (await projections(still))["tenants"]
    assert (found["status"], found["lag"]) == ("running", 0)


async def test_a_rebuild_runs_elsewhere_and_can_be_gone_back_on(url: str) -> None:
    async with serving(url) as api:
        await api.user(await api.tenant())
        begun = await api.change("rebuildProjection", "projection { name }", projection="users", clientMutationId="x")
        assert (begun["projection"], begun["problems"]) == ({"name": "users"}, [])
        found = await ended(api, "users")
        assert found["generation"] == 2
        assert found["rebuild"] == {"generation": 2, "phase": "DONE", "done": 2, "target": 2, "reason": None}

        back = await api.change("rollbackProjection", "projection { generation }", projection="users")
        assert (back["projection"], back["problems"]) == ({"generation": 1}, [])
        await api.done("createTenant", name="Emca")
        assert (await projections(api))["users"]["lag"] == 0


async def test_what_cannot_be_done_is_a_problem(still: Api) -> None:
    nobody = await problem(still, "cancelRebuild", projection="users")
    assert (nobody["path"], nobody["message"]) == (["input", "projection"], "nobody is rebuilding users")
    unknown = await problem(still, "pauseProjection", projection="user")
    assert "there is no projection 'user'" in unknown["message"]
    assert "no generation before" in (await problem(still, "rollbackProjection", projection="users"))["message"]
    assert (await problem(still, "rebuildProjection", projection="users", workers=0))["path"] == ["input", "workers"]


async def test_a_rebuild_that_is_under_way_is_not_begun_again(still: Api) -> None:
    async with alone(still.backend.store.database, ["users"]):
        refused = await problem(still, "rebuildProjection", projection="users")
    assert (refused["__typename"], refused["code"]) == ("Refused", "REBUILD_UNDER_WAY")
