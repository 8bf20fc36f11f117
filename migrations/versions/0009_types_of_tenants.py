"""An index by tenant and type: what is rare in one tenant is found without going along all that happened there."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.execute("CREATE INDEX events_tenant_id_type_position_idx ON es.events (tenant_id, type, position)")
