"""Indexes by who caused an event, as part of what, and after which other event."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"

KEYS = {"actor": "actor", "correlation": "correlationId", "causation": "causationId"}


def upgrade() -> None:
    for name, key in KEYS.items():
        # Few events have a cause: the others need no entry.
        present = " WHERE metadata ->> 'causationId' IS NOT NULL" if name == "causation" else ""
        op.execute(f"CREATE INDEX events_{name}_idx ON es.events ((metadata ->> '{key}'), position){present}")
