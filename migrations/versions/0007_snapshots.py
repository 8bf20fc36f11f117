"""Snapshots of folded states. The function that reads streams takes them into account, and has other parameters by that."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"

STATEMENTS = (
    """
    CREATE TABLE es.snapshots (
        stream_id uuid NOT NULL,
        version integer NOT NULL,
        fingerprint text NOT NULL,
        tenant_id uuid NOT NULL,
        position bigint NOT NULL,
        occurred_at timestamptz NOT NULL,
        state bytea NOT NULL,
        reason text,
        made_at timestamptz NOT NULL,
        PRIMARY KEY (stream_id, version, fingerprint)
    )
    """,
    "DROP FUNCTION IF EXISTS es.history(uuid[], int, bigint, timestamptz)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
