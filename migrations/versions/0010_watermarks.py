"""When the latest of all events up to a position occurred, every so many positions."""

from __future__ import annotations

from alembic import op

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


def upgrade() -> None:
    for statement in (TABLE, GRANT):
        op.execute(statement)
