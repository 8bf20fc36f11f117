"""Watermarks tell when the earliest event of their span occurred, too, and so take the place of the index by time.

That one knew which times are on which pages of the table; but a row goes to any page that has room for it.
"""

from __future__ import annotations

from importlib.resources import files

from alembic import op

from app.eventstore import sql

revision = "0012"
down_revision = "0011"

STATEMENTS = (
    "DROP INDEX es.events_occurred_at_idx",
    "TRUNCATE es.watermarks",
    "ALTER TABLE es.watermarks RENAME occurred_at TO latest",
    "ALTER TABLE es.watermarks ADD COLUMN earliest timestamptz NOT NULL",
    "CREATE INDEX watermarks_latest_position_idx ON es.watermarks (latest, position)",
)

OF_WHAT_IS_THERE = "SELECT es.raise_watermarks(max(position)) FROM es.events"


def upgrade() -> None:
    functions = ((files(sql) / f"{name}.sql").read_text() for name in ("watermark_span", "raise_watermarks"))
    for statement in (*STATEMENTS, *functions, OF_WHAT_IS_THERE):
        op.execute(statement)
