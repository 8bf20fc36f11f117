"""Rebuilds of projections, and how far each is."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0001"

STATEMENTS = (
    """
    CREATE TABLE es.rebuilds (
        projection text NOT NULL,
        generation integer NOT NULL,
        target bigint NOT NULL,
        phase text NOT NULL,
        started_at timestamptz NOT NULL,
        resumed_at timestamptz NOT NULL,
        resumed_from bigint NOT NULL,
        ended_at timestamptz,
        reason text,
        PRIMARY KEY (projection, generation)
    )
    """,
    """
    CREATE TABLE es.rebuild_shares (
        projection text NOT NULL,
        generation integer NOT NULL,
        share integer NOT NULL,
        shares integer NOT NULL,
        reading bigint NOT NULL,
        reached bigint NOT NULL,
        PRIMARY KEY (projection, generation, share)
    ) WITH (fillfactor = 50)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
