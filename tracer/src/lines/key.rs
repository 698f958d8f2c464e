//! Structural keys as hashes, and the counting of calls that they rest on.

use std::collections::HashMap;

/// The key of a node called by `parent` (0: by nobody) for the `occurrence`-th time, from 0. The parts are hashed,
/// not numbers of this process, so two runs of one program have equal keys for equal calls.
#[inline]
pub(crate) const fn call(parent: u64, node: u64, occurrence: u32) -> u64 {
    below(parent, node, occurrence as u64)
}

/// What the keys of calls by nobody in the fork `number` of `parent` begin with.
pub(crate) const fn fork(parent: u64, number: u64) -> u64 {
    below(parent, FORK, number)
}

/// The number of the fork that the fork `hub`, of a closure that is called many times, makes for one of the calls. No fork
/// beside it has such a number.
pub(crate) const fn carried(hub: u64, call: u64) -> u64 {
    ((hub + 1) << 32) | (call & 0xffff_ffff)
}

/// What [`carried`] was given.
pub(crate) fn uncarried(number: u64) -> Option<(u64, u64)> {
    Some(((number >> 32).checked_sub(1)?, number & 0xffff_ffff))
}

#[inline]
const fn below(parent: u64, what: u64, number: u64) -> u64 {
    let mixed = (parent.rotate_left(26) ^ what).wrapping_add(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// FNV-1a with 64 bits (IETF draft-eastlake-fnv), as a `const fn`.
pub(crate) const fn hash(name: &str) -> u64 {
    let bytes = name.as_bytes();
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}

/// What stands for a node where an env is forked. No node has this name.
const FORK: u64 = hash("fork");

/// How often each node was called by one frame.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// (node number, calls) of the first few nodes; unused past `len`.
    few: [(u32, u32); 4],
    len: usize,
    #[expect(clippy::box_collection, reason = "a frame is the smaller for it, and few need it")]
    more: Option<Box<HashMap<u32, u32>>>,
}

impl Calls {
    #[inline]
    pub(crate) fn reset(&mut self) {
        self.len = 0;
        if let Some(more) = &mut self.more {
            more.clear();
        }
    }

    /// Counts a call and gives its number among those of the node, from 0.
    #[inline]
    pub(crate) fn count(&mut self, node: u32) -> u32 {
        for (known, calls) in &mut self.few[..self.len] {
            if *known == node {
                *calls += 1;
                return *calls - 1;
            }
        }
        self.count_new(node)
    }

    #[inline]
    fn count_new(&mut self, node: u32) -> u32 {
        if let Some(place) = self.few.get_mut(self.len) {
            *place = (node, 1);
            self.len += 1;
            return 0;
        }
        self.count_more(node)
    }

    #[cold]
    fn count_more(&mut self, node: u32) -> u32 {
        let calls = self.more.get_or_insert_default().entry(node).or_default();
        *calls += 1;
        *calls - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_node() {
        let mut calls = Calls::default();
        for round in 0..3 {
            for node in 1..=10 {
                assert_eq!(calls.count(node), round);
            }
        }
        calls.reset();
        assert_eq!((calls.count(1), calls.count(9)), (0, 0));
    }

    #[test]
    fn keys_differ_where_calls_differ() {
        let mut keys: Vec<u64> =
            (0..1000).flat_map(|n| [call(1, hash("a"), n), call(1, hash("b"), n), call(2, hash("a"), n)]).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 3000);
    }
}
