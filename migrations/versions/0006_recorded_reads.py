"""Who looked at whose history, where that is recorded."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE es.recorded_reads (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            read_at timestamptz NOT NULL,
            reader text NOT NULL,
            tenant_id uuid,
            fields text[] NOT NULL,
            subjects uuid[] NOT NULL,
            request_id text NOT NULL,
            ip_address text
        )
        """
    )
    op.execute("CREATE INDEX recorded_reads_reader_number_idx ON es.recorded_reads (reader, number)")
    op.execute("CREATE INDEX recorded_reads_subjects_idx ON es.recorded_reads USING gin (subjects)")
    op.execute(
        "CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE ON es.recorded_reads"
        " FOR EACH ROW EXECUTE FUNCTION es.refuse_change()"
    )
    op.execute("CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON es.recorded_reads EXECUTE FUNCTION es.refuse_change()")
