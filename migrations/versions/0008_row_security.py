"""Row-level security, for the role that reads for one tenant where that is wanted."""

from __future__ import annotations

from importlib.resources import files

from alembic import op

from app.eventstore import sql

revision = "0008"
down_revision = "0007"

# Roles belong to the whole server: another database's migration may have made it, or be making it at this moment.
ROLE = """
DO $$
BEGIN
    CREATE ROLE hindsight_tenant NOLOGIN;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE WARNING 'this user may not create the role hindsight_tenant, which HINDSIGHT_ROW_SECURITY needs';
END
$$
"""

GRANTS = """
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'hindsight_tenant') THEN
        GRANT USAGE ON SCHEMA es, read TO hindsight_tenant;
        GRANT SELECT ON es.generations, es.dead_letters TO hindsight_tenant;
        IF NOT pg_has_role('hindsight_tenant', 'MEMBER') THEN
            GRANT hindsight_tenant TO CURRENT_USER;
        END IF;
    END IF;
END
$$
"""

WALLS = """
SELECT es.wall_off(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'read' AND c.relkind IN ('r', 'v') OR n.nspname = 'es' AND c.relname IN ('events', 'streams', 'snapshots')
"""

VIEWS = """
DO $$
DECLARE
    view regclass;
BEGIN
    FOR view IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'read'::regnamespace AND c.relkind = 'v' LOOP
        EXECUTE format('ALTER VIEW %s SET (security_invoker = true)', view);
    END LOOP;
END
$$
"""


def upgrade() -> None:
    for statement in (ROLE, GRANTS, (files(sql) / "wall_off.sql").read_text(), WALLS, VIEWS):
        op.execute(statement)
