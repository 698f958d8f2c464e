//! The connection: made when it is first needed, and made again once it has failed.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisError, RedisFuture, RedisResult, Value};
use tokio::sync::Mutex;

/// How long to wait for a connection, and for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A connection that all clones share. One that is cut, or on which an answer does not come, is given up, and the next call
/// has another: redis's own manager keeps one whose other end is silently gone.
#[derive(Clone)]
pub struct Reconnecting {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    patience: Duration,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    /// How many there were before.
    number: u64,
    connection: Option<MultiplexedConnection>,
}

impl Reconnecting {
    /// Connects when it is first used. `patience` is how long to wait for a connection, and for an answer.
    pub fn new(client: Client, patience: Duration) -> Self {
        Self { shared: Arc::new(Shared { client, patience, current: Mutex::default() }) }
    }

    async fn current(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let mut current = self.shared.current.lock().await;
        if let Some(connection) = &current.connection {
            return Ok((current.number, connection.clone()));
        }
        let patience = Some(self.shared.patience);
        let config = AsyncConnectionConfig::new().set_connection_timeout(patience).set_response_timeout(patience);
        let connecting = self.shared.client.get_multiplexed_async_connection_with_config(&config);
        let connection = connecting.await.map_err(not_connected)?;
        current.connection = Some(connection.clone());
        Ok((current.number, connection))
    }

    /// Gives a connection up if it is of no use any more.
    async fn after<T>(&self, number: u64, answer: RedisResult<T>) -> RedisResult<T> {
        if answer.as_ref().is_err_and(|error| error.is_io_error() || error.is_unrecoverable_error()) {
            let mut current = self.shared.current.lock().await;
            if current.number == number {
                *current = Current { number: number + 1, connection: None };
            }
        }
        answer
    }
}

/// Makes sure that this can be told from a connection that was lost: nothing was sent.
fn not_connected(error: RedisError) -> RedisError {
    if error.is_io_error() { io::Error::new(io::ErrorKind::ConnectionRefused, error).into() } else { error }
}

impl ConnectionLike for Reconnecting {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let (number, mut connection) = self.current().await?;
            self.after(number, connection.send_packed_command(command).await).await
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            let (number, mut connection) = self.current().await?;
            self.after(number, connection.send_packed_commands(commands, offset, count).await).await
        })
    }

    fn get_db(&self) -> i64 {
        self.shared.client.get_connection_info().redis_settings().db()
    }
}

impl fmt::Debug for Reconnecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reconnecting").field("patience", &self.shared.patience).finish_non_exhaustive()
    }
}
