//! The tables, and how files of older versions become such of this one.

use rusqlite::{Connection, TransactionBehavior, params};
use tracer::execution::{Parts, StoreError, Written};

use crate::trouble::{Problem, foreign};

/// One step each; a file that has taken the first `n` is of version `n`. Never changed once released, only added to.
///
/// `due_at` is the time from which a waiting execution may be claimed, and null for all others; `sweep_at` the time at
/// which a running one has to be looked at. Both indexes hold only what has one, so that claims and sweeps cost the same
/// however many executions have ended. `body` is the execution as JSON, without what has a column of its own at the end.
/// Version 2 has the index of idempotency keys hold only what has one; a `UNIQUE` column's own cannot be dropped. From
/// version 3 on each checkpoint has a row, so that one more costs the same however many there are; `kept_len` is how many
/// bytes those of an execution have. Version 5 has an index of dead letters: there are few of them, and all are looked for.
const STEPS: &[&str] = &[
    "
    CREATE TABLE executions (
        seq INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        type TEXT NOT NULL,
        status TEXT NOT NULL,
        priority INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        due_at INTEGER,
        sweep_at INTEGER,
        idempotency_key TEXT UNIQUE,
        parent_id BLOB,
        body TEXT NOT NULL,
        payload TEXT,
        result TEXT,
        checkpoints TEXT
    ) STRICT;
    CREATE INDEX executions_due ON executions (type, priority, due_at, created_at, id) WHERE due_at IS NOT NULL;
    CREATE INDEX executions_sweep ON executions (sweep_at, id) WHERE sweep_at IS NOT NULL;
    CREATE INDEX executions_created ON executions (created_at, id);
    CREATE INDEX executions_parent ON executions (parent_id, created_at, id) WHERE parent_id IS NOT NULL;
    CREATE TABLE clock (only INTEGER PRIMARY KEY CHECK (only = 1), latest_ms INTEGER NOT NULL) STRICT;
    INSERT INTO clock VALUES (1, 0);
",
    "
    CREATE TABLE executions_2 (
        seq INTEGER PRIMARY KEY,
        id BLOB NOT NULL UNIQUE,
        type TEXT NOT NULL,
        status TEXT NOT NULL,
        priority INTEGER NOT NULL,
        created_at INTEGER NOT NULL,
        due_at INTEGER,
        sweep_at INTEGER,
        idempotency_key TEXT,
        parent_id BLOB,
        body TEXT NOT NULL,
        payload TEXT,
        result TEXT,
        checkpoints TEXT
    ) STRICT;
    INSERT INTO executions_2 SELECT * FROM executions ORDER BY seq;
    DROP TABLE executions;
    ALTER TABLE executions_2 RENAME TO executions;
    CREATE INDEX executions_due ON executions (type, priority, due_at, created_at, id) WHERE due_at IS NOT NULL;
    CREATE INDEX executions_sweep ON executions (sweep_at, id) WHERE sweep_at IS NOT NULL;
    CREATE INDEX executions_created ON executions (created_at, id);
    CREATE INDEX executions_parent ON executions (parent_id, created_at, id) WHERE parent_id IS NOT NULL;
    CREATE UNIQUE INDEX executions_key ON executions (idempotency_key) WHERE idempotency_key IS NOT NULL;
",
    "
    CREATE TABLE checkpoints (
        seq INTEGER NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (seq, key)
    ) STRICT, WITHOUT ROWID;
    ALTER TABLE executions ADD COLUMN kept_len INTEGER NOT NULL DEFAULT 0;
",
    "
    ALTER TABLE executions DROP COLUMN checkpoints;
",
    "
    CREATE INDEX executions_dead ON executions (created_at, id) WHERE status IN ('failed', 'timed_out');
",
];

/// In files of this version checkpoints have rows of their own.
const KEPT: usize = 3;

/// The names that the steps take.
const NAMES: &str = "'executions', 'executions_2', 'executions_version', 'executions_due', 'executions_sweep', \
     'executions_created', 'executions_parent', 'executions_key', 'executions_dead', 'checkpoints', 'clock'";
/// Tables by which a file is known that is shared.
const SHARED: &str = "'executions', 'executions_version', 'clock'";

/// Says whose file it is: `trce`.
const APPLICATION_ID: i64 = 0x7472_6365;

/// Where a file says of which version its tables are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In its header, with [`APPLICATION_ID`]: it is for executions.
    Header,
    /// In a table: it is an application's, and so is what its header says.
    Table,
}

impl Place {
    fn set(self, connection: &Connection, version: i64) -> rusqlite::Result<()> {
        match self {
            Self::Header => {
                connection.pragma_update(None, "user_version", version)?;
                connection.pragma_update(None, "application_id", APPLICATION_ID)
            }
            Self::Table => {
                connection.execute_batch(
                    "CREATE TABLE IF NOT EXISTS executions_version (
                         only INTEGER PRIMARY KEY CHECK (only = 1), version INTEGER NOT NULL
                     ) STRICT",
                )?;
                connection.execute("REPLACE INTO executions_version VALUES (1, ?1)", [version]).map(|_| ())
            }
        }
    }
}

/// Makes the file one of this version. Any number of processes may do so at once: each takes the lock before it looks.
pub(crate) fn migrate(connection: &mut Connection, new: Place) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| Problem::from(error).into_store("prepare the file", Written::Nothing);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let (place, version) = version(&transaction, new)?;
    for (step, number) in STEPS.iter().zip(1..).skip(version) {
        transaction.execute_batch(step).map_err(failed)?;
        if number == KEPT {
            split_checkpoints(&transaction).map_err(failed)?;
        }
        place.set(&transaction, i64::try_from(number).unwrap_or(i64::MAX)).map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

/// Gives each checkpoint a row. A text that is none becomes a row that is none: it is still there, and cannot be read.
fn split_checkpoints(connection: &Connection) -> rusqlite::Result<()> {
    let mut kept = connection.prepare("SELECT seq, checkpoints FROM executions WHERE checkpoints IS NOT NULL")?;
    let mut insert = connection.prepare("INSERT INTO checkpoints (seq, key, value) VALUES (?1, ?2, ?3)")?;
    let mut weigh = connection.prepare(
        "UPDATE executions SET kept_len = (
             SELECT sum(octet_length(key) + octet_length(value)) FROM checkpoints c WHERE c.seq = executions.seq
         ) WHERE seq = ?1",
    )?;
    let mut rows = kept.query([])?;
    while let Some(row) = rows.next()? {
        let (seq, text): (i64, String) = (row.get(0)?, row.get(1)?);
        let split = Parts::split_checkpoints(&text).unwrap_or_else(|| vec![(String::new(), text)]);
        for (key, value) in &split {
            insert.execute(params![seq, key, value])?;
        }
        if !split.is_empty() {
            weigh.execute([seq])?;
        }
    }
    Ok(())
}

/// How many steps the file has taken, and where it says so; one that has taken none is to do it in `new`. An error if it is
/// another program's that is not to be shared, or of a newer version.
pub(crate) fn version(connection: &Connection, new: Place) -> Result<(Place, usize), StoreError> {
    let number = |query: &str| {
        let number: Result<i64, _> = connection.query_row(query, [], |row| row.get(0));
        number.map_err(|error| Problem::from(error).into_store("read the version of the file", Written::Nothing))
    };
    let (owner, tables) = (number("PRAGMA application_id")?, number("SELECT count(*) FROM sqlite_schema")?);
    let (place, version) = if tables > 0 && owner == APPLICATION_ID {
        (Place::Header, number("PRAGMA user_version")?)
    } else if number(&format!("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ({SHARED})"))? == 3 {
        (Place::Table, number("SELECT version FROM executions_version")?)
    } else if new == Place::Table {
        if number(&format!("SELECT count(*) FROM sqlite_schema WHERE lower(name) IN ({NAMES})"))? > 0 {
            return Err(foreign(format!("expected none of the names {NAMES} in the file, found some of its own")));
        }
        (Place::Table, 0)
    } else if tables > 0 {
        let expected = "expected a file of this store, or one that is to be shared (`Options::beside_tables`)";
        return Err(foreign(format!("{expected}, found one of application {owner}")));
    } else {
        (Place::Header, number("PRAGMA user_version")?)
    };
    match usize::try_from(version) {
        Ok(known) if known <= STEPS.len() => Ok((place, known)),
        _ => {
            let newest = STEPS.len();
            Err(foreign(format!("expected version {newest} or older, found {version}: update this program")))
        }
    }
}
