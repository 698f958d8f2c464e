//! The store: calls become work for its two threads.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction};
use tokio::sync::Notify;
use tracer::execution::{
    Beat, Capabilities, Claim, Command, Create, Created, Cursor, Deleted, Execution, ExecutionError, ExecutionId,
    ExecutionStore, Lease, ListOptions, Page, Refusal, Retention, StoreError, Survives, Swept, Timestamp, Trouble,
    Write, Written,
};
use tracer::{Clock, SystemClock};

use crate::lane::Lane;
use crate::schema::Place;
use crate::trouble::{NAME, Problem, TEXT_LEN_BYTES_MAX};
use crate::{due, old, row, schema};

/// How long a transaction waits for those of other processes.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much of the file a connection keeps in memory, in KiB as SQLite wants them: what a batch of executions touches, and
/// the ways there in the indexes.
const CACHE_KIB: i64 = -16_384;
/// After how many pages of the log they are written to the file. Four times as many as SQLite would: each page is written
/// once, however often it was changed since, and waits for the disk once.
const CHECKPOINT_PAGES: i64 = 4000;
/// How many statements are kept: all that this store has, and some lists.
const STATEMENTS: usize = 48;

/// Executions in an SQLite file. Clones share the connection; the last one that is dropped waits for what was asked for.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

struct Shared {
    writer: Lane,
    reader: Lane,
    claimed: Arc<Mutex<row::Claimed>>,
    clock: Arc<dyn Clock>,
    path: PathBuf,
    survives: Survives,
    /// Something may have become due.
    arrived: Notify,
}

/// How a file is opened.
#[derive(Clone)]
pub struct Options {
    clock: Arc<dyn Clock>,
    survives: Survives,
    new: Place,
}

impl Default for Options {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock), survives: Survives::Kill, new: Place::Header }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("survives", &self.survives).finish_non_exhaustive()
    }
}

impl Options {
    /// As [`SqliteStore::open`] does it.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a write that was answered is to survive: the death of the process unless given. SQLite cannot do less.
    #[must_use]
    pub fn survives(mut self, survives: Survives) -> Self {
        self.survives = survives.max(Survives::Kill);
        self
    }

    /// The time: the machine's unless given. All processes with the file need the same.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Lets executions be in a file with an application's own tables, for [`SqliteStore::create_in`]. Otherwise a file that an
    /// application has made is refused, lest one is opened by mistake.
    ///
    /// They get tables of the names `executions`, `executions_version`, `checkpoints` and `clock`, and indexes whose names
    /// begin with `executions_`; `user_version` and
    /// `application_id` stay the application's, also of a file that is made here. The file gets a write-ahead log. Once it
    /// has these tables, it is opened without this, too; one that was made without this stays as it is.
    #[must_use]
    pub fn beside_tables(mut self) -> Self {
        self.new = Place::Table;
        self
    }

    /// Opens the file, and makes it if there is none.
    ///
    /// # Errors
    ///
    /// `SCHEMA` if it is another program's, a newer version's, or has tables of the same names; `CORRUPT` if it is no
    /// database, `STORE` if it cannot be opened or written, or is none, as `:memory:`. Nothing was written.
    pub fn open(self, path: impl AsRef<Path>) -> Result<SqliteStore, StoreError> {
        let path = path.as_ref();
        check_file(path)?;
        let failed = |error: rusqlite::Error| Problem::from(error).into_store("open the file", Written::Nothing);
        let mut writer = connect(path).map_err(failed)?;
        // Before anything is set: another program's file stays as it is. In one view of it: others may be making it just now.
        writer.transaction().map_err(failed).and_then(|view| schema::version(&view, self.new))?;
        prepare(&writer, self.survives).map_err(failed)?;
        schema::migrate(&mut writer, self.new)?;
        let reader =
            connect(path).and_then(|reader| prepare(&reader, self.survives).map(|()| reader)).map_err(failed)?;
        let started = Lane::writing(writer).and_then(|writer| Ok((writer, Lane::reading(reader)?)));
        let (writer, reader) = started.map_err(|error| StoreError {
            store: NAME,
            operation: "start a thread",
            trouble: Trouble::Unavailable,
            written: Written::Nothing,
            source: error.into(),
        })?;
        let Self { clock, survives, .. } = self;
        Ok(SqliteStore {
            shared: Arc::new(Shared {
                writer,
                reader,
                claimed: Arc::default(),
                clock,
                path: path.to_owned(),
                survives,
                arrived: Notify::new(),
            }),
        })
    }
}

/// What SQLite takes for no file, each connection has for itself.
fn check_file(path: &Path) -> Result<(), StoreError> {
    if !path.as_os_str().is_empty() && path != ":memory:" {
        return Ok(());
    }
    let found = format!("expected the path of a file, found `{}`: `MemoryStore` needs none", path.display()).into();
    let (trouble, written) = (Trouble::Refused, Written::Nothing);
    Err(StoreError { store: NAME, operation: "open the file", trouble, written, source: found })
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // No URI: a path is a path, whatever characters it has.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

fn prepare(connection: &Connection, survives: Survives) -> rusqlite::Result<()> {
    write_ahead(connection)?;
    let synchronous = if survives >= Survives::PowerLoss { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "cache_size", CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    // What savepoints keep to take back: no file for that.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    // Else statements are planned anew for each new value of what they limit.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// Gives the file a write-ahead log. Of several that do so at once SQLite answers all but one that the file is busy,
/// and does not wait for their turn as it does elsewhere.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    const NAP: Duration = Duration::from_millis(1);
    let mut waited = Duration::ZERO;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && waited < PATIENCE => {
                std::thread::sleep(NAP);
                waited += NAP;
            }
            done => return done,
        }
    }
}

impl SqliteStore {
    /// Opens a file, and makes it if there is none. [`Options`] has more to choose.
    ///
    /// # Errors
    ///
    /// As [`Options::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Options::new().open(path)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Creates executions inside a transaction of one's own on the same file: they are there if it is committed.
    /// [`ExecutionManager::prepare`](tracer::execution::ExecutionManager::prepare) makes what is given here, and
    /// [`Options::beside_tables`] opens a file that an application has made.
    ///
    /// # Errors
    ///
    /// As [`ExecutionStore::create`]. None was created then, and the transaction is as it was before. What was there under an
    /// idempotency key may be other work: [`Create::check`] says so.
    pub fn create_in(
        &self,
        transaction: &Transaction<'_>,
        new: impl IntoIterator<Item = Create>,
    ) -> Result<Vec<Created>, StoreError> {
        let create = || row::at_now(transaction, &*self.shared.clock, |now| row::create(transaction, new, now));
        let created = whole(transaction, create);
        created.map_err(|problem| problem.into_store("create executions", Written::Nothing))
    }

    /// Changes an execution inside a transaction of one's own on the same file, under a lease: its checkpoint is kept, or its
    /// attempt ended, exactly if what else the transaction does is done. The handler of a worker that has ended its attempt so
    /// returns the same result.
    ///
    /// Nobody else writes to the file until the transaction ends, heartbeats included: commit soon.
    ///
    /// # Errors
    ///
    /// As [`ExecutionManager::under`](tracer::execution::ExecutionManager::under), `LEASE_LOST` first of all: another attempt
    /// has begun. Nothing was written, and the transaction is as it was before: roll it back, or its effects are there without
    /// what says so.
    pub fn settle_in(&self, transaction: &Transaction<'_>, write: Write) -> Result<(), ExecutionError> {
        let id = write.id;
        let outcomes = whole(transaction, || {
            row::at_now(transaction, &*self.shared.clock, |now| {
                // What is remembered of claims belongs to the thread that writes.
                row::settle(transaction, &mut row::Claimed::default(), &[write], now)
            })
        });
        let outcomes = outcomes.map_err(|problem| problem.into_store("update an execution", Written::Nothing))?;
        outcomes.into_iter().try_for_each(|outcome| outcome.map_err(|refusal| ExecutionError::refused(id, refusal)))
    }

    /// Work that writes, at the store's time.
    async fn write<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection, Timestamp) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.write_unless(operation, |_, _| Ok(None), work).await
    }

    /// Likewise, unless what `nothing` gives is the answer: then nobody is waited for who writes.
    async fn write_unless<T: Send + 'static>(
        &self,
        operation: &'static str,
        nothing: impl FnOnce(&Connection, &dyn Clock) -> Result<Option<T>, Problem> + Send + 'static,
        work: impl FnOnce(&Connection, Timestamp) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (clock, again) = (self.shared.clock.clone(), self.shared.clock.clone());
        let nothing = move |connection: &Connection| nothing(connection, &*clock);
        let work = move |connection: &Connection| row::at_now(connection, &*again, |now| work(connection, now));
        self.shared.writer.call_unless(operation, nothing, work).await
    }

    async fn change<T: Send + 'static>(
        &self,
        writes: Vec<Write>,
        apply: impl Fn(&Connection, &mut row::Claimed, &[Write], Timestamp) -> Result<Vec<T>, Problem> + Send + 'static,
    ) -> Result<Vec<T>, StoreError> {
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        let brings_work = writes.iter().any(brings_work);
        let claimed = self.shared.claimed.clone();
        let work = move |connection: &Connection, now| {
            apply(connection, &mut claimed.lock().unwrap_or_else(PoisonError::into_inner), &writes, now)
        };
        let changed = self.write("update executions", work).await?;
        if brings_work {
            self.shared.arrived.notify_waiters();
        }
        Ok(changed)
    }
}

/// Whether something may wait to be claimed when this is done.
fn brings_work(write: &Write) -> bool {
    use Command as C;
    matches!(write.command, C::Fail { .. } | C::Retry | C::Redrive | C::Overtime { .. } | C::Release { .. })
}

/// Writes all or, with an error, nothing: whoever commits all the same is not to commit a half.
fn whole<T>(transaction: &Transaction<'_>, write: impl FnOnce() -> Result<T, Problem>) -> Result<T, Problem> {
    transaction.execute_batch("SAVEPOINT tracer_settle")?;
    let written = write();
    let undo = if written.is_ok() { "" } else { "ROLLBACK TO tracer_settle;" };
    let ended = transaction.execute_batch(&format!("{undo} RELEASE tracer_settle"));
    let written = written?;
    ended?;
    Ok(written)
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.shared.path)
            .field("survives", &self.shared.survives)
            .finish_non_exhaustive()
    }
}

impl SqliteStore {
    /// Does this to each that is due.
    async fn take(&self, claim: &Claim, command: Command) -> Result<Vec<Execution>, StoreError> {
        claim.check_for(self)?;
        let claim = Arc::new(claim.clone());
        let (claimed, wanted) = (self.shared.claimed.clone(), claim.clone());
        let nothing = move |connection: &Connection, clock: &dyn Clock| due::nothing_due(connection, &wanted, clock);
        let work = move |connection: &Connection, now| {
            let claimed = &mut claimed.lock().unwrap_or_else(PoisonError::into_inner);
            row::claim(connection, claimed, &claim, &command, now)
        };
        self.write_unless("claim executions", nothing, work).await
    }
}

impl ExecutionStore for SqliteStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: NAME,
            consistent_list: true,
            survives: self.shared.survives,
            value_len_bytes_max: Some(TEXT_LEN_BYTES_MAX.unsigned_abs()),
        }
    }

    async fn create(&self, new: Vec<Create>) -> Result<Vec<Created>, StoreError> {
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let work = move |connection: &Connection, now| row::create(connection, new, now);
        let created = self.write("create executions", work).await?;
        if created.iter().any(|created| matches!(created, Created::New(_))) {
            self.shared.arrived.notify_waiters();
        }
        Ok(created)
    }

    async fn find_by_id(&self, id: &ExecutionId) -> Result<Option<Execution>, StoreError> {
        let id = *id;
        self.shared.reader.call("read an execution", move |connection| row::find_by_id(connection, id)).await
    }

    async fn find_by_idempotency_key(&self, key: &str) -> Result<Option<Execution>, StoreError> {
        let key = key.to_owned();
        self.shared.reader.call("read an execution", move |connection| row::find_by_key(connection, &key)).await
    }

    async fn update(&self, writes: Vec<Write>) -> Result<Vec<Result<Execution, Refusal>>, StoreError> {
        self.change(writes, row::update).await
    }

    async fn settle(&self, writes: Vec<Write>) -> Result<Vec<Result<(), Refusal>>, StoreError> {
        self.change(writes, row::settle).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page, StoreError> {
        let options = options.clone();
        self.shared.reader.call("list executions", move |connection| row::list(connection, &options)).await
    }

    async fn delete(&self, id: &ExecutionId) -> Result<Result<(), Refusal>, StoreError> {
        let id = *id;
        self.write("delete an execution", move |connection, _| row::delete(connection, id)).await
    }

    async fn delete_ended(
        &self,
        retention: &Retention,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Deleted, StoreError> {
        let retention = *retention;
        let work = move |connection: &Connection, now| old::delete_ended(connection, &retention, after, limit, now);
        self.write("delete what has ended", work).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        self.take(claim, claim.start()).await
    }

    async fn reserve(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        self.take(claim, claim.reservation()).await
    }

    async fn heartbeat(&self, leases: &[Lease], extend: Duration) -> Result<Vec<Beat>, StoreError> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let leases = leases.to_vec();
        let work = move |connection: &Connection, now| {
            leases.iter().map(|lease| row::heartbeat(connection, lease, extend, now)).collect()
        };
        self.write("extend leases", work).await
    }

    async fn sweep(&self, limit: u32) -> Result<Swept, StoreError> {
        let work = move |connection: &Connection, now| row::sweep(connection, limit, now);
        let swept = self.write_unless("look for lost leases", due::nothing_lost, work).await?;
        if swept.retried > 0 {
            self.shared.arrived.notify_waiters();
        }
        Ok(swept)
    }

    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        let clock = self.shared.clock.clone();
        self.shared.reader.call("read the time", move |connection| row::now(connection, &*clock).map(Some)).await
    }

    fn wake(&self) -> impl Future<Output = ()> + Send {
        self.shared.arrived.notified()
    }
}
