//! Tables that are not there, and do not come.

use aws_sdk_dynamodb::config::interceptors::{
    BeforeSerializationInterceptorContextRef, FinalizerInterceptorContextMut,
};
use aws_sdk_dynamodb::config::{AsyncSleep, Sleep};
use aws_sdk_dynamodb::operation::describe_table::DescribeTableOutput;

use super::*;

/// As a service does whose tables stay as they are called here.
#[derive(Debug)]
struct Stays(&'static str);

impl Intercept for Stays {
    fn name(&self) -> &'static str {
        "stays"
    }

    fn modify_before_attempt_completion(
        &self,
        context: &mut FinalizerInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.output_or_error_mut().and_then(|answer| answer.as_mut().ok());
        let described = answer.and_then(|answer| answer.downcast_mut::<DescribeTableOutput>());
        if let Some(table) = described.and_then(|described| described.table.as_mut()) {
            table.table_status = Some(self.0.into());
        }
        Ok(())
    }
}

/// How often anything was asked.
#[derive(Debug, Clone, Default)]
struct Looks(Arc<AtomicU32>);

impl Intercept for Looks {
    fn name(&self) -> &'static str {
        "looks"
    }

    fn read_before_execution(
        &self,
        _: &BeforeSerializationInterceptorContextRef<'_>,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// No time passes while somebody waits for a table, and none is ever over.
#[derive(Debug, Clone, Default)]
struct Waits(Arc<AtomicU32>);

impl AsyncSleep for Waits {
    fn sleep(&self, duration: Duration) -> Sleep {
        if duration == Duration::from_millis(200) {
            self.0.fetch_add(1, Ordering::Relaxed);
            Sleep::new(std::future::ready(()))
        } else {
            Sleep::new(std::future::pending())
        }
    }
}

#[test]
fn a_table_that_does_not_come_is_not_waited_for_for_ever() {
    run(async {
        let port = server::port().await;
        DynamoStore::open(server::client(port), "stays").await.unwrap();
        let waits = Waits::default();
        let open = async |status| {
            let config = server::config(port).interceptor(Stays(status)).sleep_impl(waits.clone());
            let error = DynamoStore::open(Client::from_conf(config.build()), "stays").await.unwrap_err();
            assert_eq!((error.operation, error.code(), error.written), ("open the table", "STORE", Written::Nothing));
            (error.is_retryable(), error.source.to_string())
        };
        for status in ["ARCHIVED", "INACCESSIBLE_ENCRYPTION_CREDENTIALS", "SOMETHING_NEW"] {
            let (is_retryable, why) = open(status).await;
            assert!(!is_retryable);
            assert_eq!(why, format!("expected `stays` to be active, found it {status}"));
        }
        assert_eq!(waits.0.load(Ordering::Relaxed), 0);
        for status in ["CREATING", "DELETING"] {
            let (is_retryable, why) = open(status).await;
            assert!(is_retryable);
            assert_eq!(why, format!("expected `stays` to be active within two minutes, found it {status}"));
        }
        assert_eq!(waits.0.load(Ordering::Relaxed), 1200);
    });
}

/// As most clients are configured: the client waits with the runtime all the same.
#[test]
fn a_client_that_names_nothing_to_wait_with_waits() {
    run(async {
        let port = server::port().await;
        DynamoStore::open(server::client(port), "unhurried").await.unwrap();
        let looks = Looks::default();
        let config = server::config(port).interceptor(Stays("CREATING")).interceptor(looks.clone());
        let opening = DynamoStore::open(Client::from_conf(config.build()), "unhurried");
        tokio::time::timeout(Duration::from_secs(1), opening).await.unwrap_err();
        assert!((1..=5).contains(&looks.0.load(Ordering::Relaxed)), "{looks:?}");
    });
}
