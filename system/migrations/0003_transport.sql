-- What a transport needs that reads the stream itself. Until when floors tell what is past retention: a sweep that has
-- not completed for long leaves them behind. And up to where an epoch reads again what the one before had decided: that
-- far the table tells what an agent is to receive, beyond it the stream does.

ALTER TABLE sweep_mark ADD COLUMN completed_at timestamptz;         -- when the last complete sweep began
ALTER TABLE stream_epoch ADD COLUMN last_seq bigint NOT NULL DEFAULT 0;  -- the stream's end when the epoch began
