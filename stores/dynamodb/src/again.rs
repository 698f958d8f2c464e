//! Requests that are made again because others were in the way.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::AsyncSleep;

/// How often.
pub(crate) const ATTEMPTS: u32 = 24;

/// Waits for a moment, another one for everybody.
pub(crate) async fn wait(client: &Client, attempt: u32) {
    if let Some(sleep) = client.config().sleep_impl() {
        sleep.sleep(Duration::from_millis(fastrand::u64(1..=u64::from(attempt.min(16)) * 4))).await;
    }
}
