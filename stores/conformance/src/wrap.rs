//! One place for what all wrappers have to write.

/// Implements `ExecutionStore` for a wrapper by its `around`: an async method that is given what kind of call it is, and
/// how to make it, as often as it wants.
macro_rules! wrapped {
    ($wrapper:ident<S $(, $more:ident)?>) => {
        impl<S: ExecutionStore $(, $more: Send + Sync)?> ExecutionStore for $wrapper<S $(, $more)?> {
            fn capabilities(&self) -> Capabilities {
                self.inner().capabilities()
            }

            async fn create(&self, new: Vec<Create>) -> Result<Vec<Created>, StoreError> {
                self.around(Call::Repeatable, || self.inner().create(new.clone())).await
            }

            async fn find_by_id(&self, id: &ExecutionId) -> Result<Option<Execution>, StoreError> {
                self.around(Call::Repeatable, || self.inner().find_by_id(id)).await
            }

            async fn find_by_idempotency_key(&self, key: &str) -> Result<Option<Execution>, StoreError> {
                self.around(Call::Repeatable, || self.inner().find_by_idempotency_key(key)).await
            }

            async fn update(&self, writes: Vec<Write>) -> Result<Vec<Result<Execution, Refusal>>, StoreError> {
                self.around(Call::of(&writes), || self.inner().update(writes.clone())).await
            }

            async fn settle(&self, writes: Vec<Write>) -> Result<Vec<Result<(), Refusal>>, StoreError> {
                self.around(Call::of(&writes), || self.inner().settle(writes.clone())).await
            }

            async fn list(&self, options: &ListOptions) -> Result<Page, StoreError> {
                self.around(Call::Repeatable, || self.inner().list(options)).await
            }

            async fn delete(&self, id: &ExecutionId) -> Result<Result<(), Refusal>, StoreError> {
                self.around(Call::Once, || self.inner().delete(id)).await
            }

            async fn delete_ended(
                &self,
                retention: &Retention,
                after: Option<Cursor>,
                limit: u32,
            ) -> Result<Deleted, StoreError> {
                self.around(Call::Once, || self.inner().delete_ended(retention, after, limit)).await
            }

            async fn claim(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
                self.around(Call::Once, || self.inner().claim(claim)).await
            }

            async fn reserve(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
                self.around(Call::Once, || self.inner().reserve(claim)).await
            }

            async fn heartbeat(&self, leases: &[Lease], extend: Duration) -> Result<Vec<Beat>, StoreError> {
                self.around(Call::Repeatable, || self.inner().heartbeat(leases, extend)).await
            }

            async fn sweep(&self, limit: u32) -> Result<Swept, StoreError> {
                self.around(Call::Once, || self.inner().sweep(limit)).await
            }

            async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
                self.around(Call::Repeatable, || self.inner().time()).await
            }
        }
    };
}

use tracer::execution::{Command, Write};
pub(crate) use wrapped;

/// What a lost reply means.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Call {
    /// The repetition is answered as the call.
    Repeatable,
    /// The repetition is answered otherwise: a second claim claims others, a second sweep has less to count.
    Once,
}

impl Call {
    /// The beginnings and ends of attempts under their leases are repeatable, and what sets a value.
    pub(crate) fn of(writes: &[Write]) -> Self {
        let ends = |command: &Command| {
            matches!(
                command,
                Command::Begin
                    | Command::Complete { .. }
                    | Command::Fail { .. }
                    | Command::Cancel { .. }
                    | Command::TimeOut
                    | Command::Overtime { .. }
                    | Command::Release { .. }
            )
        };
        match writes {
            // The outcomes of a batch depend on each other.
            [write] if write.expected.epoch.is_some() && write.expected.version.is_none() && ends(&write.command) => {
                Self::Repeatable
            }
            _ => Self::Once,
        }
    }
}
