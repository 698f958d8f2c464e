//! From ids to places in a list, for hundreds of thousands of ids.
//!
//! The table has places alone, and the list has the ids: so it stays small enough for the caches of the processor, which
//! is what finding an id that is new costs.

use hashbrown::HashTable;

use super::contents::place_of;

#[derive(Debug, Default)]
pub(super) struct Table(HashTable<u32>);

impl Table {
    /// One that need not grow for so many.
    pub(super) fn with_room(ids: usize) -> Self {
        Self(HashTable::with_capacity(ids))
    }

    /// The place of an id, if it has one in a list with these ids.
    pub(super) fn get<Id: Copy + Into<u128> + PartialEq>(&self, id: Id, id_at: impl Fn(usize) -> Id) -> Option<u32> {
        self.0.find(spread(id), |place| id_at(place_of(*place)) == id).copied()
    }

    /// The place of an id. If it had none, that is `next`.
    pub(super) fn get_or<Id: Copy + Into<u128> + PartialEq>(
        &mut self,
        id: Id,
        next: usize,
        id_at: impl Fn(usize) -> Id,
    ) -> u32 {
        // No file has as many slots.
        let next = u32::try_from(next).unwrap_or(u32::MAX);
        let is_it = |place: &u32| id_at(place_of(*place)) == id;
        let entry = self.0.entry(spread(id), is_it, |place| spread(id_at(place_of(*place))));
        *entry.or_insert(next).get()
    }
}

/// Ids are random already; a multiplication spreads them. Half of the bits are enough.
#[expect(clippy::cast_possible_truncation, reason = "takes one half")]
fn spread(id: impl Into<u128>) -> u64 {
    (id.into() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32)
}
