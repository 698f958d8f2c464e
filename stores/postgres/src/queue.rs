//! Claims and heartbeats: one statement each, which touches the queue only.

use crate::row::columns;

/// The server's time.
pub(crate) const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// The time `$1`, or the server's.
macro_rules! clock {
    () => {
        "clock (now) AS MATERIALIZED (
            SELECT coalesce($1::bigint, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
        )"
    };
}

/// The first that are due, `$2` at most, of the types `$3`, locked. Each type and each priority is a step in the index of
/// its own, so that whatever waits longer is never looked at, however much it is.
macro_rules! first_due {
    () => {
        "levels (type, priority) AS (
            SELECT t, (SELECT max(priority) FROM tracer_queue q WHERE q.type = t AND q.due_at IS NOT NULL)
            FROM unnest($3::text[]) t
            UNION ALL
            SELECT l.type, (SELECT max(q.priority) FROM tracer_queue q
                            WHERE q.type = l.type AND q.due_at IS NOT NULL AND q.priority < l.priority)
            FROM levels l WHERE l.priority IS NOT NULL
        ), due AS MATERIALIZED (
            SELECT due.ctid, due.id
            FROM levels l CROSS JOIN LATERAL (
                SELECT q.ctid, q.id, q.priority, q.due_at, q.created_at FROM tracer_queue q
                WHERE q.type = l.type AND q.priority = l.priority AND q.due_at <= (SELECT now FROM clock)
                ORDER BY q.due_at, q.created_at, q.id LIMIT $2::bigint FOR UPDATE SKIP LOCKED
            ) due
            WHERE l.priority IS NOT NULL
            ORDER BY due.priority DESC, due.due_at, due.created_at, due.id LIMIT $2
        )"
    };
}

/// A statement that claims what `$due` finds and locks, for the worker `$4`, with a lease of `$5` ms.
///
/// What was written to after the statement had begun is left to the next one: its row is at another place by then, where
/// the update does not look. So each body belongs to the version that is claimed.
macro_rules! claim {
    ($($due:tt)*) => {
        concat!(
            "WITH RECURSIVE ",
            clock!(),
            ", ",
            $($due)*,
            ", q AS (
                UPDATE tracer_queue q
                SET due_at = NULL, sweep_at = clock.now + least($5::bigint, q.timeout_ms), claimed_at = clock.now,
                    worker = $4::text, lease_until = clock.now + $5, deadline_at = clock.now + q.timeout_ms,
                    version = q.version + 1, epoch = q.epoch + 1
                FROM due, clock WHERE q.ctid = due.ctid
                RETURNING q.id, q.version, q.claimed_at, q.lease_until, q.worker
            )
            SELECT ",
            columns!(),
            " FROM q JOIN tracer_executions e ON e.id = q.id"
        )
    };
}

/// The first that are due.
pub(crate) const CLAIM: &str = claim!(first_due!());

/// The one with the id `$6`, if it is due and of one of the types `$3`, or of any if there are none.
pub(crate) const CLAIM_ONE: &str = claim!(
    "due AS MATERIALIZED (
        SELECT q.ctid FROM tracer_queue q
        WHERE q.id = $6::bytea AND q.due_at <= (SELECT now FROM clock)
            AND (cardinality($3::text[]) = 0 OR q.type = ANY($3))
        LIMIT $2::bigint FOR UPDATE SKIP LOCKED
    )"
);

/// The ids of the first that are due.
pub(crate) const DUE: &str = concat!("WITH RECURSIVE ", clock!(), ", ", first_due!(), " SELECT id FROM due");

/// That of the one with the id `$1`, if it waits and nobody is at it.
pub(crate) const WAITS: &str =
    "SELECT id FROM tracer_queue WHERE id = $1::bytea AND due_at IS NOT NULL FOR UPDATE SKIP LOCKED";

/// The types of which something waits, one step in the index each.
pub(crate) const TYPES: &str = "
    WITH RECURSIVE types (type) AS (
        SELECT min(type) FROM tracer_queue WHERE due_at IS NOT NULL
        UNION ALL
        SELECT (SELECT min(q.type) FROM tracer_queue q WHERE q.due_at IS NOT NULL AND q.type > t.type)
        FROM types t WHERE t.type IS NOT NULL
    )
    SELECT type FROM types WHERE type IS NOT NULL";

/// Extends the leases `$1` with the epochs `$2`, locked in the order of ids, by `$3` ms from the time `$4`, or the
/// server's; and says which were.
pub(crate) const BEAT: &str = "
    WITH held AS MATERIALIZED (
        SELECT q.id FROM tracer_queue q JOIN unnest($1::bytea[], $2::bigint[]) AS n (id, epoch) ON q.id = n.id
        WHERE q.epoch = n.epoch AND q.lease_until IS NOT NULL
        ORDER BY q.id FOR UPDATE OF q
    ), clock (now) AS MATERIALIZED (
        SELECT coalesce($4::bigint, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
    )
    UPDATE tracer_queue q SET lease_until = clock.now + $3::bigint, sweep_at = least(clock.now + $3, q.deadline_at)
    FROM held, clock WHERE q.id = held.id
    RETURNING q.id, q.epoch, q.cancel_requested";

/// Keeps those that cannot be read from being found again and again.
pub(crate) const ASIDE: &str = "UPDATE tracer_queue SET due_at = NULL, sweep_at = NULL WHERE id = ANY($1)";

/// The same for those that were claimed by the worker `$2` just now, at `$3`: nobody has got to know of the attempt.
pub(crate) const UNCLAIM: &str = "
    UPDATE tracer_queue
    SET due_at = NULL, sweep_at = NULL, claimed_at = NULL, worker = NULL, lease_until = NULL, deadline_at = NULL,
        version = version - 1, epoch = epoch - 1
    WHERE id = ANY($1) AND worker = $2 AND claimed_at = $3";
