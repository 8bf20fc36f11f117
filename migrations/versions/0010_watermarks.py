"""Watermarks: for every so many positions when the earliest event since the last one occurred, and the latest of all so far.

They take the place of the index by time. That one knew which times are on which pages of the table; but a row goes to any page
that has room for it.
"""

from __future__ import annotations

from importlib.resources import files

from alembic import op

from app.eventstore import sql

revision = "0010"
down_revision = "0009"

STATEMENTS = (
    "DROP INDEX es.events_occurred_at_idx",
    """
    CREATE TABLE es.watermarks (
        position bigint NOT NULL PRIMARY KEY,
        latest timestamptz NOT NULL,
        earliest timestamptz NOT NULL
    )
    """,
    "CREATE INDEX watermarks_latest_position_idx ON es.watermarks (latest, position)",
)

GRANT = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'hindsight_tenant') THEN
        GRANT SELECT ON es.watermarks TO hindsight_tenant;
    END IF;
END
$$
"""

OF_WHAT_IS_THERE = "SELECT es.raise_watermarks(max(position)) FROM es.events"


def upgrade() -> None:
    functions = ((files(sql) / f"{name}.sql").read_text() for name in ("watermark_span", "raise_watermarks"))
    for statement in (*STATEMENTS, GRANT, *functions, OF_WHAT_IS_THERE):
        op.execute(statement)
