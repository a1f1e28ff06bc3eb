-- A stream that lost its tail is read again from its start in a new epoch. Ids that are still stored are recognised as
-- repeats; those that were swept since are known by their time: JetStream's, at or before the last one decided then.

ALTER TABLE event_stream ADD COLUMN decided_ns bigint;  -- as mark_ns, of the epoch before; null if that was another stream
