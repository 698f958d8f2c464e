//! Of several requests of one call that fail, what is told.

use tracer::execution::{Command, Trouble, Write};

use super::checkpoints::Before;
use super::*;

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
