"""Every SQL statement of the relay, by name; nothing else in `system/` writes SQL, migrations aside.

Each operation is **one statement**, so that it is atomic without BEGIN and COMMIT: no transaction of ours can be left
open on a pooled connection (a BEGIN that times out turns the next transaction into a savepoint that is rolled back:
an acknowledged commit lost), and a page and its floors come from one snapshot. Arrays are `text[]`: any other array
type costs asyncpg four to six round trips of type introspection per connection.
"""

READ_STATE = """
SELECT s.epoch, e.tag, s.created, s.watermark, s.mark_ns, s.decided_ns, s.fence, s.holder,
       coalesce(m.swept, 0) AS swept, (extract(epoch FROM now()) * 1000000000)::bigint AS now_ns
FROM event_stream s JOIN stream_epoch e ON e.ordinal = s.epoch LEFT JOIN sweep_mark m ON m.stream = s.name
WHERE s.name = $1
"""

INIT_STATE = """
WITH first_epoch AS (
    INSERT INTO stream_epoch (ordinal, tag, reason) VALUES (1, $2, 'first') ON CONFLICT DO NOTHING
), mark AS (
    INSERT INTO sweep_mark (stream, swept) VALUES ($1, 0) ON CONFLICT DO NOTHING
)
INSERT INTO event_stream (name, epoch, created, watermark) VALUES ($1, 1, $3, (1::bigint << 48) + $4)
ON CONFLICT DO NOTHING
"""
"""$1 stream, $2 tag, $3 created, $4 the sequence before the stream's first."""

READ_EPOCHS = "SELECT ordinal, tag FROM stream_epoch ORDER BY ordinal"

READ_LEASE = """
SELECT watermark, holder, extract(epoch FROM lease_until)::float8 - extract(epoch FROM now())::float8 AS left_s
FROM event_stream WHERE name = $1
"""
"""What a replica that does not lead asks for now and then: how long the lease holds (-infinity if handed back)."""

LEASES_AHEAD_MAX = 2
"""A lease further ahead than so many of one's own counts as free: no holder has set it by the clock as it is now."""

TAKE_LEASE = f"""
UPDATE event_stream s SET holder = $2, lease_until = now() + make_interval(secs => $3), fence = s.fence + 1
WHERE s.name = $1 AND (s.holder = $2 OR s.lease_until < now()
                       OR s.lease_until > now() + {LEASES_AHEAD_MAX} * make_interval(secs => $3))
RETURNING s.epoch, s.created, s.watermark, s.mark_ns, s.fence
"""
"""The last condition is for a clock that was put back, as by a failover to a server with another one: what a dead
leader left would hold for as long as the step was. A holder whose own setting is more than twice ours loses its lease
by it, too: the fence stops it, and it finds ours good, so that the shortest of several leads."""

RENEW_LEASE = """
UPDATE event_stream SET lease_until = now() + make_interval(secs => $3)
WHERE name = $1 AND fence = $2 RETURNING watermark
"""

RELEASE_LEASE = """
UPDATE event_stream SET lease_until = '-infinity', fence = fence + 1
WHERE name = $1 AND holder = $2 AND fence = coalesce($3, fence)
"""
"""$3 null: by the holder alone, for the answer that told the fence may have been lost. With a new fence: a write or a
renewal that was given up on its way may come after this one, and would take the lease again for nobody."""

NEW_EPOCH = """
WITH held AS (
    SELECT epoch FROM event_stream WHERE name = $1 AND fence = $2 FOR UPDATE
), next AS (
    INSERT INTO stream_epoch (ordinal, tag, reason, last_seq) SELECT epoch + 1, $3, $4, $7 FROM held RETURNING ordinal
)
UPDATE event_stream s SET epoch = next.ordinal, created = $5, mark_ns = NULL,
       decided_ns = CASE WHEN s.created = $5 THEN coalesce(s.mark_ns, s.decided_ns) END,
       watermark = (next.ordinal::bigint << 48) + $6
FROM next WHERE s.name = $1 AND s.fence = $2
RETURNING s.watermark
"""
"""$1 stream, $2 fence, $3 tag, $4 reason, $5 created, $6 the sequence before the stream's first, $7 its last.

Locked first: an epoch that is inserted for a row that another leader is taking would stay, and the next one fail."""

LOST_EPOCH = """
WITH held AS (
    SELECT epoch FROM event_stream WHERE name = $1 AND fence = $2 AND watermark = $3 FOR UPDATE
), next AS (
    INSERT INTO stream_epoch (ordinal, tag, reason, last_seq) SELECT epoch + 1, $4, $5, $7 FROM held RETURNING ordinal
)
UPDATE event_stream s SET epoch = next.ordinal, watermark = (next.ordinal::bigint << 48) + $6
FROM next WHERE s.name = $1 AND s.fence = $2 AND s.watermark = $3
RETURNING s.watermark
"""
"""$1 stream, $2 fence, $3 watermark, $4 tag, $5 reason, $6 the watermark's sequence, $7 the stream's last.

The same stream goes on at the same place, so its mark stays, and what an earlier life had decided."""

_BATCH = """
batch AS (
    SELECT b.pos::bigint AS pos, b.agent, b.class::smallint AS class, b.id, b.type, b.payload
    FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[])
         AS b (pos, agent, class, id, type, payload)
    WHERE EXISTS (SELECT 1 FROM fence)
), dead AS (
    INSERT INTO dead_letters (pos, last_pos, reason, detail, subject, payload)
    SELECT d.pos::bigint, d.last_pos::bigint, d.reason, d.detail, d.subject, decode(d.payload, 'base64')
    FROM unnest($11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[])
         AS d (pos, last_pos, reason, detail, subject, payload)
    WHERE EXISTS (SELECT 1 FROM fence)
    ON CONFLICT (pos) DO NOTHING
)"""

_FENCE = """
WITH fence AS (
    UPDATE event_stream SET watermark = $4, mark_ns = $17, lease_until = now() + make_interval(secs => $18)
    WHERE name = $1 AND fence = $2 AND watermark = $3
    RETURNING 1
), """

_OPENED = """
INSERT INTO open_assignments (pos, agent, due_at)
SELECT s.pos, s.agent, now() + make_interval(secs => $19) FROM stored s
WHERE s.type = 'task.assigned' AND s.agent <> '_all' AND s.id !~ '~r[0-9]+$'
ON CONFLICT DO NOTHING"""

WRITE_BATCH = f"""
{_FENCE}{_BATCH}, stored AS (
    INSERT INTO agent_events (pos, agent, class, id, type, payload) SELECT * FROM batch
    RETURNING pos, agent, type, id
), opened AS ({_OPENED})
SELECT count(*) FROM fence
"""
"""The writer's fast path: $1 stream, $2 fence, $3 watermark before, $4 after, $5-$10 events, $11-$16 dead letters,
$17 JetStream's time of the last message in ns, $18 lease in s, $19 redispatch limit in s. Answers 1, or 0 when another
writer holds the fence or the watermark moved: then nothing was written. Raises UniqueViolation, and writes nothing, if
an id is stored already; pg-writer then looks up which ones (`stored.look_up`) and leaves them out."""

READ_STORED_MANY = """
SELECT id, pos, encode(sha256(convert_to(payload, 'UTF8')), 'hex') AS digest
FROM agent_events WHERE id = ANY($1::text[])
"""
"""Which of these ids are stored, with a digest in place of what may be a thousand large events."""

READ_TAIL = """
WITH s AS MATERIALIZED (
    SELECT s.watermark, coalesce(m.swept, 0) AS swept
    FROM event_stream s LEFT JOIN sweep_mark m ON m.stream = s.name WHERE s.name = $1
), e AS MATERIALIZED (
    SELECT pos, agent, type, payload, sum(octet_length(payload)) OVER (ORDER BY pos ROWS UNBOUNDED PRECEDING) AS bytes
    FROM (SELECT pos, agent, type, payload FROM agent_events
          WHERE pos > $2 AND pos <= (SELECT watermark FROM s) ORDER BY pos LIMIT $3) found
)
SELECT s.watermark, s.swept, (SELECT count(*) >= $3 OR max(e.bytes) >= $4 FROM e) AS has_more,
       NULL::bigint AS pos, NULL::text AS agent, NULL::text AS type, NULL::text AS payload FROM s
UNION ALL
SELECT NULL, NULL, NULL, e.pos, e.agent, e.type, e.payload FROM e WHERE e.bytes - octet_length(e.payload) < $4
ORDER BY pos NULLS FIRST
"""
"""$1 stream, $2 after this position, $3 events at most, and $4 bytes, one event beyond. First a row of the stream
itself, unless it is not adopted yet, which says whether there may be more; then the events, of the same snapshot, in
order. A NULL costs nothing to send and read; the watermark in every row would. The length of a payload is known without
reading it."""

READ_RETAINED = """
WITH s AS MATERIALIZED (
    SELECT watermark, mark_ns FROM event_stream WHERE name = $1
), e AS MATERIALIZED (
    SELECT pos, agent, class, id, type, payload, persisted_at FROM agent_events
    WHERE pos > $2 AND pos <= (SELECT watermark FROM s) ORDER BY pos LIMIT $3
)
SELECT s.watermark, s.mark_ns, NULL::bigint AS pos, NULL::text AS agent, NULL::smallint AS class, NULL::text AS id,
       NULL::text AS type, NULL::text AS payload, NULL::bigint AS age_us FROM s
UNION ALL
SELECT NULL, NULL, e.pos, e.agent, e.class, e.id, e.type, e.payload,
       (extract(epoch FROM now() - e.persisted_at) * 1000000)::bigint FROM e
UNION ALL
(SELECT NULL, NULL, f.floor, f.agent, f.class, NULL, NULL, NULL, NULL FROM agent_floors f
 WHERE f.floor > $2 AND EXISTS (SELECT FROM s) ORDER BY f.agent, f.class)
"""
"""$1 stream, $2 after this position, $3 events at most: what another store of events is filled from. First a row of
the stream itself, unless it is not adopted yet; then the events, all agents', with their ages in us; then every
floor above that position, with no id. One snapshot: what is missing among the events because it was swept is below one
of the floors. They may lie beyond this page: a floor is the highest that was deleted, and says it for all below it."""

_FLOORS = """
    SELECT coalesce(max(floor) FILTER (WHERE class = 1), 0) AS critical,
           coalesce(max(floor) FILTER (WHERE class = 2), 0) AS standard
    FROM agent_floors WHERE agent IN ($2, '_all')"""

READ_PLACE = f"""
SELECT s.watermark, s.epoch, a.acked, f.critical, f.standard
FROM event_stream s CROSS JOIN LATERAL ({_FLOORS}) f LEFT JOIN agent_acks a ON a.agent = $2
WHERE s.name = $1
"""

READ_PAGE = f"""
WITH s AS MATERIALIZED (
    SELECT s.watermark, f.critical, f.standard FROM event_stream s CROSS JOIN LATERAL ({_FLOORS}) f WHERE s.name = $1
)
SELECT s.watermark, s.critical, s.standard, NULL::bigint AS pos, NULL::text AS type, NULL::text AS payload FROM s
UNION ALL
(SELECT NULL, NULL, NULL, e.pos, e.type, e.payload FROM (
    (SELECT pos, type, payload FROM agent_events
     WHERE (agent, pos) > ($2, $3) AND (agent, pos) <= ($2, (SELECT watermark FROM s)) ORDER BY agent, pos LIMIT $4)
    UNION ALL
    (SELECT pos, type, payload FROM agent_events
     WHERE (agent, pos) > ('_all', $3) AND (agent, pos) <= ('_all', (SELECT watermark FROM s))
     ORDER BY agent, pos LIMIT $4)
    ORDER BY pos LIMIT $4
) e)
"""
"""$1 stream, $2 agent, $3 after this position, $4 rows at most. First a row of the stream itself, with the floors; then
the events, of the same snapshot. They come in that order, though SQL promises it of no UNION; to sort them once more
would add a fifth to the time of a page, so `Places.read_page` sees to it.

Only the index (agent, pos) can serve a range of row values in that order. With `agent = $2 AND pos > $3 ... ORDER BY
pos` the planner may walk the primary key and filter, if its statistics know of one agent only: a million rows read for
an agent that has none."""

READ_GROUND = f"""
SELECT s.epoch, s.created, s.watermark, e.last_seq, f.critical, f.standard,
       extract(epoch FROM now())::float8 - extract(epoch FROM m.completed_at)::float8 AS swept_ago_s
FROM event_stream s JOIN stream_epoch e ON e.ordinal = s.epoch LEFT JOIN sweep_mark m ON m.stream = s.name
CROSS JOIN LATERAL ({_FLOORS}) f WHERE s.name = $1
"""
"""$1 stream, $2 agent. What a page of the stream itself is read against: whose stream it is, what of it is gone, and
how long ago the sweep began that last told all of that; null if none has."""

TELL_BY_TABLE = """
UPDATE stream_epoch e SET last_seq = greatest(e.last_seq, $3::bigint)
FROM event_stream s WHERE s.name = $1 AND s.fence = $2 AND e.ordinal = s.epoch
"""
"""$1 stream, $2 fence, $3 sequence: up to here the stream may forget events before the table does, and tells nobody."""

READ_KEPT = "SELECT pos FROM agent_events WHERE pos = ANY($1::text[]::bigint[])"
"""Which of these positions the table has."""

READ_CLOCK = "SELECT now() AS now"

NOTE_SWEPT = """
INSERT INTO sweep_mark (stream, swept, completed_at) VALUES ($1, 0, $2)
ON CONFLICT (stream) DO UPDATE SET completed_at = excluded.completed_at
"""
"""$1 stream, $2 when the sweep began that is complete now, by Postgres's clock: the floors tell all that was past
retention then."""

SWEEP = """
WITH doomed AS (
    SELECT pos FROM agent_events
    WHERE class = $2 AND persisted_at >= coalesce($5::timestamptz, '-infinity')
      AND persisted_at <= now() - make_interval(secs => $3)
    ORDER BY persisted_at LIMIT $4
), deleted AS (
    DELETE FROM agent_events WHERE pos = ANY(ARRAY(SELECT pos FROM doomed))
    RETURNING pos, agent, class, persisted_at
), floors AS (
    INSERT INTO agent_floors (agent, class, floor)
    SELECT agent, class, max(pos) FROM deleted GROUP BY agent, class ORDER BY agent
    ON CONFLICT (agent, class) DO UPDATE SET floor = greatest(agent_floors.floor, excluded.floor)
), closed AS (
    DELETE FROM open_assignments WHERE pos = ANY(ARRAY(SELECT pos FROM deleted))
), mark AS (
    INSERT INTO sweep_mark (stream, swept) SELECT $1, max(pos) FROM deleted HAVING count(*) > 0
    ON CONFLICT (stream) DO UPDATE SET swept = greatest(sweep_mark.swept, excluded.swept)
)
SELECT count(*), max(persisted_at) AS last FROM deleted
"""
"""$1 stream, $2 class, $3 retention in s, $4 rows at most, $5 no earlier than this, or null: the last persisted_at of
the piece before, whose dead entries are in the index until a vacuum. A join instead of the arrays would be planned for
a tenth of the table where the limit is not known to the planner: a sequential scan for each piece."""

PRUNE_DEAD_LETTERS = "DELETE FROM dead_letters WHERE recorded_at < now() - make_interval(secs => $1)"

STORE_ACK = """
WITH head AS (
    SELECT watermark FROM event_stream WHERE name = $1 AND epoch = $3::bigint >> 48
), closed AS (
    DELETE FROM open_assignments o USING head h WHERE o.agent = $2 AND o.pos <= $3 AND $3 <= h.watermark
), stored AS (
    INSERT INTO agent_acks (agent, acked) SELECT $2, $3 FROM head WHERE $3 <= head.watermark
    ON CONFLICT (agent) DO UPDATE SET acked = greatest(agent_acks.acked, excluded.acked), acked_at = now()
    RETURNING acked
)
SELECT (SELECT watermark FROM head) AS watermark, (SELECT acked FROM stored) AS acked
"""
"""$1 stream, $2 agent, $3 position. Answers what is stored now; nothing was if the position is not of the current epoch
(the watermark is NULL then too) or lies ahead of the watermark."""

READ_OVERDUE = """
SELECT o.pos, o.agent, o.count, e.payload FROM open_assignments o JOIN agent_events e ON e.pos = o.pos
WHERE o.due_at < now() AND o.count < $1 ORDER BY o.due_at LIMIT $2
"""

MARK_REDISPATCHED = """
UPDATE open_assignments SET count = $2, due_at = now() + make_interval(secs => $3) WHERE pos = $1 AND count < $2
"""

READ_STORED = "SELECT pos, payload FROM agent_events WHERE id = $1"

READ_SAFETY = """
SELECT current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('server_version_num')::int AS version
"""
