//! A thread with a connection, and the work that is handed to it.

use std::iter;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::oneshot;
use tracer::execution::{StoreError, Written};

use crate::trouble::{NAME, Problem, gone};

/// How many calls one transaction takes at most: others are to get their turn.
const BATCH_MAX: usize = 512;
/// How many calls may wait to be taken. Past that, callers are answered that the store is too busy.
const QUEUE_MAX: usize = 65_536;

/// One call: done on the thread, and told what has become of it.
trait Call: Send {
    /// Whether it is done by a look, outside of any transaction: there was nothing to write.
    fn look(&mut self, connection: &Connection) -> bool;
    /// Does it; whether it has succeeded.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Tells the caller, now that what it did is committed, or why that has failed.
    fn answer(self: Box<Self>, failed: Option<&rusqlite::Error>);
}

struct Work<T, L, F> {
    operation: &'static str,
    look: Option<L>,
    todo: Option<F>,
    outcome: Option<Result<T, Problem>>,
    caller: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, L, F> Call for Work<T, L, F>
where
    T: Send,
    L: FnOnce(&Connection) -> Result<Option<T>, Problem> + Send,
    F: FnOnce(&Connection) -> Result<T, Problem> + Send,
{
    fn look(&mut self, connection: &Connection) -> bool {
        // What hinders a look hinders the work, which says so.
        let seen = self.look.take().and_then(|look| look(connection).ok().flatten());
        self.outcome = seen.map(Ok);
        self.outcome.is_some()
    }

    fn run(&mut self, connection: &Connection) -> bool {
        self.outcome = self.todo.take().map(|work| work(connection));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, failed: Option<&rusqlite::Error>) {
        let answer = match (self.outcome, failed) {
            (Some(Err(problem)), _) => Err(problem.into_store(self.operation, Written::Nothing)),
            (Some(Ok(value)), None) => Ok(value),
            // It could not begin: nothing was written. If it could not end, nobody knows.
            (None, Some(error)) => Err(copied(error).into_store(self.operation, Written::Nothing)),
            (Some(Ok(_)), Some(error)) => Err(copied(error).into_store(self.operation, Written::Unknown)),
            (None, None) => Err(gone(self.operation)),
        };
        // A caller who has gone away does not want to know.
        drop(self.caller.send(answer));
    }
}

/// One error for each of many callers.
fn copied(error: &rusqlite::Error) -> Problem {
    match error {
        rusqlite::Error::SqliteFailure(code, message) => rusqlite::Error::SqliteFailure(*code, message.clone()).into(),
        other => rusqlite::Error::ToSqlConversionFailure(other.to_string().into()).into(),
    }
}

/// A thread with a connection of its own. It ends, with all that was handed to it done, when this is dropped.
pub(crate) struct Lane {
    calls: Option<SyncSender<Box<dyn Call>>>,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    /// A lane whose calls are done in transactions that write.
    pub(crate) fn writing(connection: Connection) -> std::io::Result<Self> {
        Self::new("tracer-sqlite-write", move |calls| write_all(connection, &calls))
    }

    /// A lane whose calls only read.
    pub(crate) fn reading(connection: Connection) -> std::io::Result<Self> {
        Self::new("tracer-sqlite-read", move |calls| {
            for mut call in calls {
                call.run(&connection);
                call.answer(None);
            }
        })
    }

    fn new(name: &str, run: impl FnOnce(Receiver<Box<dyn Call>>) + Send + 'static) -> std::io::Result<Self> {
        let (calls, receiver) = sync_channel(QUEUE_MAX);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || run(receiver))?;
        Ok(Self { calls: Some(calls), thread: Some(thread) })
    }

    /// Hands work over. It is done, whole, even if the future is dropped.
    pub(crate) async fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.call_unless(operation, |_| Ok(None), work).await
    }

    /// Likewise, unless what a look gives is the answer.
    pub(crate) async fn call_unless<T: Send + 'static>(
        &self,
        operation: &'static str,
        look: impl FnOnce(&Connection) -> Result<Option<T>, Problem> + Send + 'static,
        work: impl FnOnce(&Connection) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (caller, answer) = oneshot::channel();
        let work = Box::new(Work { operation, look: Some(look), todo: Some(work), outcome: None, caller });
        if self.calls.as_ref().is_none_or(|calls| calls.try_send(work).is_err()) {
            return Err(busy(operation));
        }
        answer.await.unwrap_or_else(|_| Err(gone(operation)))
    }
}

fn busy(operation: &'static str) -> StoreError {
    let source = format!("{QUEUE_MAX} calls are waiting already, or the store's thread has ended").into();
    let trouble = tracer::execution::Trouble::Unavailable;
    StoreError { store: NAME, operation, trouble, written: Written::Nothing, source }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.calls = None;
        if let Some(thread) = self.thread.take() {
            // It has panicked if it has; whoever waited for it was told.
            drop(thread.join());
        }
    }
}

fn write_all(mut connection: Connection, calls: &Receiver<Box<dyn Call>>) {
    while let Ok(first) = calls.recv() {
        let mut batch = Vec::new();
        for mut call in iter::once(first).chain(calls.try_iter().take(BATCH_MAX - 1)) {
            if call.look(&connection) {
                call.answer(None);
            } else {
                batch.push(call);
            }
        }
        let failed = commit(&mut connection, &mut batch).err();
        for call in batch {
            call.answer(failed.as_ref());
        }
    }
}

/// Does all of them, if there are any, in one transaction. What one has done that fails is taken back alone.
fn commit(connection: &mut Connection, batch: &mut [Box<dyn Call>]) -> rusqlite::Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let [alone] = batch {
        // A savepoint would keep a copy of each page that is changed.
        return if alone.run(&transaction) { transaction.commit() } else { transaction.rollback() };
    }
    for call in batch {
        let savepoint = transaction.savepoint()?;
        if call.run(&savepoint) {
            savepoint.commit()?;
        }
    }
    transaction.commit()
}
