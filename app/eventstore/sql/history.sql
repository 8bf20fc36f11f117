-- The events of streams, oldest first, up to a version, a position and a time, each of which may be null; for a stream that
-- has none by then, one row without an event. Head and events come from one statement, and so from one snapshot.
--
-- The head's positions tell which partitions to leave alone.
CREATE OR REPLACE FUNCTION es.history(
    streams uuid[], until_version int, until_position bigint, until_time timestamptz
) RETURNS TABLE (
    stream_id uuid, stream_type text, tenant_id uuid, last_version int,
    version int, "position" bigint, type text, schema_version smallint, data jsonb, occurred_at timestamptz
) LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan  -- planning would take longer than reading
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
    RETURN QUERY
    SELECT s.stream_id, s.stream_type, s.tenant_id, s.version,
           e.version, e.position, e.type, e.schema_version, e.data, e.occurred_at
      FROM es.streams s
      LEFT JOIN es.events e
             ON e.stream_id = s.stream_id
            AND e.position BETWEEN s.first_position AND least(s.last_position, until_position)
            AND e.version <= coalesce(until_version, s.version)
            AND e.occurred_at <= coalesce(until_time, 'infinity')
     WHERE s.stream_id = ANY (streams)
     ORDER BY s.stream_id, e.version;
END
$$;
