//! What DynamoDB's errors mean.

use std::error::Error;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use tracer::execution::{StoreError, Trouble, Written};

use crate::item::ITEM_LEN_BYTES_MAX;

pub(crate) const NAME: &str = "dynamodb";

/// Trouble with one request.
#[derive(Debug)]
pub(crate) struct Problem {
    trouble: Trouble,
    /// Whether this request may have written something.
    written: Written,
    source: Box<dyn Error + Send + Sync>,
}

impl Problem {
    pub(crate) fn corrupt(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { trouble: Trouble::Corrupt, written: Written::Nothing, source: source.into() }
    }

    pub(crate) fn schema(message: String) -> Self {
        Self { trouble: Trouble::Schema, written: Written::Nothing, source: message.into() }
    }

    pub(crate) fn refused(message: String) -> Self {
        Self { trouble: Trouble::Refused, written: Written::Nothing, source: message.into() }
    }

    pub(crate) fn busy(message: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { trouble: Trouble::Unavailable, written: Written::Nothing, source: message.into() }
    }

    pub(crate) fn too_large(found: usize, limit: usize) -> Self {
        let message = format!(
            "expected an execution of at most {limit} bytes, found {found}: DynamoDB takes {ITEM_LEN_BYTES_MAX}, of which its \
             attempts need some"
        );
        Self { trouble: Trouble::TooLarge, written: Written::Nothing, source: message.into() }
    }

    pub(crate) fn checkpoint_too_large(found: usize) -> Self {
        let message =
            format!("expected a checkpoint of at most {ITEM_LEN_BYTES_MAX} bytes with its keys, found {found}");
        Self { trouble: Trouble::TooLarge, written: Written::Nothing, source: message.into() }
    }

    /// The same, where a request before it, of the same change, has written something.
    pub(crate) fn behind_others(self, is_any_written: bool) -> Self {
        Self { written: if is_any_written { Written::Unknown } else { self.written }, ..self }
    }

    /// Whether it is the service's, and not that of what was asked.
    pub(crate) fn is_passing(&self) -> bool {
        self.trouble == Trouble::Unavailable
    }

    /// `written`: what the same operation has written by requests before this one.
    pub(crate) fn into_store(self, operation: &'static str, written: Written) -> StoreError {
        let Self { trouble, written: by_this, source } = self;
        let written = if by_this == Written::Unknown { by_this } else { written };
        StoreError { store: NAME, operation, trouble, written, source }
    }
}

/// What kept some items from being written. One that the service will never take keeps nobody from the others.
#[derive(Default)]
pub(crate) struct Failed(Option<Problem>);

impl Failed {
    /// The service's own trouble is what is told; and that something may have been written, if any of them says so.
    pub(crate) fn keep(&mut self, problem: Problem) {
        self.0 = Some(match self.0.take() {
            None => problem,
            Some(before) => {
                let is_any_written = [&before, &problem].iter().any(|one| one.written == Written::Unknown);
                let told = if before.is_passing() { before } else { problem };
                told.behind_others(is_any_written)
            }
        });
    }

    /// Whether it makes sense to go on: not while the service fails whatever it is asked.
    pub(crate) fn check(&mut self) -> Result<(), Problem> {
        self.0.take_if(|problem| problem.is_passing()).map_or(Ok(()), Err)
    }

    /// Tells of it.
    pub(crate) fn told(self) -> Result<(), Problem> {
        self.0.map_or(Ok(()), Err)
    }

    /// Tells of it unless there is something better to tell: it will be met again.
    pub(crate) fn unless(self, is_any_done: bool) -> Result<(), Problem> {
        if is_any_done { Ok(()) } else { self.told() }
    }
}

/// A request that only reads.
pub(crate) fn reading<E>(error: SdkError<E>) -> Problem
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let (trouble, _) = classified(&error);
    Problem { trouble, written: Written::Nothing, source: error.into() }
}

/// A request that writes.
pub(crate) fn writing<E>(error: SdkError<E>) -> Problem
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let (trouble, written) = classified(&error);
    Problem { trouble, written, source: error.into() }
}

/// Codes: "DynamoDB Developer Guide", error handling.
fn classified<E: ProvideErrorMetadata>(error: &SdkError<E>) -> (Trouble, Written) {
    match error {
        SdkError::ConstructionFailure(_) => (Trouble::Refused, Written::Nothing),
        // Nobody was there to be asked; but the client may have tried before, and been heard.
        SdkError::DispatchFailure(failure) if failure.is_user() => (Trouble::Refused, Written::Nothing),
        SdkError::ServiceError(answer) => match answer.err().code().unwrap_or_default() {
            "InternalServerError" | "InternalFailure" => (Trouble::Unavailable, Written::Unknown),
            "ProvisionedThroughputExceededException"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "LimitExceededException"
            | "ServiceUnavailable"
            | "TransactionConflictException"
            | "TransactionInProgressException" => (Trouble::Unavailable, Written::Nothing),
            "ValidationException" if answer.err().message().is_some_and(|message| message.contains("size")) => {
                (Trouble::TooLarge, Written::Nothing)
            }
            _ if answer.raw().status().is_server_error() => (Trouble::Unavailable, Written::Unknown),
            _ => (Trouble::Refused, Written::Nothing),
        },
        _ => (Trouble::Unavailable, Written::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The service's own trouble says that it makes sense to try again, and not to go on; that of one item does neither.
    #[test]
    fn of_several_failures_that_of_the_service_is_told() {
        let of_an_item = || Problem::too_large(2, 1);
        let of_the_service = || Problem::busy("it is busy");
        for problems in [
            [of_an_item(), of_the_service(), of_an_item()],
            [of_the_service(), of_an_item(), of_an_item()],
            [of_an_item(), of_an_item(), of_the_service()],
        ] {
            let mut failed = Failed::default();
            for problem in problems {
                failed.keep(problem);
            }
            assert!(failed.check().unwrap_err().is_passing());
        }
        for is_any_done in [false, true] {
            let mut failed = Failed::default();
            failed.keep(of_an_item());
            failed.check().unwrap();
            assert_eq!(failed.unless(is_any_done).is_ok(), is_any_done);
        }
    }

    #[test]
    fn what_may_have_been_written_by_any_is_told() {
        let lost = || Problem { written: Written::Unknown, ..Problem::busy("its answer was lost") };
        let too_large = || Problem::too_large(2, 1);
        let cases = [[lost(), too_large()], [too_large(), lost()], [Problem::busy("it is busy"), lost()]];
        for problems in cases {
            let mut failed = Failed::default();
            for problem in problems {
                failed.keep(problem);
            }
            let told = failed.told().unwrap_err().into_store("test", Written::Nothing);
            assert_eq!((told.trouble, told.written), (Trouble::Unavailable, Written::Unknown));
        }
    }
}
