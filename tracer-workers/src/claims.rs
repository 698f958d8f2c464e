//! What to ask for next, given what runs. Pure.

use std::time::Duration;

use tracer::execution::Claim;

/// How many executions one call takes at most.
const BATCH_MAX: usize = 100;

/// One type that is handled: how many of it may run at once, and how many do.
pub(crate) struct OfType<'a> {
    pub(crate) type_: &'a str,
    pub(crate) limit: Option<usize>,
    pub(crate) running: usize,
}

/// The claims that fill `free` places: one for all types without a limit of their own, and one for each with.
pub(crate) fn next(worker: &str, lease: Duration, types: &[OfType<'_>], mut free: usize) -> Vec<Claim> {
    let claim = |types: Vec<String>, limit: usize| {
        let limit = u32::try_from(limit.min(BATCH_MAX)).unwrap_or(u32::MAX);
        Claim { types, only: None, limit, worker: worker.to_owned(), lease }
    };
    let mut claims = Vec::new();
    for of in types {
        let Some(limit) = of.limit else { continue };
        let wanted = limit.saturating_sub(of.running).min(free);
        if wanted > 0 {
            claims.push(claim(vec![of.type_.to_owned()], wanted));
            free -= wanted;
        }
    }
    let rest: Vec<String> = types.iter().filter(|of| of.limit.is_none()).map(|of| of.type_.to_owned()).collect();
    if free > 0 && !rest.is_empty() {
        claims.push(claim(rest, free));
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(types: &[(&'static str, Option<usize>, usize)], free: usize) -> Vec<(Vec<String>, u32)> {
        let types: Vec<OfType<'_>> =
            types.iter().map(|&(type_, limit, running)| OfType { type_, limit, running }).collect();
        let claims = next("worker", Duration::from_secs(1), &types, free);
        claims.into_iter().map(|claim| (claim.types, claim.limit)).collect()
    }

    #[test]
    fn types_without_a_limit_share_one_claim() {
        let expected = vec![(vec!["a".to_owned(), "b".to_owned()], 5)];
        assert_eq!(limits(&[("a", None, 3), ("b", None, 0)], 5), expected);
        assert_eq!(limits(&[("a", None, 3)], 0), []);
        assert_eq!(limits(&[("a", None, 0)], 1000), [(vec!["a".to_owned()], 100)]);
    }

    #[test]
    fn types_with_a_limit_get_no_more_than_is_left_of_it() {
        let types = [("a", Some(4), 3), ("b", None, 0), ("c", Some(2), 2)];
        assert_eq!(limits(&types, 5), [(vec!["a".to_owned()], 1), (vec!["b".to_owned()], 4)]);
        assert_eq!(limits(&types, 1), [(vec!["a".to_owned()], 1)]);
    }
}
