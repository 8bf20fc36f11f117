"""Connections: lists in pages, after the conventions of Relay."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Generic, TypeVar

import strawberry

from app.api.fields import field, reads
from app.eventstore.paging import Page
from app.security.permissions import TOKEN

N = TypeVar("N")


@strawberry.enum(description="A direction of order.")
class OrderDirection(enum.Enum):
    ASC = strawberry.enum_value("ASC", description="The least first: A before B, the oldest before the newest.")
    DESC = strawberry.enum_value("DESC", description="The greatest first.")


First = Annotated[int | None, strawberry.argument(description="How many items from the start: 1 to 100, 20 when not given.")]
After = Annotated[str | None, strawberry.argument(description="Only items after this cursor, which an earlier page gave.")]
Last = Annotated[int | None, strawberry.argument(description="How many items from the end: 1 to 100; not together with `first`.")]
Before = Annotated[str | None, strawberry.argument(description="Only items before this cursor, which an earlier page gave.")]


@strawberry.type(description="Where a page lies in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether items follow this page; go on with `after: endCursor`.")
    has_previous_page: bool = strawberry.field(
        description="Whether items come before this page; go back with `before: startCursor`."
    )
    start_cursor: str | None = strawberry.field(description="The cursor of the page's first item.")
    end_cursor: str | None = strawberry.field(description="The cursor of the page's last item.")


@strawberry.type(description="An item of a list and its place in it.")
class Edge(Generic[N]):
    cursor: str = strawberry.field(
        description="The item's place, for `after` and `before`. It holds for this filter and order only."
    )
    node: N = strawberry.field(description="The item.")


@strawberry.type
class Paged:
    """What all connections share, whatever their edges tell."""

    page: strawberry.Private[Page[Any]]
    counting: strawberry.Private[Callable[[], Awaitable[int]]]

    @field("Where this page lies in the list.")
    def page_info(self) -> PageInfo:
        cursors = self.page.cursors
        return PageInfo(
            has_next_page=self.page.has_next,
            has_previous_page=self.page.has_previous,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        )

    @field("How many items the whole list has. Counted only when asked for.", reads(timeless=True), TOKEN)
    async def total_count(self) -> int:
        return await self.counting()


@strawberry.type(description="One page of a list.")
class Connection(Paged, Generic[N]):
    nodes: list[N] = strawberry.field(description="The items of this page.")

    @field("The items of this page with their cursors.")
    def edges(self) -> list[Edge[N]]:
        return [Edge(cursor=cursor, node=node) for cursor, node in zip(self.page.cursors, self.nodes, strict=True)]
