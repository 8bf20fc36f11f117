"""Sessions, which refresh tokens prolong; and claims found by their value, where the tenant is not known."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(
        "ALTER TABLE es.claims DROP CONSTRAINT claims_pkey, ADD CONSTRAINT claims_pkey PRIMARY KEY (value, kind, tenant_id)"
    )
    op.execute(
        """
        CREATE TABLE es.sessions (
            session_id uuid NOT NULL PRIMARY KEY,
            stream_id uuid NOT NULL,
            version integer NOT NULL,
            secret_hash bytea NOT NULL,
            expires_at timestamptz NOT NULL
        ) WITH (fillfactor = 80)
        """
    )
    op.execute("CREATE INDEX sessions_expires_at_idx ON es.sessions (expires_at)")
