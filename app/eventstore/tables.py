"""The event store's tables, as PostgreSQL has them in schema `es`.

Migrations make them; a test compares the two. The functions that work on them are in `sql/`, one a file.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import postgresql as pg

METADATA = sa.MetaData(
    schema="es",
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    },
)

TIME = sa.DateTime(timezone=True)


def _required(name: str, type_: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=False)


EVENTS = sa.Table(
    "events",
    METADATA,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    _required("event_id", sa.Uuid()),
    _required("stream_id", sa.Uuid()),
    _required("version", sa.Integer()),
    _required("type", sa.Text()),
    _required("schema_version", sa.SmallInteger()),
    _required("tenant_id", sa.Uuid()),
    _required("data", pg.JSONB()),
    _required("metadata", pg.JSONB()),
    _required("occurred_at", TIME),
    _required("recorded_at", TIME),
    sa.Column("actor", sa.Text, sa.Computed("(metadata ->> 'actor'::text)", persisted=True)),
    sa.Column("correlation_id", sa.Text, sa.Computed("(metadata ->> 'correlationId'::text)", persisted=True)),
    sa.Column("causation_id", sa.Text, sa.Computed("(metadata ->> 'causationId'::text)", persisted=True)),
    sa.Index(None, "type", "position"),
    sa.Index(None, "tenant_id", "position"),
    sa.Index(None, "tenant_id", "type", "position"),
    sa.Index(None, "actor", "type", "position"),
    sa.Index(None, "tenant_id", "actor", "type", "position"),
    sa.Index(None, "correlation_id", "type", "position"),
    sa.Index(None, "causation_id", "type", "position", postgresql_where=sa.text("causation_id IS NOT NULL")),
    postgresql_partition_by="RANGE (position)",
)
"""The log. Each partition has unique indexes on `event_id` and on (`stream_id`, `version`) besides: see `sql/cover.sql`.

Who acted, as part and because of what is in the metadata. These are columns too because, where row-level security holds it back,
PostgreSQL goes by no index on an expression.
"""

WRITTEN = tuple(column.name for column in EVENTS.columns if column.computed is None)
"""The columns of the log that are written; PostgreSQL takes the others from the metadata."""

PARTITIONS = sa.Table(
    "partitions",
    METADATA,
    sa.Column("first_position", sa.BigInteger, primary_key=True, autoincrement=False),
    _required("last_position", sa.BigInteger()),
)
"""The spans of positions for which the log has a partition."""

WATERMARKS = sa.Table(
    "watermarks",
    METADATA,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    _required("latest", TIME),
    _required("earliest", TIME),
    sa.Index(None, "latest", "position"),
)
"""For each span of so many positions of the log, known by its last: when the earliest event of it occurred, and the latest of all
up to there. It is what finds a span of time. See `sql/raise_watermarks.sql`."""

STREAMS = sa.Table(
    "streams",
    METADATA,
    sa.Column("stream_id", sa.Uuid, primary_key=True),
    _required("stream_type", sa.Text()),
    _required("tenant_id", sa.Uuid()),
    _required("version", sa.Integer()),
    _required("first_position", sa.BigInteger()),
    _required("last_position", sa.BigInteger()),
    _required("last_occurred_at", TIME),
    postgresql_with={"fillfactor": 80},  # room on the page for the next version of a row: no index is touched by an append
)
"""The head of each stream: what makes versions unique across partitions, and tells which partitions hold its events."""

CLAIMS = sa.Table(
    "claims",
    METADATA,
    _required("tenant_id", sa.Uuid()),
    _required("kind", sa.Text()),
    _required("value", sa.Text()),
    _required("stream_id", sa.Uuid()),
    sa.PrimaryKeyConstraint("value", "kind", "tenant_id"),  # by which a username is found without its tenant too
)
"""Values that are taken, such as usernames, each with the stream that holds it."""

COMMANDS = sa.Table(
    "commands",
    METADATA,
    sa.Column("command_id", sa.Uuid, primary_key=True),
    sa.Column("request_hash", sa.LargeBinary),
    _required("stream_id", sa.Uuid()),
    _required("version", sa.Integer()),
    _required("position", sa.BigInteger()),
    _required("events", sa.Integer()),
    _required("occurred_at", TIME),
    _required("recorded_at", TIME),
)
"""What each command with an id came to: the version and position of its last event, and how many events it added."""

CREDENTIALS = sa.Table(
    "credentials",
    METADATA,
    sa.Column("stream_id", sa.Uuid, primary_key=True),
    _required("hash", sa.Text()),
    _required("changed_at", TIME),
)
"""Password hashes, which never enter the log."""

SESSIONS = sa.Table(
    "sessions",
    METADATA,
    sa.Column("session_id", sa.Uuid, primary_key=True),
    _required("stream_id", sa.Uuid()),
    _required("version", sa.Integer()),
    _required("secret_hash", sa.LargeBinary()),
    sa.Column("expires_at", TIME, nullable=False, index=True),
    postgresql_with={"fillfactor": 80},  # each refresh rewrites the hash, and touches no index
)
"""Who has logged in: the user's stream, its version by then, and the hash of the one refresh token that is not yet spent."""

SNAPSHOTS = sa.Table(
    "snapshots",
    METADATA,
    sa.Column("stream_id", sa.Uuid, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("fingerprint", sa.Text, primary_key=True),
    _required("tenant_id", sa.Uuid()),
    _required("position", sa.BigInteger()),
    _required("occurred_at", TIME),
    _required("state", sa.LargeBinary()),
    sa.Column("reason", sa.Text),
    _required("made_at", TIME),
)
"""Streams folded up to a version, by the code that has the fingerprint; `reason` is of those made by hand. Any may be deleted."""

GENERATIONS = sa.Table(
    "generations",
    METADATA,
    sa.Column("projection", sa.Text, primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
    _required("fingerprint", sa.Text()),
    _required("live", sa.Boolean()),
    _required("checkpoint", sa.BigInteger()),
    _required("status", sa.Text()),
    sa.Column("error", sa.Text),
    _required("updated_at", TIME),
    sa.Column("parked", sa.Integer, nullable=False, server_default="0"),
    sa.Index("generations_live_idx", "projection", unique=True, postgresql_where=sa.text("live")),
    postgresql_with={"fillfactor": 50},
)
"""The builds of each projection, of which one is live, how far each has read the log, and how many keys are parked in it."""

DEAD_LETTERS = sa.Table(
    "dead_letters",
    METADATA,
    sa.Column("projection", sa.Text(collation="C"), primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("key", sa.Text(collation="C"), primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    _required("event_id", sa.Uuid()),
    sa.Column("error", sa.Text),
    sa.Column("traceback", sa.Text),
    _required("attempts", sa.Integer()),
    _required("parked_at", TIME),
    sa.Column("skipped_at", TIME),
    sa.Column("skipped_by", sa.Text),
    sa.Column("skipped_reason", sa.Text),
)
"""Events that wait: the one that could not be folded into the row with that key, with its error, and later ones behind it.

One that was skipped waits no longer; it is kept with the reason.
"""

REBUILDS = sa.Table(
    "rebuilds",
    METADATA,
    sa.Column("projection", sa.Text, primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
    _required("target", sa.BigInteger()),
    _required("phase", sa.Text()),
    _required("started_at", TIME),
    _required("resumed_at", TIME),
    _required("resumed_from", sa.BigInteger()),
    sa.Column("ended_at", TIME),
    sa.Column("reason", sa.Text),
)
"""Builds of a generation from the whole log up to `target`: how each came to its end, or what it is at."""

REBUILD_SHARES = sa.Table(
    "rebuild_shares",
    METADATA,
    sa.Column("projection", sa.Text, primary_key=True),
    sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("share", sa.Integer, primary_key=True, autoincrement=False),
    _required("shares", sa.Integer()),
    _required("reading", sa.BigInteger()),
    _required("reached", sa.BigInteger()),
    postgresql_with={"fillfactor": 50},
)
"""The work of a rebuild, divided by key: the position each share is at, and the one up to which its rows are written."""

RECORDED_READS = sa.Table(
    "recorded_reads",
    METADATA,
    sa.Column("number", sa.BigInteger, sa.Identity(always=True), primary_key=True),
    _required("read_at", TIME),
    _required("reader", sa.Text()),
    sa.Column("tenant_id", sa.Uuid),
    _required("fields", postgresql.ARRAY(sa.Text())),
    _required("subjects", postgresql.ARRAY(sa.Uuid())),
    _required("request_id", sa.Text()),
    sa.Column("ip_address", sa.Text),
    sa.Index("recorded_reads_reader_number_idx", "reader", "number"),
    sa.Index("recorded_reads_subjects_idx", "subjects", postgresql_using="gin"),
)
