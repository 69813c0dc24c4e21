-- What the layer asks PostgreSQL for, by name. Times are the server's clock; each is one statement, committed by itself.

-- send: frames for the outbox; how many hear each address, and the members by name of each group
WITH sent AS (
    INSERT INTO raceway_postgres_outbox (address, frame)
    SELECT address, frame
    FROM unnest(%(addresses)b::text[], %(frames)b::bytea[]) WITH ORDINALITY AS given (address, frame, n)
    ORDER BY n
)
SELECT address, count(*), NULL FROM raceway_postgres_subscription
WHERE address = ANY(%(counted)b::text[]) GROUP BY address
UNION ALL
SELECT groupname, 0, channel FROM raceway_postgres_named
WHERE groupname = ANY(%(groups)b::text[]) AND until > statement_timestamp()

-- cast_in_transaction: one frame for the outbox, if and when the caller's transaction commits
INSERT INTO raceway_postgres_outbox (address, frame) VALUES (%(address)s, %(frame)s) RETURNING id

-- put: each into its channel, if there is room; whether there was
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(
        %(channels)b::text[], %(entries)b::bytea[], %(capacities)b::bigint[], %(expiries_s)b::float8[]
    ) WITH ORDINALITY AS given (channel, entry, capacity, expiry_s, n)
), used AS MATERIALIZED (
    SELECT channel, (
        SELECT count(*) FROM (
            SELECT FROM raceway_postgres_queue AS queue
            WHERE queue.channel = one.channel
            AND ready_at <= statement_timestamp() AND expires_at > statement_timestamp()
            LIMIT capacity
        ) AS waiting
    ) AS waiting_count
    FROM (SELECT channel, max(capacity) AS capacity FROM given GROUP BY channel) AS one
), placed AS (
    SELECT given.*, waiting_count + row_number() OVER (PARTITION BY channel ORDER BY n) <= capacity AS fits
    FROM given JOIN used USING (channel)
), put AS (
    INSERT INTO raceway_postgres_queue (channel, entry, ready_at, expires_at)
    SELECT channel, entry, statement_timestamp(), statement_timestamp() + expiry_s * interval '1 second'
    FROM placed WHERE fits ORDER BY n
), woken AS (
    INSERT INTO raceway_postgres_outbox (address, frame) SELECT wake, '' FROM unnest(%(wakes)b::text[]) AS wake
), refused AS (
    INSERT INTO raceway_postgres_tally AS tally (channel, carrier, refused, until)
    SELECT channel, %(carrier)s, count(*), statement_timestamp() + max(expiry_s) * interval '1 second'
    FROM placed WHERE NOT fits GROUP BY channel
    ON CONFLICT (channel, carrier) DO UPDATE
    SET refused = tally.refused + excluded.refused, until = greatest(tally.until, excluded.until)
)
SELECT fits FROM placed ORDER BY n

-- put_in_transaction: the same for one, if and when the caller's transaction commits; with a token, for later
INSERT INTO raceway_postgres_queue (channel, entry, ready_at, expires_at, token)
SELECT
    %(channel)s::text, %(entry)s::bytea,
    clock_timestamp() + %(delay_s)s::float8 * interval '1 second',
    clock_timestamp() + (%(delay_s)s::float8 + %(expiry_s)s::float8) * interval '1 second',
    %(token)s::text
WHERE %(token)s::text IS NOT NULL OR %(capacity)s::bigint > (
    SELECT count(*) FROM (
        SELECT FROM raceway_postgres_queue
        WHERE channel = %(channel)s::text AND ready_at <= clock_timestamp() AND expires_at > clock_timestamp()
        LIMIT %(capacity)s::bigint
    ) AS waiting
)
RETURNING id

-- named_in_transaction: the members by name of a group
SELECT channel FROM raceway_postgres_named WHERE groupname = %(group)s AND until > clock_timestamp()

-- put_later: one that becomes ready in time, whatever waits then
WITH put AS (
    INSERT INTO raceway_postgres_queue (channel, entry, ready_at, expires_at, token) VALUES (
        %(channel)s, %(entry)b,
        statement_timestamp() + %(delay_s)s::float8 * interval '1 second',
        statement_timestamp() + (%(delay_s)s::float8 + %(expiry_s)s::float8) * interval '1 second',
        %(token)s
    )
)
INSERT INTO raceway_postgres_outbox (address, frame) VALUES (%(wake)s, '')

-- cancel: take back what is not ready yet
DELETE FROM raceway_postgres_queue
WHERE channel = %(channel)s AND token = %(token)s AND ready_at > statement_timestamp()
RETURNING id

-- pop: the first ones of the channels from `low` to below `high`, and when the next is ready if there are not enough
WITH taken AS (
    DELETE FROM raceway_postgres_queue WHERE id = ANY(ARRAY(
        SELECT id FROM raceway_postgres_queue
        WHERE {channels}
        AND ready_at <= statement_timestamp() AND expires_at > statement_timestamp()
        ORDER BY ready_at, id LIMIT %(count)s FOR UPDATE SKIP LOCKED
    ))
    RETURNING id, channel, entry, ready_at, expires_at
), held AS (
    INSERT INTO raceway_postgres_held (id, channel, entry, ready_at, expires_at, carrier)
    SELECT taken.*, %(carrier)s FROM taken WHERE %(hold)s
), tallied AS (
    INSERT INTO raceway_postgres_tally AS tally (channel, carrier, taken, until)
    SELECT channel, %(carrier)s, count(*), statement_timestamp() + max(expires_at - ready_at) FROM taken GROUP BY channel
    ON CONFLICT (channel, carrier) DO UPDATE
    SET taken = tally.taken + excluded.taken, until = greatest(tally.until, excluded.until)
)
SELECT id, channel, entry, ready_at, expires_at, NULL::float8 FROM taken
UNION ALL
SELECT NULL, NULL, NULL, min(ready_at), NULL, extract(epoch FROM min(ready_at) - statement_timestamp())
FROM raceway_postgres_queue
WHERE {channels} AND ready_at > statement_timestamp() AND (SELECT count(*) FROM taken) < %(count)s
HAVING count(*) > 0
ORDER BY 4, 1

-- release: what was held is done; the disk is not waited for, as a crash that undoes it has it counted as lost, and no more
WITH quickly AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
DELETE FROM raceway_postgres_held USING quickly WHERE id = ANY(%(ids)b::bigint[])

-- put_back: it waits again, where it was; unless it was held and has been counted as lost
WITH freed AS (
    DELETE FROM raceway_postgres_held WHERE id = %(id)s RETURNING id
), back AS (
    INSERT INTO raceway_postgres_queue (id, channel, entry, ready_at, expires_at)
    SELECT %(id)s, %(channel)s, %(entry)b, %(ready_at)s, %(expires_at)s
    WHERE NOT %(hold)s OR EXISTS (SELECT FROM freed)
), tallied AS (
    UPDATE raceway_postgres_tally SET taken = taken - 1 WHERE channel = %(channel)s AND carrier = %(carrier)s
)
INSERT INTO raceway_postgres_outbox (address, frame) VALUES (%(wake)s, '')

-- add_named: a member by name, for a time
INSERT INTO raceway_postgres_named (groupname, channel, until)
VALUES (%(group)s, %(channel)s, statement_timestamp() + %(expiry_s)s::float8 * interval '1 second')
ON CONFLICT (groupname, channel) DO UPDATE SET until = excluded.until

-- discard_named: a member no more
DELETE FROM raceway_postgres_named WHERE groupname = %(group)s AND channel = %(channel)s

-- named: the members by name
SELECT channel FROM raceway_postgres_named WHERE groupname = %(group)s AND until > statement_timestamp()

-- figures: what has waited, and waits; of one channel or of all with the prefix
WITH pending AS (
    SELECT count(*) AS pending, min(ready_at) AS oldest FROM raceway_postgres_queue
    WHERE {channels} AND ready_at <= statement_timestamp() AND expires_at > statement_timestamp()
), past AS (
    SELECT
        coalesce(sum(taken), 0) AS taken, coalesce(sum(refused), 0) AS refused, coalesce(sum(lost), 0) AS lost,
        min(since) FILTER (WHERE carrier <> '') AS since
    FROM raceway_postgres_tally WHERE {channels} AND until > statement_timestamp()
)
SELECT
    pending, extract(epoch FROM statement_timestamp() - oldest)::float8,
    taken::bigint, refused::bigint, lost::bigint,
    extract(epoch FROM statement_timestamp() - least(since, oldest))::float8
FROM pending, past

-- elect: have a role, or keep it, for a time; nothing comes back if another carrier has it
INSERT INTO raceway_postgres_role AS role (role, carrier, until)
VALUES (%(role)s, %(carrier)s, statement_timestamp() + %(lease_s)s::float8 * interval '1 second')
ON CONFLICT (role) DO UPDATE SET carrier = excluded.carrier, until = excluded.until
WHERE role.carrier = excluded.carrier OR role.until < statement_timestamp()
RETURNING role

-- resign: let go of a role
DELETE FROM raceway_postgres_role WHERE role = %(role)s AND carrier = %(carrier)s

-- flush: nothing waits, and nobody is a member by name
WITH queue AS (DELETE FROM raceway_postgres_queue WHERE starts_with(channel, %(prefix)s)),
held AS (DELETE FROM raceway_postgres_held WHERE starts_with(channel, %(prefix)s)),
tally AS (DELETE FROM raceway_postgres_tally WHERE starts_with(channel, %(prefix)s))
DELETE FROM raceway_postgres_named WHERE starts_with(groupname, %(prefix)s)

-- begin: a carrier is there, and the log has a beginning
WITH state AS (
    INSERT INTO raceway_postgres_state (id) VALUES (1) ON CONFLICT (id) DO NOTHING
)
INSERT INTO raceway_postgres_carrier (id, until)
VALUES (%(carrier)s, statement_timestamp() + %(lease_s)s::float8 * interval '1 second')
ON CONFLICT (id) DO UPDATE SET until = excluded.until

-- renew: nothing comes back if the lease has ended
UPDATE raceway_postgres_carrier SET until = statement_timestamp() + %(lease_s)s::float8 * interval '1 second'
WHERE id = %(carrier)s AND until > statement_timestamp()
RETURNING id

-- end: a carrier is there no more
WITH carrier AS (DELETE FROM raceway_postgres_carrier WHERE id = %(carrier)s)
DELETE FROM raceway_postgres_subscription WHERE carrier = %(carrier)s

-- subscribe: hear these addresses from the last number on; those that are heard already, as before
WITH state AS (SELECT epoch, seq FROM raceway_postgres_state WHERE id = 1), subscribed AS (
    INSERT INTO raceway_postgres_subscription (carrier, address, since)
    SELECT %(carrier)s, address, state.seq FROM state, unnest(%(addresses)b::text[]) AS address
    ON CONFLICT (carrier, address) DO NOTHING
)
SELECT epoch, seq FROM state

-- unsubscribe: hear them no more
DELETE FROM raceway_postgres_subscription WHERE carrier = %(carrier)s AND address = ANY(%(addresses)b::text[])

-- turn: give what is committed its numbers, if nobody else is about to; how many, and what this statement could not see
-- Of the outbox only those rows are looked at whose transactions the last turn did not see committed. Whoever holds the
-- row of the state numbers: that there is one sequencer only spares the others the trouble.
WITH turn AS (
    SELECT seq FROM raceway_postgres_state WHERE id = 1 {lock}
), moved AS (
    DELETE FROM raceway_postgres_outbox
    WHERE (xid >= %(unseen)s::xid8 OR xid = ANY(%(running)s::text[]::xid8[])) AND EXISTS (SELECT FROM turn)
    RETURNING id, address, frame
), logged AS (
    INSERT INTO raceway_postgres_log (seq, address, frame, at)
    SELECT turn.seq + row_number() OVER (ORDER BY moved.id), address, frame, statement_timestamp() FROM moved, turn
), counted AS (
    SELECT count(*) AS rows FROM moved
), noted AS (
    UPDATE raceway_postgres_state AS state
    SET seq = state.seq + counted.rows, turn_at = statement_timestamp()
    FROM turn, counted
    WHERE id = 1 AND (counted.rows > 0 OR statement_timestamp() > turn_at + %(beat_s)s::float8 * interval '1 second')
)
SELECT
    counted.rows,
    pg_snapshot_xmax(pg_current_snapshot())::text,
    ARRAY(SELECT one::text FROM pg_snapshot_xip(pg_current_snapshot()) AS one),
    CASE WHEN counted.rows > 0 THEN pg_notify('raceway_log', '')::text END
FROM turn, counted

-- read: the next frames for a carrier; with each, how far the log goes; first one row without a frame
WITH state AS (
    SELECT epoch, seq, floor, extract(epoch FROM statement_timestamp() - turn_at)::float8 AS age
    FROM raceway_postgres_state WHERE id = 1
), next AS (
    SELECT log.seq, log.address, log.frame, sum(octet_length(log.frame)) OVER (ORDER BY log.seq) AS bytes
    FROM raceway_postgres_log AS log
    JOIN raceway_postgres_subscription AS subscription
    ON subscription.carrier = %(carrier)s AND subscription.address = log.address AND log.seq > subscription.since
    WHERE log.seq > %(position)s
    ORDER BY log.seq LIMIT %(rows)s
)
SELECT epoch, seq, floor, age, 0::bigint, NULL, NULL FROM state
UNION ALL
SELECT NULL, NULL, NULL, NULL, next.seq, address, frame FROM next WHERE bytes - octet_length(frame) < %(bytes)s
ORDER BY 5

-- position: how far the log goes
SELECT coalesce(max(seq), 0) FROM raceway_postgres_state

-- answers: what was cast to one address of a thread
SELECT seq, frame FROM raceway_postgres_log WHERE seq > %(position)s AND address = %(address)s ORDER BY seq

-- lead: be the sequencer, if there is none
SELECT pg_try_advisory_lock(%(lock)s)

-- clean: what dead carriers heard, and what was in their hands, which is lost: the channel of each such message
WITH dead AS (
    DELETE FROM raceway_postgres_carrier WHERE until < statement_timestamp() RETURNING id
), deaf AS (
    DELETE FROM raceway_postgres_subscription WHERE carrier IN (SELECT id FROM dead)
), lost AS (
    DELETE FROM raceway_postgres_held AS held
    WHERE NOT EXISTS (
        SELECT FROM raceway_postgres_carrier AS carrier
        WHERE carrier.id = held.carrier AND carrier.until >= statement_timestamp()
    )
    RETURNING channel
), counted AS (
    INSERT INTO raceway_postgres_tally AS tally (channel, carrier, lost, until)
    SELECT channel, '', count(*), 'infinity' FROM lost GROUP BY channel
    ON CONFLICT (channel, carrier) DO UPDATE SET lost = tally.lost + excluded.lost
)
SELECT channel FROM lost

-- prune_log: some of the oldest numbers; how many
WITH pruned AS (
    DELETE FROM raceway_postgres_log WHERE seq = ANY(ARRAY(
        SELECT oldest.seq FROM (
            SELECT log.seq, at FROM raceway_postgres_log AS log
            WHERE log.seq > (SELECT floor FROM raceway_postgres_state WHERE id = 1) ORDER BY log.seq LIMIT %(rows)s
        ) AS oldest
        WHERE at < statement_timestamp() - %(kept_s)s::float8 * interval '1 second'
    ))
    RETURNING seq
), noted AS (
    UPDATE raceway_postgres_state SET floor = greatest(floor, (SELECT max(seq) FROM pruned))
    WHERE id = 1 AND EXISTS (SELECT FROM pruned)
)
SELECT count(*) FROM pruned

-- prune_queues: some of what has expired; how many
WITH tally AS (
    DELETE FROM raceway_postgres_tally WHERE until < statement_timestamp()
), named AS (
    DELETE FROM raceway_postgres_named WHERE until < statement_timestamp()
), expired AS (
    DELETE FROM raceway_postgres_queue WHERE id = ANY(ARRAY(
        SELECT id FROM raceway_postgres_queue WHERE expires_at < statement_timestamp() LIMIT %(rows)s FOR UPDATE SKIP LOCKED
    ))
    RETURNING id
)
SELECT count(*) FROM expired

-- sweep: what nobody is there to hear
DELETE FROM raceway_postgres_outbox
WHERE NOT EXISTS (SELECT FROM raceway_postgres_carrier WHERE until > statement_timestamp())

-- wake: tell the sequencer that there is something
NOTIFY raceway_outbox

-- with_plain_plans: no estimate is right for tables that fill and empty all day, and rows that are dead count as rows; so
-- follow the indexes, which lead to what is alive, and compile nothing, which takes longer than any of these statements
SELECT set_config('enable_seqscan', 'off', false), set_config('jit', 'off', false)

-- listen: be woken by the sequencer
LISTEN raceway_log

-- listen_for_vacancy: be told when the sequencer goes
LISTEN raceway_sequencer

-- unlock: be the sequencer no more
SELECT pg_advisory_unlock(%(lock)s)

-- leave: tell the others, one of whom will be
NOTIFY raceway_sequencer

-- listen_to_writers: be woken as the sequencer
LISTEN raceway_outbox
