-- What a transport needs that reads the stream itself. Until when floors tell what is past retention: a sweep that has
-- not completed for long leaves them behind. And up to where the table tells what an agent is to receive, because the
-- stream may not: what an epoch reads again that the one before had decided, and what pg-writer stored late.

ALTER TABLE sweep_mark ADD COLUMN completed_at timestamptz;         -- when the last complete sweep began
ALTER TABLE stream_epoch ADD COLUMN last_seq bigint NOT NULL DEFAULT 0;  -- at first the stream's end when the epoch began
