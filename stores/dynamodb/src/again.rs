//! Requests that are made again because others were in the way.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::AsyncSleep;
use aws_smithy_async::rt::sleep::default_async_sleep;

/// How often.
pub(crate) const ATTEMPTS: u32 = 24;

/// Waits for a moment, another one for everybody.
pub(crate) async fn wait(client: &Client, attempt: u32) {
    sleep(client, Duration::from_millis(fastrand::u64(1..=u64::from(attempt.min(16)) * 4))).await;
}

/// As the client waits itself: a configuration that names nothing to wait with means the runtime.
pub(crate) async fn sleep(client: &Client, duration: Duration) {
    if let Some(sleep) = client.config().sleep_impl().or_else(default_async_sleep) {
        sleep.sleep(duration).await;
    }
}
