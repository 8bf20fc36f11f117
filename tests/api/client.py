"""A client of the GraphQL API, as the tests use it: over HTTP, with the whole server behind it."""

from __future__ import annotations

from typing import Any

import httpx


class Client:
    """Asks, and reads its own writes: each request waits for the position that the one before it reached."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.position = 0

    async def post(self, query: str, headers: dict[str, str] | None = None, **variables: Any) -> httpx.Response:
        """The raw answer."""
        given = {"Hindsight-Min-Position": str(self.position), **(headers or {})}
        response = await self.http.post("/graphql", json={"query": query, "variables": variables}, headers=given)
        self.position = max(self.position, int(response.headers["Hindsight-Position"]))
        return response

    async def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer without errors."""
        answer = (await self.post(query, **variables)).json()
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    async def error(self, query: str, **variables: Any) -> dict[str, Any]:
        """The only error of an answer."""
        answer = (await self.post(query, **variables)).json()
        (error,) = answer["errors"]
        return dict(error)

    async def mutate(self, mutation: str, selection: str, **input: Any) -> dict[str, Any]:
        """The payload of a mutation, whether it has problems or not."""
        input_type = mutation[0].upper() + mutation[1:] + "Input"
        data = await self.ask(
            f"""mutation ($input: {input_type}!) {{ {mutation}(input: $input) {{
                {selection} position clientMutationId events {{ type version position }}
                problems {{ __typename code message path
                    ... on Conflict {{ expectedVersion actualVersion }} ... on AlreadyTaken {{ field value }} }}
            }} }}""",
            input=input,
        )
        payload: dict[str, Any] = data[mutation]
        return payload

    async def done(self, mutation: str, selection: str, **input: Any) -> dict[str, Any]:
        """The payload of a mutation without problems."""
        payload = await self.mutate(mutation, selection, **input)
        assert payload["problems"] == []
        return payload

    async def problem(self, mutation: str, **input: Any) -> dict[str, Any]:
        """The only problem of a mutation, which then did nothing."""
        before = await self.head()
        payload = await self.mutate(mutation, "__typename", **input)
        (problem,) = payload["problems"]
        assert (payload["events"], await self.head()) == ([], before)
        return dict(problem)

    async def head(self) -> int:
        return int((await self.ask("{ head }"))["head"])

    async def create_tenant(self, name: str = "Lighthouse") -> str:
        return str((await self.done("createTenant", "tenant { id }", name=name))["tenant"]["id"])

    async def define_role(self, tenant_id: str, name: str = "keeper", *permissions: str) -> str:
        payload = await self.done("defineRole", "role { id }", tenantId=tenant_id, name=name, permissions=permissions)
        return str(payload["role"]["id"])

    async def create_user(self, tenant_id: str, username: str = "ida", **more: Any) -> str:
        payload = await self.done(
            "createUser",
            "user { id }",
            **{"tenantId": tenant_id, "username": username, "email": f"{username}@example.com", **more},
        )
        return str(payload["user"]["id"])
