-- Makes the caller the only writer of the log until its transaction ends, so that positions are given out in the order
-- in which they become visible: a reader that has seen position n never finds a smaller one later.
--
-- What the caller knows of the log it must read in later statements: under READ COMMITTED each of those gets a snapshot
-- that holds all that the former owner of the lock committed. Under a stricter level it would see the past for ever.
CREATE OR REPLACE FUNCTION es.lock_log() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE 'the log is written under READ COMMITTED only, not under %', upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    PERFORM pg_advisory_xact_lock(7235437218421706612);  -- 'hindsigh' in ASCII: the one ordering domain of this database
END
$$;
