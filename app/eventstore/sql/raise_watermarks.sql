-- Notes, for each position that ends a span and has none yet, up to `head`, when the earliest event of the span occurred, and
-- when the latest of all up to there. Imported events need not be in the order of their times; so this is what tells which
-- times lie behind a position, and between which positions a span of time lies.
-- The caller holds the log's lock.
CREATE OR REPLACE FUNCTION es.raise_watermarks(head bigint) RETURNS void LANGUAGE sql AS $$
    WITH former AS (SELECT w.position, w.latest FROM es.watermarks w ORDER BY w.position DESC LIMIT 1)
    INSERT INTO es.watermarks (position, earliest, latest)
    SELECT span * es.watermark_span(), min(e.occurred_at),
           greatest((SELECT former.latest FROM former), max(max(e.occurred_at)) OVER (ORDER BY span))
      FROM es.events e, LATERAL (SELECT (e.position - 1) / es.watermark_span() + 1) AS of (span)
     WHERE e.position > coalesce((SELECT former.position FROM former), 0)
       AND e.position <= head / es.watermark_span() * es.watermark_span()
     GROUP BY span
$$;
