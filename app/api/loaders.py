"""Loaders: what sibling fields ask for one by one is read from the database in one statement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

from strawberry.dataloader import DataLoader

from app.api.lookups import Lookups
from app.domain.aggregate import Stream
from app.eventstore.database import Reads
from app.eventstore.moment import Moment
from app.eventstore.paging import Page, PageRequest
from app.eventstore.store import EventStore
from projections import members, roles, tenants, users
from projections.dead_letters import Waiting, first_waiting
from projections.members import Member

Key: TypeAlias = tuple[UUID, Moment | None]
ReadModel: TypeAlias = Callable[[Reads, Collection[UUID], Moment | None], Awaitable[Mapping[UUID, Stream[Any]]]]

BY_IDS: Mapping[str, ReadModel] = {"User": users.by_ids, "Role": roles.by_ids, "Tenant": tenants.by_ids}
"""How things are read, by the type of their streams."""
PROJECTIONS: Mapping[str, str] = {"User": "users", "Role": "roles", "Tenant": "tenants"}
"""The projections that this reads, by the type of the streams that are their rows."""
READ_MODELS = frozenset(PROJECTIONS.values())


Shared: TypeAlias = Mapping[str, Lookups[Stream[Any]]]
"""Lookups of things as they are now, by the type of their streams, for all operations of a process."""


def shared_lookups(store: EventStore) -> Shared:
    """Each with the newest committed state."""
    return {of_type: Lookups(partial(_now, store, store.database, read_model)) for of_type, read_model in BY_IDS.items()}


class Loaders:
    """The loaders of one operation. They remember what they read, so a command asks for new ones."""

    def __init__(self, store: EventStore, reads: Reads, projected: int, shared: Shared, within: UUID | None) -> None:
        """`projected` is a position that every read model is known to have reached in `reads`.

        `within` is the tenant beyond which nothing is shown; the shared lookups, which serve all tenants, do not know it.
        """
        self._store = store
        self._reads = reads
        self._projected = projected
        self._shared = shared
        self._within = within
        self._loaders: dict[Hashable, DataLoader[Any, Any]] = {}

    def stream(self, stream_type: str, id: UUID, at: Moment | None) -> Awaitable[Stream[Any] | None]:
        """The stream of that type as it is, or as it was at the moment; None if it did not exist."""
        return self._loader(self._load, BY_IDS[stream_type]).load((id, at))

    async def only(self, stream_type: str, id: UUID) -> Stream[Any] | None:
        """The stream of that type as it is, at once: for a field without siblings."""
        if self._reads is self._store.database and not self._store.database.walled:
            found = await self._shared[stream_type].find(id)
            return found if found is None or self._within in (None, found.tenant_id) else None
        return (await _now(self._store, self._reads, BY_IDS[stream_type], [id])).get(id)

    def waiting(self, stream_type: str, id: UUID) -> Awaitable[Waiting | None]:
        """The first event that the row of the stream lacks, because it could not be folded; None when the row is complete."""
        return self._loader(self._load_waiting, PROJECTIONS[stream_type]).load(id)

    def members(self, role_id: UUID, as_of: Moment | None, request: PageRequest) -> Awaitable[Page[Member]]:
        """The page of the role's members as of the moment; the request has no cursor."""
        return self._loader(self._load_members, as_of, request).load(role_id)

    def count_members(self, role_id: UUID, as_of: Moment | None) -> Awaitable[int]:
        """How many members the role has as of the moment."""
        return self._loader(self._count_members, as_of).load(role_id)

    def _loader(self, load: Callable[..., Awaitable[Sequence[Any]]], *of: Hashable) -> DataLoader[Any, Any]:
        """All that is loaded alike goes through one loader."""
        alike = (load, *of)
        if alike not in self._loaders:
            self._loaders[alike] = DataLoader(partial(load, *of))
        return self._loaders[alike]

    async def _load_members(self, as_of: Moment | None, request: PageRequest, role_ids: list[UUID]) -> Sequence[Page[Member]]:
        found = await members.first_pages(self._reads, role_ids, as_of, request)
        return [found[id] for id in role_ids]

    async def _count_members(self, as_of: Moment | None, role_ids: list[UUID]) -> Sequence[int]:
        found = await members.counts(self._reads, role_ids, as_of)
        return [found[id] for id in role_ids]

    async def _load_waiting(self, projection: str, ids: list[UUID]) -> Sequence[Waiting | None]:
        found = await first_waiting(self._reads, projection, [(id,) for id in ids])
        return [found.get((id,)) for id in ids]

    async def _load(self, read_model: ReadModel, keys: list[Key]) -> Sequence[Stream[Any] | None]:
        ids_at: dict[Moment | None, list[UUID]] = defaultdict(list)
        for id, at in keys:
            ids_at[at].append(id)
        found = {at: await self._load_at(read_model, ids, at) for at, ids in ids_at.items()}
        return [found[at].get(id) for id, at in keys]

    async def _load_at(self, read_model: ReadModel, ids: list[UUID], at: Moment | None) -> Mapping[UUID, Stream[Any]]:
        if at is not None and at.position is not None and at.position > self._projected:
            return await self._fold(ids, at)
        if at is None:
            return await _now(self._store, self._reads, read_model, ids)
        return await read_model(self._reads, ids, at)

    async def _fold(self, ids: list[UUID], at: Moment) -> Mapping[UUID, Stream[Any]]:
        """From the events themselves: for a moment so recent that the read models may not have reached it."""
        folded = [await self._store.state_at(id, at, self._reads) for id in ids]
        return {stream.id: stream for stream in folded if stream is not None}


async def _now(store: EventStore, reads: Reads, read_model: ReadModel, ids: Collection[UUID]) -> Mapping[UUID, Stream[Any]]:
    found = await read_model(reads, ids, None)
    missing = [id for id in ids if id not in found]
    # What a mutation of a moment ago made may not have reached the read model yet; the log has it.
    return {**found, **await store.load_many(missing, reads)} if missing else found
