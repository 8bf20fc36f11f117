"""The event store's tables, the engine's checkpoints, and the schema that the read tables will live in."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None

EVENTS = (
    """
    CREATE TABLE es.events (
        position bigint NOT NULL PRIMARY KEY,
        event_id uuid NOT NULL,
        stream_id uuid NOT NULL,
        version integer NOT NULL,
        type text NOT NULL,
        schema_version smallint NOT NULL,
        tenant_id uuid NOT NULL,
        data jsonb NOT NULL,
        metadata jsonb NOT NULL,
        occurred_at timestamptz NOT NULL,
        recorded_at timestamptz NOT NULL
    ) PARTITION BY RANGE (position)
    """,
    "CREATE INDEX events_type_position_idx ON es.events (type, position)",
    "CREATE INDEX events_tenant_id_position_idx ON es.events (tenant_id, position)",
    "CREATE INDEX events_occurred_at_idx ON es.events USING brin (occurred_at)",
    """
    CREATE TABLE es.partitions (
        first_position bigint NOT NULL PRIMARY KEY,
        last_position bigint NOT NULL
    )
    """,
)

IMMUTABLE = (
    """
    CREATE FUNCTION es.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE 'events are never changed: % on %.% is refused', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END
    $$
    """,
    "CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON es.events FOR EACH ROW EXECUTE FUNCTION es.refuse_change()",
    "CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON es.events EXECUTE FUNCTION es.refuse_change()",
)

BESIDE_THE_LOG = (
    """
    CREATE TABLE es.streams (
        stream_id uuid NOT NULL PRIMARY KEY,
        stream_type text NOT NULL,
        tenant_id uuid NOT NULL,
        version integer NOT NULL,
        first_position bigint NOT NULL,
        last_position bigint NOT NULL,
        last_occurred_at timestamptz NOT NULL
    ) WITH (fillfactor = 80)
    """,
    """
    CREATE TABLE es.claims (
        tenant_id uuid NOT NULL,
        kind text NOT NULL,
        value text NOT NULL,
        stream_id uuid NOT NULL,
        PRIMARY KEY (tenant_id, kind, value)
    )
    """,
    """
    CREATE TABLE es.commands (
        command_id uuid NOT NULL PRIMARY KEY,
        request_hash bytea,
        stream_id uuid NOT NULL,
        version integer NOT NULL,
        position bigint NOT NULL,
        events integer NOT NULL,
        occurred_at timestamptz NOT NULL,
        recorded_at timestamptz NOT NULL
    )
    """,
    """
    CREATE TABLE es.credentials (
        stream_id uuid NOT NULL PRIMARY KEY,
        hash text NOT NULL,
        changed_at timestamptz NOT NULL
    )
    """,
)

GENERATIONS = (
    """
    CREATE TABLE es.generations (
        projection text NOT NULL,
        generation integer NOT NULL,
        fingerprint text NOT NULL,
        live boolean NOT NULL,
        checkpoint bigint NOT NULL,
        status text NOT NULL,
        error text,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (projection, generation)
    ) WITH (fillfactor = 50)
    """,
    "CREATE UNIQUE INDEX generations_live_idx ON es.generations (projection) WHERE live",
    "CREATE SCHEMA read",
    "CREATE EXTENSION IF NOT EXISTS pg_trgm",  # finds a part of a text by index
)


def upgrade() -> None:
    for statement in (*EVENTS, *IMMUTABLE, *BESIDE_THE_LOG, *GENERATIONS):
        op.execute(statement)
