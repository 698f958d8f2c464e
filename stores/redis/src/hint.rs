//! The hint that something may have become due: a message, seldom, and who listens to it.
//!
//! Each message has every idle worker look: so a process says so once in a while only, and not with each of its changes.
//! Whoever hears it looks at once, and once more a little later, for what was not said.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::Client;
use redis::aio::PubSub;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at, sleep, sleep_until, timeout};
use tracer::execution::Execution;

use crate::line::PATIENCE;

/// How often a process says so at most.
const EVERY: Duration = Duration::from_millis(50);
/// How long after it was heard one looks again: what was written meanwhile was not said.
const AGAIN: Duration = Duration::from_millis(60);
/// How often a connection is tried that says nothing.
const TRY_EVERY: Duration = Duration::from_secs(30);
/// How long to wait before a connection is made anew that was lost.
const WAIT_MIN: Duration = Duration::from_millis(50);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The channel of a namespace.
pub(crate) fn channel(prefix: &str) -> String {
    format!("{prefix}:due")
}

/// Whether a change that left this execution may be of interest: it may be claimed at once.
pub(crate) fn is_worth(execution: &Execution) -> bool {
    execution.is_due(execution.updated_at)
}

/// When this process has last said so.
#[derive(Default)]
pub(crate) struct Said(Mutex<Option<Instant>>);

impl Said {
    /// Whether it may be said again; then it is about to be.
    pub(crate) fn is_time(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_time = last.is_none_or(|last| last.elapsed() >= EVERY);
        if is_time {
            *last = Some(Instant::now());
        }
        is_time
    }

    /// It could not be said: the next one may say it.
    pub(crate) fn nothing(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// A connection that listens, from the first time that somebody waits: a process that only creates has none.
pub(crate) struct Listener {
    client: Client,
    channel: String,
    heard: watch::Sender<()>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Listener {
    pub(crate) fn new(client: Client, channel: String) -> Self {
        Self { client, channel, heard: watch::Sender::new(()), task: Mutex::default() }
    }

    /// What is heard from now on.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.heard.subscribe()
    }

    /// Makes sure that somebody listens: the runtime on which somebody did may be gone.
    pub(crate) fn start(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            *task = Some(tokio::spawn(listen(self.client.clone(), self.channel.clone(), self.heard.clone())));
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
async fn listen(client: Client, channel: String, heard: watch::Sender<()>) {
    let mut wait = WAIT_MIN;
    loop {
        let begun = Instant::now();
        let subscribed = async {
            let mut messages = client.get_async_pubsub().await.ok()?;
            messages.subscribe(&channel).await.ok()?;
            Some(messages)
        };
        if let Ok(Some(messages)) = timeout(PATIENCE, subscribed).await {
            hear(messages, &heard).await;
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
async fn hear(messages: PubSub, heard: &watch::Sender<()>) -> Option<()> {
    let (mut sink, mut messages) = messages.split();
    // What was said before is not said again, nor what comes shortly after it.
    heard.send_replace(());
    let mut again = Some(Instant::now() + AGAIN);
    let mut tries = interval_at(Instant::now() + TRY_EVERY, TRY_EVERY);
    loop {
        tokio::select! {
            message = messages.next() => {
                message?;
                heard.send_replace(());
                again = Some(Instant::now() + AGAIN);
            }
            () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {
                heard.send_replace(());
                again = None;
            }
            _ = tries.tick() => timeout(PATIENCE, sink.ping::<redis::Value>()).await.ok()?.map(drop).ok()?,
        }
    }
}
