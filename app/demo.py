"""Made-up tenants, roles and users with years of history, the same from the same seed.

The events are not written down but decided: every step is a command that the domain accepts or declines, as a person's
would be. They are made one by one, so that a million need no more memory than their users.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from unicodedata import normalize
from uuid import UUID

from app.domain.aggregate import Aggregate, Command, Stream
from app.domain.role import ROLE, DefineRole
from app.domain.tenant import TENANT, CreateTenant
from app.domain.user import USER, User, UserStatus
from app.domain.user_commands import (
    AssignRoles,
    ChangeUserEmail,
    ChangeUserPassword,
    ChangeUserPhone,
    CreateUser,
    DeleteUser,
    LockUser,
    RecordLogin,
    RestoreUser,
    UnlockUser,
    UpdateUserProfile,
)
from app.errors import BadInput, Refusal
from app.eventstore.bulk import Fact
from app.eventstore.codec import Codec

BEGIN = datetime(2020, 1, 6, 8, tzinfo=UTC)
END = datetime(2026, 6, 30, 18, tzinfo=UTC)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TENANTS = ("Larkspur Health", "Harbour & Sons", "Tessellate Labs", "Nordlys Energi", "Quince Street Books", "Baobab Logistics")
USERS_A_TENANT = 400

ROLES = {
    "admin": ("*",),
    "auditor": ("event.read", "role.read", "tenant.read", "user.read"),
    "support": ("user.lock", "user.read", "user.unlock"),
    "people": ("user.create", "user.delete", "user.read", "user.update"),
    "engineering": ("deploy", "user.read"),
    "sales": ("customer.read", "customer.write"),
    "finance": ("invoice.approve", "invoice.read"),
    "member": ("profile.read", "profile.update"),
}

FIRST_NAMES = _words(
    "Amina Anders Anna Arjun Astrid Benedikt Camille Carlos Chiara Chidi Daniel Diego Ekaterina Elif Emma Esther Fatima Femi "
    "Freya Gabriel Giulia Grace Hana Hassan Henrik Ines Ingrid Isabel Ivan Jakub James Jin Joana Johan Julia Kaito Kateryna "
    "Kofi Lars Leila Liam Linh Lucas Magnus Maria Mateo Mei Mina Mohammed Naledi Nia Nikolai Noor Nora Oliver Olu Paula Pedro "
    "Priya Rafael Rosa Ruth Samir Sara Sofia Sven Tamar Thabo Theo Tomasz Uma Valentina Vikram Wei Ximena Yara Yuki Zainab Zofia"
)
LAST_NAMES = _words(
    "Abebe Achterberg Adeyemi Almeida Andersen Bauer Becker Bianchi Björk Cohen Costa Dang Delgado Diallo Dubois Eriksson "
    "Fernandes Fischer Fontaine García Greenwood Haddad Hansen Hoffmann Hughes Ibrahim Ito Ivanova Jensen Kaminski Kapoor Kaya "
    "Kim Kowalski Larsen Lindqvist López Maier Mbeki Mendes Moreau Mwangi Nakamura Ndlovu Nguyen Novak Okafor Okonkwo Oliveira "
    "Osei Park Patel Pereira Petrov Popescu Quispe Rahman Ramirez Reyes Rossi Sato Schmidt Sharma Silva Singh Sørensen Suzuki "
    "Tanaka Torres Traoré Vargas Virtanen Wagner Wang Williams Wójcik Yamamoto Zhang Ziegler Zulu"
)
WITHOUT_DECOMPOSITION = str.maketrans({"ø": "o"})
LEAVING = ("left the company", "contract ended", "account was a duplicate", "moved to another tenant")
LOCKING = ("laptop was stolen", "unusual activity", "long leave", "password seen in a leak")
BROWSERS = ("Mozilla/5.0 Firefox/140.0", "Mozilla/5.0 Chrome/138.0.0.0", "Mozilla/5.0 Version/18.5 Safari/605.1", "curl/8.14.1")

LOCK_AFTER = 5
LOCK_FOR = timedelta(minutes=30)


def history(codec: Codec, *, users: int, events: int, seed: int) -> Iterator[Fact]:
    """`events` facts about `users` users, in the order in which they happened.

    Raises BadInput when so few events cannot hold so many users.
    """
    tenants = min(len(TENANTS), 1 + users // USERS_A_TENANT)
    fewest = tenants * (1 + len(ROLES)) + 2 * users
    if events < fewest:
        raise BadInput("events", f"{users:,} users need at least {fewest:,}")
    return islice(_Directory(codec, users, events, random.Random(seed)).facts(tenants), events)


class _Directory:
    """The directory at one moment of its making: the streams as they stand, and what is still to come."""

    def __init__(self, codec: Codec, users: int, events: int, rng: random.Random) -> None:
        self._codec = codec
        self._rng = rng
        self._events = events
        self._users_to_come = users
        self._made = 0
        self._now = BEGIN
        self._streams: dict[UUID, Stream[Any]] = {}
        self._roles: dict[UUID, list[UUID]] = {}
        self._users: list[UUID] = []
        self._namesakes: dict[str, int] = {}

    def facts(self, tenants: int) -> Iterator[Fact]:
        """All that happens, without end: first the tenants with their roles, then their users' lives."""
        for name in TENANTS[:tenants]:
            yield from self._tenant(name)
        while True:
            self._let_time_pass()
            if self._is_time_for_a_user():
                yield from self._new_user()
            elif self._rng.random() < 0.002:
                yield from self._changed_role()
            else:
                yield from self._moment_of_a_life(self._rng.choice(self._users))

    def _let_time_pass(self) -> None:
        then = BEGIN + (END - BEGIN) * ((self._made + self._rng.random()) / self._events)
        self._now = max(self._now, then)

    def _is_time_for_a_user(self) -> bool:
        """Users come evenly through the years, the first at once and the last in time."""
        events_left = self._events - self._made - 10  # what else happens at a time is fewer events than that
        return not self._users or (self._users_to_come > 0 and self._rng.random() * events_left <= 2 * self._users_to_come)

    def _tenant(self, name: str) -> Iterator[Fact]:
        tenant_id = self._new_id()
        yield from self._does("setup", TENANT, tenant_id, tenant_id, CreateTenant(at=self._now, name=name))
        self._roles[tenant_id] = []
        for role, permissions in ROLES.items():
            role_id = self._new_id()
            define = DefineRole(at=self._now, tenant_id=tenant_id, name=role, permissions=permissions)
            yield from self._does("setup", ROLE, role_id, tenant_id, define)
            self._roles[tenant_id].append(role_id)

    def _changed_role(self) -> Iterator[Fact]:
        tenant_id = self._rng.choice(list(self._roles))
        role_id = self._rng.choice(self._roles[tenant_id])
        name = self._streams[role_id].state.name
        permissions = tuple(self._rng.sample(sorted({each for some in ROLES.values() for each in some}), 3))
        define = DefineRole(at=self._now, tenant_id=tenant_id, name=name, permissions=permissions)
        yield from self._does("setup", ROLE, role_id, tenant_id, define)

    def _new_user(self) -> Iterator[Fact]:
        self._users_to_come -= 1
        user_id, tenant_id = self._new_id(), self._rng.choice(list(self._roles))
        first, last = self._rng.choice(FIRST_NAMES), self._rng.choice(LAST_NAMES)
        username = self._username(first, last)
        create = CreateUser(
            at=self._now,
            tenant_id=tenant_id,
            username=username,
            email=self._email(username, tenant_id),
            full_name=f"{first} {last}",
            phone=self._phone() if self._rng.random() < 0.6 else None,
            role_ids=self._some_roles(tenant_id),
            created_by="people",
        )
        yield from self._does("people", USER, user_id, tenant_id, create)
        self._users.append(user_id)

    def _moment_of_a_life(self, user_id: UUID) -> Iterator[Fact]:
        stream = self._streams[user_id]
        for command, actor in self._wishes(stream.state, stream.tenant_id):
            yield from self._does(actor, USER, user_id, stream.tenant_id, command)

    def _wishes(self, user: User, tenant_id: UUID) -> Iterator[tuple[Command, str]]:
        """What is asked for at this moment, and who asks. The domain may decline it."""
        at, rng, own = self._now, self._rng, user.username
        if user.status is UserStatus.DELETED:
            if rng.random() < 0.1:
                yield RestoreUser(at=at, restored_by="people"), "people"
            return
        if user.status is UserStatus.LOCKED and rng.random() < 0.5:
            yield UnlockUser(at=at, unlocked_by="support"), "support"
            return
        chance = rng.random()
        if chance < 0.60:
            yield self._login(password_matches=True), own
        elif chance < 0.63:
            for _ in range(rng.randint(1, LOCK_AFTER)):
                yield self._login(password_matches=False), own
        elif chance < 0.75:
            yield AssignRoles(at=at, tenant_id=tenant_id, role_ids=self._some_roles(tenant_id), assigned_by="people"), "people"
        elif chance < 0.80:
            yield ChangeUserEmail(at=at, email=self._email(own, tenant_id)), own
        elif chance < 0.85:
            yield ChangeUserPhone(at=at, phone=self._phone() if rng.random() < 0.9 else None), own
        elif chance < 0.90:
            full_name = f"{(user.full_name or own).split()[0]} {rng.choice(LAST_NAMES)}"
            yield UpdateUserProfile(at=at, full_name=full_name), own
        elif chance < 0.96:
            yield ChangeUserPassword(at=at, changed_by=own), own
        elif chance < 0.98:
            yield LockUser(at=at, reason=rng.choice(LOCKING), locked_until=None), "support"
        else:
            yield DeleteUser(at=at, deleted_by="people", reason=rng.choice(LEAVING)), "people"

    def _login(self, *, password_matches: bool) -> RecordLogin:
        return RecordLogin(
            at=self._now,
            password_matches=password_matches,
            ip_address=f"203.0.113.{self._rng.randrange(1, 255)}",
            user_agent=self._rng.choice(BROWSERS),
            lock_after=LOCK_AFTER,
            lock_for=LOCK_FOR,
        )

    def _does(
        self, actor: str, aggregate: Aggregate[Any, Any, Any], stream_id: UUID, tenant_id: UUID, command: Command
    ) -> Iterator[Fact]:
        """The facts that a command comes to, if the domain does not decline it."""
        before = self._streams.get(stream_id)
        state, version = (before.state, before.version) if before else (None, 0)
        try:
            events = tuple(aggregate.decide(command, state, self._streams))
        except Refusal:
            return
        metadata = {"actor": actor, "correlationId": str(self._new_id())}
        for version, event in enumerate(events, start=version + 1):  # noqa: B020 - the version goes on from where it was
            state = aggregate.evolve(state, event, command.at)
            type, schema_version, data = self._codec.encode(event)
            self._made += 1
            yield Fact(
                line=self._made,
                event_id=self._new_id(),
                stream_id=stream_id,
                stream_type=aggregate.stream_type,
                version=version,
                type=type,
                schema_version=schema_version,
                tenant_id=tenant_id,
                data=data,
                metadata=metadata,
                occurred_at=command.at,
            )
        self._streams[stream_id] = Stream(
            id=stream_id, type=aggregate.stream_type, tenant_id=tenant_id, version=version, position=self._made, state=state
        )

    def _some_roles(self, tenant_id: UUID) -> tuple[UUID, ...]:
        return tuple(self._rng.sample(self._roles[tenant_id], self._rng.randint(1, 3)))

    def _username(self, first: str, last: str) -> str:
        plain = normalize("NFKD", f"{first}.{last}".lower().translate(WITHOUT_DECOMPOSITION)).encode("ascii", "ignore").decode()
        namesakes = self._namesakes[plain] = self._namesakes.get(plain, 0) + 1
        return plain if namesakes == 1 else f"{plain}{namesakes}"

    def _email(self, username: str, tenant_id: UUID) -> str:
        company = self._streams[tenant_id].state.name.split()[0].lower()
        return f"{username}@{self._rng.choice(('', 'mail.', 'post.'))}{company}.example.org"

    def _phone(self) -> str:
        """Of the numbers that Ofcom keeps for fiction, https://www.ofcom.org.uk/phones-and-broadband/phone-numbers/numbers-for-drama"""
        return f"+447700900{self._rng.randrange(1000):03}"

    def _new_id(self) -> UUID:
        """A version 7 UUID (RFC 9562) of the moment, with bits from the seed."""
        milliseconds = int(self._now.timestamp() * 1000)
        return UUID(int=milliseconds << 80 | 0x7 << 76 | self._rng.getrandbits(12) << 64 | 0b10 << 62 | self._rng.getrandbits(62))
