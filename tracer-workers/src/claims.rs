//! What to ask for next, given what runs. Pure.

use std::time::Duration;

use tracer::execution::Claim;

/// How many executions one call takes at most.
const BATCH_MAX: usize = 250;

/// One type that is handled: how many of it may run at once, and how many do.
pub(crate) struct OfType<'a> {
    pub(crate) type_: &'a str,
    /// Whether each has to be looked at before it is known if it may run.
    pub(crate) is_keyed: bool,
    pub(crate) limit: Option<usize>,
    pub(crate) running: usize,
}

/// What the store is asked for.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) claim: Claim,
    /// It is only to reserve that.
    pub(crate) reserves: bool,
}

/// What brings as much as these types may run: one claim for all without a limit of their own, and one for each with one
/// that is not reached; what is keyed is reserved. How much is free is seen when each is made: what one does not bring is
/// left to the others.
pub(crate) fn next(worker: &str, lease: Duration, types: &[OfType<'_>]) -> Vec<Ask> {
    let ask = |types: Vec<String>, limit: usize, reserves: bool| {
        let limit = u32::try_from(limit.min(BATCH_MAX)).unwrap_or(u32::MAX);
        Ask { claim: Claim { types, only: None, limit, worker: worker.to_owned(), lease }, reserves }
    };
    let of_one = |of: &OfType<'_>| {
        let left = of.limit?.checked_sub(of.running).filter(|left| *left > 0)?;
        Some(ask(vec![of.type_.to_owned()], left, of.is_keyed))
    };
    let mut asks: Vec<Ask> = types.iter().filter_map(of_one).collect();
    for is_keyed in [true, false] {
        let rest = types.iter().filter(|of| of.limit.is_none() && of.is_keyed == is_keyed);
        let rest: Vec<String> = rest.map(|of| of.type_.to_owned()).collect();
        if !rest.is_empty() {
            asks.push(ask(rest, BATCH_MAX, is_keyed));
        }
    }
    asks
}

/// Whether one of these types has as many running as may be.
pub(crate) fn is_any_full(types: &[OfType<'_>]) -> bool {
    types.iter().any(|of| of.limit.is_some_and(|limit| of.running >= limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(types: &[(&'static str, Option<usize>, usize)]) -> Vec<(Vec<String>, u32)> {
        let of = |&(type_, limit, running): &(&'static str, Option<usize>, usize)| {
            // As they are called.
            OfType { type_, is_keyed: type_.starts_with("keyed"), limit, running }
        };
        let asks = next("worker", Duration::from_secs(1), &types.iter().map(of).collect::<Vec<_>>());
        let is_as_asked = |ask: &Ask| ask.claim.types.iter().all(|type_| type_.starts_with("keyed") == ask.reserves);
        assert!(asks.iter().all(is_as_asked));
        asks.into_iter().map(|ask| (ask.claim.types, ask.claim.limit)).collect()
    }

    #[test]
    fn what_is_keyed_is_asked_for_by_itself() {
        let types = [("keyed 1", None, 3), ("a", None, 0), ("keyed 2", Some(2), 1), ("keyed 3", None, 0)];
        let expected = [(vec!["keyed 2"], 1), (vec!["keyed 1", "keyed 3"], 250), (vec!["a"], 250)];
        let expected = expected.map(|(types, limit)| (types.into_iter().map(str::to_owned).collect(), limit));
        assert_eq!(limits(&types), expected);
    }

    #[test]
    fn types_without_a_limit_share_one_claim() {
        assert_eq!(limits(&[("a", None, 3), ("b", None, 0)]), [(vec!["a".to_owned(), "b".to_owned()], 250)]);
    }

    #[test]
    fn types_with_a_limit_get_no_more_than_is_left_of_it() {
        let types = [("a", Some(4), 3), ("b", None, 0), ("c", Some(2), 2), ("d", Some(0), 0), ("e", Some(1000), 0)];
        let expected = [("a", 1), ("e", 250), ("b", 250)].map(|(type_, limit)| (vec![type_.to_owned()], limit));
        assert_eq!(limits(&types), expected);
    }
}
