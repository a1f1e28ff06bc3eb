-- The relay's tables. Positions are `epoch ordinal << 48 | stream sequence` (system/cursor.py).
-- Every later migration must be readable by the release before it: add, never rename or drop in the same release.

CREATE TABLE stream_epoch (
    ordinal   integer     PRIMARY KEY CHECK (ordinal BETWEEN 1 AND 32767),
    tag       text        NOT NULL UNIQUE,          -- what cursors show; random, so that another database's cursors are foreign
    reason    text        NOT NULL,
    began_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE event_stream (                          -- one row: where pg-writer stands, and who it is
    name        text        PRIMARY KEY,
    epoch       integer     NOT NULL REFERENCES stream_epoch (ordinal),
    created     text        NOT NULL,                -- the stream's creation time as JetStream tells it: its identity
    watermark   bigint      NOT NULL,                -- everything at or below is decided: stored, dead-lettered or recorded as lost
    mark_ns     bigint,                              -- JetStream's time of the message at the watermark: detects a rewritten tail
    fence       bigint      NOT NULL DEFAULT 0,      -- rises with every take-over; a write with an older one moves nothing
    holder      text,
    lease_until timestamptz NOT NULL DEFAULT '-infinity'
);

CREATE TABLE agent_events (
    pos          bigint      PRIMARY KEY,
    agent        text        NOT NULL,               -- the addressee, or _all
    class        smallint    NOT NULL,               -- 1 critical, 2 standard
    id           text        NOT NULL,
    type         text        NOT NULL,
    payload      text        NOT NULL,               -- the CloudEvent, JSON on one line, as published
    persisted_at timestamptz NOT NULL DEFAULT now()  -- age counts from here, on this one clock
);
CREATE UNIQUE INDEX agent_events_id ON agent_events (id);                  -- G4: stored once
CREATE INDEX agent_events_replay ON agent_events (agent, pos);             -- a replay page is a range of this
CREATE INDEX agent_events_sweep ON agent_events (class, persisted_at);     -- a sweep eats this from its low end
ALTER TABLE agent_events SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05);

CREATE TABLE agent_floors (                          -- highest deleted position, by addressee and class
    agent text     NOT NULL,
    class smallint NOT NULL,
    floor bigint   NOT NULL,
    PRIMARY KEY (agent, class)
);
CREATE TABLE sweep_mark (                            -- highest deleted position of all; apart from event_stream so that sweeps never lock out the writer
    stream text   PRIMARY KEY,
    swept  bigint NOT NULL
);

CREATE TABLE agent_acks (
    agent    text        PRIMARY KEY,
    acked    bigint      NOT NULL,
    acked_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE open_assignments (                      -- task.assigned that its agent has not acknowledged
    pos    bigint      PRIMARY KEY,
    agent  text        NOT NULL,
    due_at timestamptz NOT NULL,
    count  integer     NOT NULL DEFAULT 0            -- stale redispatches so far
);
CREATE INDEX open_assignments_agent ON open_assignments (agent, pos);
CREATE INDEX open_assignments_due ON open_assignments (due_at);

CREATE TABLE dead_letters (                          -- what came over the stream and could not become an event
    pos         bigint      PRIMARY KEY,
    last_pos    bigint      NOT NULL,                -- = pos, but for a range that the stream had lost
    reason      text        NOT NULL,                -- invalid | id_reused | lost_in_stream
    detail      text        NOT NULL,
    subject     text,
    payload     bytea,
    recorded_at timestamptz NOT NULL DEFAULT now()
);

CREATE VIEW agent_events_readable AS                 -- for people at a psql prompt
SELECT t.tag || '-' || (e.pos & 281474976710655) AS cursor, e.agent,
       CASE e.class WHEN 1 THEN 'critical' ELSE 'standard' END AS class,
       e.id, e.type, e.persisted_at, e.payload::json AS event
FROM agent_events e JOIN stream_epoch t ON t.ordinal = e.pos >> 48;
