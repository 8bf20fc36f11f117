-- What it takes to fold streams up to a version, a position and a time, each of which may be null. For each stream that exists
-- one row with its head and with the newest state that need not be folded again (`base` is its version): the one that the
-- caller holds, or a snapshot, which comes along. Then its events after that, oldest first, one a row. All comes from one
-- statement, and so from one snapshot of the database.
--
-- The head's positions tell which partitions to leave alone. Versions have the order of positions and of times, so the last
-- event before a position or a time is found by halving.
CREATE OR REPLACE FUNCTION es.history(
    streams uuid[], held_versions int[], held_positions bigint[], folds text[],
    until_version int, until_position bigint, until_time timestamptz
) RETURNS TABLE (
    stream_id uuid, stream_type text, tenant_id uuid, last_version int, last_position bigint, last_occurred_at timestamptz,
    base int, snapshot bytea,
    version int, "position" bigint, type text, schema_version smallint, data jsonb, occurred_at timestamptz
) LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan  -- planning would take longer than reading
SET enable_seqscan = off
SET enable_bitmapscan = off  -- a stream may span the whole log: its positions are not to be looked up
AS $$
DECLARE
    head record;
    kept record;
    probe record;
    base_position bigint;
    until int;   -- the last version to fold
    middle int;
BEGIN
    FOR head IN
        SELECT s.*, held.version AS held_version, held.position AS held_position
          FROM unnest(streams, held_versions, held_positions) AS held (id, version, position)
          JOIN es.streams s ON s.stream_id = held.id
    LOOP
        until := least(head.version, until_version);
        base := 0;
        base_position := head.first_position - 1;
        snapshot := NULL;
        IF head.held_version <= until AND head.held_position <= coalesce(until_position, head.last_position)
           AND (until_time IS NULL OR head.held_version = head.version AND head.last_occurred_at <= until_time) THEN
            base := head.held_version;
            base_position := head.held_position;
        END IF;
        IF base < until THEN
            SELECT s.version, s.position, s.state INTO kept FROM es.snapshots s
             WHERE s.stream_id = head.stream_id AND s.fingerprint = ANY (folds) AND s.version > base AND s.version <= until
               AND s.position <= coalesce(until_position, head.last_position)
               AND s.occurred_at <= coalesce(until_time, 'infinity')
             ORDER BY s.version DESC LIMIT 1;
            IF FOUND THEN
                base := kept.version;
                base_position := kept.position;
                snapshot := kept.state;
            END IF;
        END IF;
        IF until_position < head.last_position OR until_time < head.last_occurred_at THEN
            middle := base;  -- known to be early enough, as `until` + 1 is to be too late
            WHILE until - middle > 32 LOOP  -- so few are read sooner than halved
                SELECT e.position, e.occurred_at INTO probe FROM es.events e
                 WHERE e.stream_id = head.stream_id AND e.version = (middle + until) / 2
                   AND e.position BETWEEN head.first_position AND head.last_position;
                IF probe.position > until_position OR probe.occurred_at > until_time THEN
                    until := (middle + until) / 2 - 1;
                ELSE
                    middle := (middle + until) / 2;
                END IF;
            END LOOP;
        END IF;

        stream_id := head.stream_id;
        stream_type := head.stream_type;
        tenant_id := head.tenant_id;
        last_version := head.version;
        last_position := head.last_position;
        last_occurred_at := head.last_occurred_at;
        RETURN NEXT;
        IF base < until THEN
            RETURN QUERY
            SELECT NULL::uuid, NULL::text, head.tenant_id, NULL::int, NULL::bigint, NULL::timestamptz, NULL::int, NULL::bytea,
                   e.version, e.position, e.type, e.schema_version, e.data, e.occurred_at
              FROM es.events e
             WHERE e.stream_id = head.stream_id
               AND e.version > base AND e.version <= until
               AND e.position > base_position AND e.position <= least(head.last_position, until_position)
               AND e.occurred_at <= coalesce(until_time, 'infinity')
             ORDER BY e.version;
        END IF;
    END LOOP;
END
$$;
