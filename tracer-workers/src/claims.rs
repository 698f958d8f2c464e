//! What to ask for next, given what runs. Pure.

use std::time::Duration;

use tracer::execution::Claim;

/// How many executions one call takes at most.
const BATCH_MAX: usize = 250;

/// One type that is handled: how many of it may run at once, and how many do.
pub(crate) struct OfType<'a> {
    pub(crate) type_: &'a str,
    pub(crate) limit: Option<usize>,
    pub(crate) running: usize,
}

/// The claims that bring as much as these types may run: one for all without a limit of their own, and one for each with
/// one that is not reached. How much is free is seen when each is made: what one does not bring is left to the others.
pub(crate) fn next(worker: &str, lease: Duration, types: &[OfType<'_>]) -> Vec<Claim> {
    let claim = |types: Vec<String>, limit: usize| {
        let limit = u32::try_from(limit.min(BATCH_MAX)).unwrap_or(u32::MAX);
        Claim { types, only: None, limit, worker: worker.to_owned(), lease }
    };
    let of_one = |of: &OfType<'_>| {
        let left = of.limit?.checked_sub(of.running).filter(|left| *left > 0)?;
        Some(claim(vec![of.type_.to_owned()], left))
    };
    let mut claims: Vec<Claim> = types.iter().filter_map(of_one).collect();
    let rest: Vec<String> = types.iter().filter(|of| of.limit.is_none()).map(|of| of.type_.to_owned()).collect();
    if !rest.is_empty() {
        claims.push(claim(rest, BATCH_MAX));
    }
    claims
}

/// Whether one of these types has as many running as may be.
pub(crate) fn is_any_full(types: &[OfType<'_>]) -> bool {
    types.iter().any(|of| of.limit.is_some_and(|limit| of.running >= limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(types: &[(&'static str, Option<usize>, usize)]) -> Vec<(Vec<String>, u32)> {
        let types: Vec<OfType<'_>> =
            types.iter().map(|&(type_, limit, running)| OfType { type_, limit, running }).collect();
        let claims = next("worker", Duration::from_secs(1), &types);
        claims.into_iter().map(|claim| (claim.types, claim.limit)).collect()
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
