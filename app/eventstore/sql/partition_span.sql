-- How many positions a partition of the log holds. Partitions that exist keep theirs when this number changes.
CREATE OR REPLACE FUNCTION es.partition_span() RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT 10000000::bigint';
