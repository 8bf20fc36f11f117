"""Alembic's migrations of the event store and of the projection engine's own tables."""
