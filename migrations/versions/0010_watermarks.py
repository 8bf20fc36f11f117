"""When the latest of all events up to a position occurred, every so many positions."""

from __future__ import annotations

from importlib.resources import files

from alembic import op

from app.eventstore import sql

revision = "0010"
down_revision = "0009"

TABLE = "CREATE TABLE es.watermarks (position bigint NOT NULL PRIMARY KEY, occurred_at timestamptz NOT NULL)"

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
    for statement in (TABLE, GRANT, *functions, OF_WHAT_IS_THERE):
        op.execute(statement)
