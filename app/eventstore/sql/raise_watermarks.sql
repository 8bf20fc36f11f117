-- Notes, for each position that ends a span and has none yet, up to `head`, when the latest of all events up to it occurred.
-- Events that were imported need not be in the order of their times; so this is what tells which times lie behind a position.
-- The caller holds the log's lock.
CREATE OR REPLACE FUNCTION es.raise_watermarks(head bigint) RETURNS void LANGUAGE sql AS $$
    WITH former AS (SELECT w.position, w.occurred_at FROM es.watermarks w ORDER BY w.position DESC LIMIT 1)
    INSERT INTO es.watermarks (position, occurred_at)
    SELECT span * es.watermark_span(),
           greatest((SELECT former.occurred_at FROM former), max(max(e.occurred_at)) OVER (ORDER BY span))
      FROM es.events e, LATERAL (SELECT (e.position - 1) / es.watermark_span() + 1) AS of (span)
     WHERE e.position > coalesce((SELECT former.position FROM former), 0)
       AND e.position <= head / es.watermark_span() * es.watermark_span()
     GROUP BY span
$$;
