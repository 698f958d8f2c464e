//! The hint that something may have become due: `NOTIFY`, seldom, and who listens to it.
//!
//! Commits with a `NOTIFY` wait for each other, in the whole cluster of databases: so a process says so once in a while
//! only, and not with each of its transactions. Whoever hears it looks at once, and once more a little later, for what was
//! not said.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::{GenericClient as _, Object};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at, sleep, sleep_until, timeout};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, Client, Config, Notification, Socket};
use tracer::execution::Execution;

use crate::trouble::Problem;

/// Databases have channels, and schemas have tables: which schema it is about is said with it.
pub(crate) const NOTIFY: &str = "SELECT pg_notify('tracer_executions', current_schema()::text)";
const LISTEN: &str = "LISTEN tracer_executions";
const SCHEMA: &str = "SELECT current_schema()::text";

/// How often a process says so at most.
const EVERY: Duration = Duration::from_millis(50);
/// How long after it was heard one looks again: what was created meanwhile was not said, and is committed by then.
const AGAIN: Duration = Duration::from_millis(100);
/// How often a connection is tried that says nothing, and how long it may take to answer.
const TRY_EVERY: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait before a connection is made anew that was lost.
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// When this process has last said so.
#[derive(Default)]
pub(crate) struct Said(Mutex<Option<Instant>>);

impl Said {
    /// Whether a change that left this execution may be of interest: it may be claimed as soon as it is committed.
    pub(crate) fn is_worth(execution: &Execution) -> bool {
        execution.is_due(execution.updated_at)
    }

    /// Says so, with the transaction if it is one, unless it was said just now.
    pub(crate) async fn say(&self, client: &Object) -> Result<(), Problem> {
        if !self.is_time() {
            return Ok(());
        }
        let statement = client.prepare_cached(NOTIFY).await?;
        client.execute(&statement, &[]).await?;
        Ok(())
    }

    /// Whether it may be said again; then it is about to be.
    pub(crate) fn is_time(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = last.is_none_or(|last| last.elapsed() >= EVERY);
        if is_time {
            *last = Some(Instant::now());
        }
        is_time
    }

    /// A transaction has failed, with what it may have said: the next one may say it.
    pub(crate) fn nothing(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

type Connected = Result<(Client, mpsc::UnboundedReceiver<Notification>), tokio_postgres::Error>;
type Connect = dyn Fn() -> Pin<Box<dyn Future<Output = Connected> + Send>> + Send + Sync;

/// A connection that listens, from the first time that somebody waits: a process that only creates has none.
pub(crate) struct Listener {
    connect: Arc<Connect>,
    heard: watch::Sender<()>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Listener {
    pub(crate) fn new<T>(config: Config, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Sync + Send + 'static,
        T::Stream: Sync + Send,
        T::TlsConnect: Sync + Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let connect = move || -> Pin<Box<dyn Future<Output = Connected> + Send>> {
            let (config, tls) = (config.clone(), tls.clone());
            Box::pin(async move {
                let (client, mut connection) = config.connect(tls).await?;
                let (sender, receiver) = mpsc::unbounded_channel();
                // Ends with the client.
                tokio::spawn(async move {
                    while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                        if let AsyncMessage::Notification(notification) = message {
                            drop(sender.send(notification));
                        }
                    }
                });
                Ok((client, receiver))
            })
        };
        Self { connect: Arc::new(connect), heard: watch::Sender::new(()), task: Mutex::default() }
    }

    /// What is heard from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.heard.subscribe()
    }

    /// Makes sure that somebody listens: the runtime on which somebody did may be gone.
    pub(crate) fn start(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            *task = Some(tokio::spawn(listen(self.connect.clone(), self.heard.clone())));
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner) {
            task.abort();
        }
    }
}

/// Listens for ever. Whoever waits asks by and by, too: no trouble here is worth an error.
async fn listen(connect: Arc<Connect>, heard: watch::Sender<()>) {
    let mut wait = WAIT_MIN;
    loop {
        let begun = Instant::now();
        if let Ok(Ok((client, notifications))) = timeout(PATIENCE, connect()).await {
            hear(&client, notifications, &heard).await;
        }
        // A server that takes connections and loses them at once is left alone for longer and longer.
        if begun.elapsed() > WAIT_MAX {
            wait = WAIT_MIN;
        }
        sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
    }
}

/// Until the connection is lost, of which nobody needs to know more.
async fn hear(
    client: &Client,
    mut notifications: mpsc::UnboundedReceiver<Notification>,
    heard: &watch::Sender<()>,
) -> Option<()> {
    let begun = async {
        client.batch_execute(LISTEN).await?;
        client.query_one(SCHEMA, &[]).await?.try_get::<_, String>(0)
    };
    let schema = timeout(PATIENCE, begun).await.ok()?.ok()?;
    // What was said before is not said again, nor what comes shortly after it.
    heard.send_replace(());
    let mut again = Some(Instant::now() + AGAIN);
    let mut tries = interval_at(Instant::now() + TRY_EVERY, TRY_EVERY);
    loop {
        tokio::select! {
            notification = notifications.recv() => {
                if notification?.payload() == schema {
                    heard.send_replace(());
                    again = Some(Instant::now() + AGAIN);
                }
            }
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {
                heard.send_replace(());
                again = None;
            }
            _ = tries.tick() => timeout(PATIENCE, client.simple_query("")).await.ok()?.map(drop).ok()?,
        }
    }
}
