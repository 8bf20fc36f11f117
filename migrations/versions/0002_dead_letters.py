"""Where the engine parks the events that it cannot fold, and how many keys they keep waiting."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("ALTER TABLE es.generations ADD COLUMN parked integer NOT NULL DEFAULT 0")
    op.execute(
        """
        CREATE TABLE es.dead_letters (
            projection text COLLATE "C" NOT NULL,
            generation integer NOT NULL,
            key text COLLATE "C" NOT NULL,
            position bigint NOT NULL,
            event_id uuid NOT NULL,
            error text,
            traceback text,
            attempts integer NOT NULL,
            parked_at timestamptz NOT NULL,
            skipped_at timestamptz,
            skipped_by text,
            skipped_reason text,
            PRIMARY KEY (projection, generation, key, position)
        )
        """
    )
