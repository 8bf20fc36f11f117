-- Sees to it that the log has partitions for all positions up to `position`. The caller holds the log's lock.
--
-- A partition is attached instead of created in place: CREATE TABLE … PARTITION OF would lock every reader out. The check
-- constraint spares ATTACH the scan, and is dropped because the partition's bound says the same.
CREATE OR REPLACE FUNCTION es.cover(target bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    covered bigint := coalesce((SELECT max(last_position) FROM es.partitions), 0);
    part text;
BEGIN
    WHILE covered < target LOOP
        part := 'events_from_' || covered + 1;
        EXECUTE format('CREATE TABLE es.%I (LIKE es.events INCLUDING ALL)', part);
        EXECUTE format('CREATE UNIQUE INDEX ON es.%I (event_id)', part);
        EXECUTE format('CREATE UNIQUE INDEX ON es.%I (stream_id, version)', part);
        EXECUTE format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON es.%I EXECUTE FUNCTION es.refuse_change()', part);
        EXECUTE format('ALTER TABLE es.%I ADD CONSTRAINT span CHECK (position > %s AND position <= %s)',
                       part, covered, covered + es.partition_span());
        EXECUTE format('ALTER TABLE es.events ATTACH PARTITION es.%I FOR VALUES FROM (%s) TO (%s)',
                       part, covered + 1, covered + 1 + es.partition_span());
        EXECUTE format('ALTER TABLE es.%I DROP CONSTRAINT span', part);
        INSERT INTO es.partitions VALUES (covered + 1, covered + es.partition_span());
        covered := covered + es.partition_span();
    END LOOP;
END
$$;
