"""Alembic's environment: runs the migrations on the connection that `app.eventstore.migrate` opened and locked.

The functions need no migrations of their own: `app/eventstore/sql` says what they are, and each run lays them down again.
"""

from __future__ import annotations

from alembic import context

from app.eventstore import sql
from app.eventstore.tables import METADATA

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA, version_table="migrations", version_table_schema="es")
with context.begin_transaction():
    context.run_migrations()
    for function in sql.functions():
        connection.exec_driver_sql(function)
