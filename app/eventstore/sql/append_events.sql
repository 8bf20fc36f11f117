-- Appends what the commands of one batch decided. One row comes out for each command, in their order.
--
-- The arrays are parallel: command_* have an element for each command; event_*, relied_*, released_* and taken_* have one for
-- each event, stream relied on, claim released and claim taken, and *_command is the number, from 1, of the command it
-- belongs to. The caller sees to it that no command of a call touches what another one of the call writes.
--
-- outcome is one of
--   appended   here is its last event; a command without events gets the stream as it stands
--   replayed   it was carried out before, for stream `culprit`, and came to this
--   mismatch   its id was used for another request
--   conflict   stream `culprit` is at `version`, which is not what the command said
--   taken      stream `culprit` holds the claim number `claim` of taken_*
--   misplaced  the stream has another type or tenant
-- and all but the first have written nothing, without hindering their neighbours.
CREATE OR REPLACE FUNCTION es.append_events(
    command_stream uuid[], command_stream_type text[], command_tenant uuid[], command_version int[], command_events int[],
    command_occurred_at timestamptz[], command_metadata jsonb[], command_id uuid[], command_hash bytea[],
    command_credential text[],
    event_command int[], event_id uuid[], event_version int[], event_type text[], event_schema smallint[], event_data jsonb[],
    relied_command int[], relied_stream uuid[], relied_version int[],
    released_command int[], released_kind text[], released_value text[],
    taken_command int[], taken_kind text[], taken_value text[]
) RETURNS TABLE (
    outcome text, version int, "position" bigint, events int, occurred_at timestamptz, recorded_at timestamptz,
    culprit uuid, claim int
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan  -- one plan for batches of every size,
SET enable_seqscan = off                  -- and it goes by primary key, whatever the statistics say meanwhile
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_variable
DECLARE
    head bigint;             -- position of the newest event
    now timestamptz;
    verdict text[];          -- by command: why it must not write; null while nothing speaks against it
    happened timestamptz[];  -- by command: when its events occurred, never before the stream's last
    actual int[];            -- by command: the version of its stream or, in a conflict, of the culprit
    last bigint[];           -- by command: the position at which its stream ends
    at_fault uuid[];
    held_claim int[];
    failure record;
    meant bigint := 0;       -- events to write
    written bigint;
BEGIN
    PERFORM es.lock_log();

    SELECT e.position, e.recorded_at INTO head, now FROM es.events e ORDER BY e.position DESC LIMIT 1;
    head := coalesce(head, 0);
    now := greatest(clock_timestamp(), now);

    -- Commands seen before, and expected versions.
    SELECT array_agg(CASE
               WHEN seen.command_id IS NOT NULL AND seen.request_hash IS DISTINCT FROM command_hash[c] THEN 'mismatch'
               WHEN seen.command_id IS NOT NULL THEN 'replayed'
               WHEN coalesce(s.version, 0) <> command_version[c] THEN 'conflict'
               WHEN s.stream_type <> command_stream_type[c] OR s.tenant_id <> command_tenant[c] THEN 'misplaced'
           END ORDER BY c),
           array_agg(greatest(command_occurred_at[c], s.last_occurred_at) ORDER BY c),
           array_agg(coalesce(s.version, 0) ORDER BY c),
           array_agg(coalesce(s.last_position, 0) ORDER BY c)
      INTO verdict, happened, actual, last
      FROM generate_subscripts(command_stream, 1) AS c
      LEFT JOIN es.streams s ON s.stream_id = command_stream[c]
      LEFT JOIN es.commands seen ON seen.command_id = command_id[c];
    at_fault := command_stream;

    -- Streams that the decisions relied on.
    IF cardinality(relied_stream) > 0 THEN
        FOR failure IN
            SELECT relied_command[r] AS command, relied_stream[r] AS stream_id, coalesce(s.version, 0) AS version
              FROM generate_subscripts(relied_stream, 1) AS r LEFT JOIN es.streams s ON s.stream_id = relied_stream[r]
             WHERE coalesce(s.version, 0) <> relied_version[r] AND verdict[relied_command[r]] IS NULL
        LOOP
            verdict[failure.command] := 'conflict';
            at_fault[failure.command] := failure.stream_id;
            actual[failure.command] := failure.version;
        END LOOP;
    END IF;

    -- Claims to take.
    IF cardinality(taken_value) > 0 THEN
        FOR failure IN
            SELECT taken_command[t] AS command, held.stream_id, t AS claim
              FROM generate_subscripts(taken_value, 1) AS t
              JOIN es.claims held ON (held.tenant_id, held.kind, held.value)
                                   = (command_tenant[taken_command[t]], taken_kind[t], taken_value[t])
             WHERE verdict[taken_command[t]] IS NULL
             ORDER BY t DESC  -- the first one taken is named
        LOOP
            verdict[failure.command] := 'taken';
            at_fault[failure.command] := failure.stream_id;
            held_claim[failure.command] := failure.claim;
        END LOOP;
    END IF;

    -- Positions, with no gap for those that failed.
    FOR c IN 1 .. cardinality(command_stream) LOOP
        IF verdict[c] IS NULL AND command_events[c] > 0 THEN
            meant := meant + command_events[c];
            last[c] := head + meant;
            actual[c] := command_version[c] + command_events[c];
        END IF;
    END LOOP;

    IF meant > 0 THEN
        PERFORM es.cover(head + meant);

        INSERT INTO es.events (position, event_id, stream_id, version, type, schema_version, tenant_id, data, metadata,
                               occurred_at, recorded_at)
        SELECT last[c] - actual[c] + event_version[e], event_id[e], command_stream[c], event_version[e], event_type[e],
               event_schema[e], command_tenant[c], event_data[e], command_metadata[c], happened[c], now
          FROM generate_subscripts(event_id, 1) AS e, LATERAL (SELECT event_command[e]) AS of (c)
         WHERE verdict[c] IS NULL;
        GET DIAGNOSTICS written = ROW_COUNT;
        IF written <> meant THEN
            RAISE 'the commands have % events, but % were given', meant, written;
        END IF;
        IF (head + meant) / es.watermark_span() > head / es.watermark_span() THEN
            PERFORM es.raise_watermarks(head + meant);
        END IF;

        INSERT INTO es.streams
               (stream_id, stream_type, tenant_id, version, first_position, last_position, last_occurred_at)
        SELECT command_stream[c], command_stream_type[c], command_tenant[c], actual[c],
               last[c] - command_events[c] + 1, last[c], happened[c]
          FROM generate_subscripts(command_stream, 1) AS c
         WHERE verdict[c] IS NULL AND command_events[c] > 0
            ON CONFLICT (stream_id) DO UPDATE
           SET version = excluded.version, last_position = excluded.last_position, last_occurred_at = excluded.last_occurred_at;
    END IF;

    IF cardinality(released_value) > 0 THEN
        DELETE FROM es.claims held
         USING generate_subscripts(released_value, 1) AS r
         WHERE (held.tenant_id, held.kind, held.value)
             = (command_tenant[released_command[r]], released_kind[r], released_value[r])
           AND held.stream_id = command_stream[released_command[r]] AND verdict[released_command[r]] IS NULL;
    END IF;

    IF cardinality(taken_value) > 0 THEN
        INSERT INTO es.claims (tenant_id, kind, value, stream_id)
        SELECT command_tenant[taken_command[t]], taken_kind[t], taken_value[t], command_stream[taken_command[t]]
          FROM generate_subscripts(taken_value, 1) AS t WHERE verdict[taken_command[t]] IS NULL;
    END IF;

    INSERT INTO es.commands (command_id, request_hash, stream_id, version, position, events, occurred_at, recorded_at)
    SELECT command_id[c], command_hash[c], command_stream[c], actual[c], last[c], command_events[c], happened[c], now
      FROM generate_subscripts(command_stream, 1) AS c WHERE verdict[c] IS NULL AND command_id[c] IS NOT NULL;

    INSERT INTO es.credentials (stream_id, hash, changed_at)
    SELECT command_stream[c], command_credential[c], happened[c]
      FROM generate_subscripts(command_stream, 1) AS c WHERE verdict[c] IS NULL AND command_credential[c] IS NOT NULL
        ON CONFLICT (stream_id) DO UPDATE SET hash = excluded.hash, changed_at = excluded.changed_at;

    RETURN QUERY
    SELECT coalesce(verdict[c], 'appended'),
           coalesce(seen.version, actual[c]), coalesce(seen.position, last[c]), coalesce(seen.events, command_events[c]),
           coalesce(seen.occurred_at, happened[c]), coalesce(seen.recorded_at, now),
           coalesce(seen.stream_id, at_fault[c]), held_claim[c]
      FROM generate_subscripts(command_stream, 1) AS c
      LEFT JOIN es.commands seen ON verdict[c] = 'replayed' AND seen.command_id = command_id[c]
     ORDER BY c;
END
$$;
