//! Handlers of any types, made into ones of one type.

use std::future::Future;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracer::execution::{Command, Failure};

use crate::attempt::{Attempt, Boxed};

/// What it returns says how the attempt is to end.
pub(crate) type Handler = Arc<dyn Fn(Attempt) -> Boxed<Result<Command, Failure>> + Send + Sync>;

/// The code of a payload that is not what the handler takes. Trying again does not help.
const INVALID_PAYLOAD: &str = "INVALID_PAYLOAD";
/// The code of a result that cannot be written as JSON, or not be read again.
const INVALID_RESULT: &str = "INVALID_RESULT";

pub(crate) fn handler<P, R, E, F>(handle: impl Fn(Attempt, P) -> F + Send + Sync + 'static) -> Handler
where
    P: DeserializeOwned,
    R: Serialize,
    E: Into<Failure>,
    F: Future<Output = Result<R, E>> + Send + 'static,
{
    Arc::new(move |attempt| {
        let payload = P::deserialize(&attempt.execution().payload);
        match payload {
            Ok(payload) => {
                let result = handle(attempt, payload);
                Box::pin(async move {
                    let result = result.await.map_err(Into::into)?;
                    Command::complete(result).map_err(|error| Failure::new(error.to_string()).code(INVALID_RESULT))
                })
            }
            Err(error) => {
                let failure = Failure::new(error.to_string()).code(INVALID_PAYLOAD);
                Box::pin(std::future::ready(Err(failure)))
            }
        }
    })
}
