-- How many positions lie between two watermarks.
CREATE OR REPLACE FUNCTION es.watermark_span() RETURNS bigint LANGUAGE sql IMMUTABLE AS $$SELECT 1000::bigint$$;
