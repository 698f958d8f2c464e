//! Connections, some of them, each in use by one call at a time.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::trouble::Problem;

/// How long a call waits for a connection, and for its answer, unless
/// [`with_patience`](crate::MysqlStore::with_patience) says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How many connections there are at most.
const CONNECTIONS: usize = 8;

/// What a new connection is told. No statement of this crate depends on more.
const SETUP: [&str; 4] = [
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
    "SET SESSION innodb_lock_wait_timeout = 5",
    // What an execution has kept is read as one text; there is another limit to that.
    "SET SESSION group_concat_max_len = 1073741824",
];

/// What the server answers, or that it does not.
pub(crate) async fn in_time<T>(
    patience: Duration,
    asking: impl Future<Output = Result<T, mysql_async::Error>>,
) -> Result<T, Problem> {
    Ok(timeout(patience, asking).await.map_err(|_| Problem::Slow)??)
}

/// A pool of its own: what is dropped in the midst of anything has to be closed, not tidied up by asking a server that may be
/// silent.
pub(crate) struct Lines {
    opts: Opts,
    free: Mutex<Vec<Conn>>,
    permits: Arc<Semaphore>,
}

impl Lines {
    pub(crate) fn new(opts: Opts) -> Self {
        let setup = opts.setup().iter().cloned().chain(SETUP.map(str::to_owned)).collect();
        let opts = OptsBuilder::from_opts(opts).setup::<String>(setup).tcp_nodelay(true).into();
        Self { opts, free: Mutex::default(), permits: Arc::new(Semaphore::new(CONNECTIONS)) }
    }

    /// A connection that answers. `ask` is the first thing it is asked: one that was cut while it was free is noticed then.
    pub(crate) async fn get(&self, ask: &str, patience: Duration) -> Result<Line<'_>, Problem> {
        let connect = async {
            let permit = self.permits.clone().acquire_owned().await.map_err(|_| Problem::Slow)?;
            loop {
                let free = self.free().pop();
                let is_new = free.is_none();
                let mut conn = match free {
                    Some(conn) => conn,
                    None => Conn::new(self.opts.clone()).await?,
                };
                match conn.query_drop(ask).await {
                    Ok(()) => return Ok(Line { lines: self, conn: Some(conn), _permit: permit }),
                    Err(error) if error.is_fatal() && !is_new => {}
                    Err(error) => return Err(error.into()),
                }
            }
        };
        timeout(patience, connect).await.map_err(|_| Problem::Slow)?
    }

    /// A connection in a transaction.
    pub(crate) async fn begin(&self, patience: Duration) -> Result<Line<'_>, Problem> {
        self.get("START TRANSACTION", patience).await
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Conn>> {
        // Nothing can go wrong under the lock.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = CONNECTIONS - self.permits.available_permits();
        f.debug_struct("Lines").field("free", &self.free().len()).field("used", &used).finish_non_exhaustive()
    }
}

/// A connection in use. Dropped, it is closed, and its transaction rolled back.
pub(crate) struct Line<'a> {
    lines: &'a Lines,
    conn: Option<Conn>,
    _permit: OwnedSemaphorePermit,
}

impl Line<'_> {
    pub(crate) async fn commit(mut self, patience: Duration) -> Result<(), Problem> {
        let committed = timeout(patience, self.query_drop("COMMIT")).await;
        committed.map_err(|_| Problem::SlowCommit)?.map_err(Problem::Commit)?;
        self.free();
        Ok(())
    }

    pub(crate) async fn rollback(mut self, patience: Duration) {
        if let Ok(Ok(())) = timeout(patience, self.query_drop("ROLLBACK")).await {
            self.free();
        }
    }

    /// Leaves the connection to others. Nothing is under way on it.
    pub(crate) fn free(mut self) {
        let conn = self.conn.take();
        self.lines.free().extend(conn);
    }
}

impl Deref for Line<'_> {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        self.conn.as_ref().expect("only `free` takes it, and the line with it")
    }
}

impl DerefMut for Line<'_> {
    fn deref_mut(&mut self) -> &mut Conn {
        self.conn.as_mut().expect("only `free` takes it, and the line with it")
    }
}
