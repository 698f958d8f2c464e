//! Of several requests of one call that fail, what is told.

use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextMut;
use tracer::execution::{Command, Trouble, Write};

use super::checkpoints::Before;
use super::*;

/// Makes one of the next requests one that the service does not know, and refuses: how many come before it.
#[derive(Debug, Clone)]
struct Refused(Arc<AtomicU32>);

impl Intercept for Refused {
    fn name(&self) -> &'static str {
        "refused"
    }

    fn modify_before_transmit(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 0 {
            context.request_mut().headers_mut().insert("x-amz-target", "DynamoDB_20120810.Nothing");
        }
        Ok(())
    }
}

#[test]
fn of_several_deletions_what_was_done_is_told_whatever_else_has_failed() {
    run(async {
        let refused = Refused(Arc::new(AtomicU32::new(u32::MAX)));
        let config = server::config(server::port().await).retry_config(RetryConfig::disabled());
        let client = Client::from_conf(config.interceptor(refused.clone()).build());
        let clock = ManualClock::new(Duration::from_secs(1_790_000_000));
        let manager =
            ExecutionManager::new(DynamoStore::open(client, "deletions").await.unwrap().with_clock(clock.clone()));
        for _ in 0..2 {
            let id = manager.create(NewExecution::new("work")).await.unwrap().id;
            manager.cancel(&id, None).await.unwrap();
        }
        clock.advance(Duration::from_secs(60));
        let retention = Retention::new(Duration::ZERO);
        let delete = || manager.store().delete_ended(&retention, None, 100);
        // One asks for what there is, one reads it, and then there is one for each; nothing was written but by those.
        for (number, written) in [(0, Written::Nothing), (1, Written::Nothing), (3, Written::Unknown)] {
            refused.0.store(number, Ordering::Relaxed);
            let told = delete().await.unwrap_err();
            assert_eq!((told.trouble, told.written), (Trouble::Refused, written), "{number}");
        }
        assert_eq!(delete().await.unwrap().deleted, 1);
    });
}

#[test]
fn of_a_batch_what_may_have_been_written_is_told_whatever_else_has_failed() {
    run(async {
        let before = Before::default();
        let config = server::config(server::port().await).retry_config(RetryConfig::disabled());
        let failing = Client::from_conf(config.interceptor(before.clone()).build());
        let store = DynamoStore::open(failing, "failures").await.unwrap();
        let manager = ExecutionManager::new(store);
        let mut leases = Vec::new();
        for _ in 0..2 {
            manager.create(NewExecution::new("work")).await.unwrap();
            leases.push(manager.claim(claim(1)).await.unwrap().remove(0).token());
        }
        leases.sort_unstable_by_key(|lease| lease.id);
        let large = "x".repeat(1 << 20);
        let end = |lease, result: &str| Write::under(lease, Command::Complete { result: result.into() });
        // Both are read; then the client does not know what has become of the first, and the second is never sent.
        before.request(1, || Err("the answer is lost".into()));
        let told = manager.store().settle(vec![end(leases[0], "small"), end(leases[1], &large)]).await.unwrap_err();
        assert_eq!((told.trouble, told.written), (Trouble::Unavailable, Written::Unknown));

        let new = |payload: &str| manager.prepare(NewExecution::new("work").payload(payload)).unwrap();
        before.request(0, || Err("the answer is lost".into()));
        let told = manager.store().create(vec![new("small"), new(&large)]).await.unwrap_err();
        assert_eq!((told.trouble, told.written), (Trouble::Unavailable, Written::Unknown));
        // The control: alone, nothing was written.
        let told = manager.store().create(vec![new(&large)]).await.unwrap_err();
        assert_eq!((told.trouble, told.written), (Trouble::TooLarge, Written::Nothing));
    });
}
