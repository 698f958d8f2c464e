//! From ids to places in a list that has the ids, for hundreds of thousands of them.
//!
//! A word for each: what a new id costs is one look at memory that is in no cache, so there has to be little of it. Ids
//! are random, unless somebody means harm: so each table spreads them in a way of its own.

use std::hash::{BuildHasher, RandomState};

#[derive(Debug)]
pub(super) struct Table {
    /// Half of the hash « 32, place + 1; 0: nothing. A power of two.
    words: Vec<u64>,
    len: usize,
    seed: (u64, u64),
}

impl Default for Table {
    fn default() -> Self {
        let random = RandomState::new();
        Self { words: Vec::new(), len: 0, seed: (random.hash_one(0), random.hash_one(1)) }
    }
}

impl Table {
    /// The place of an id, if it has one. `id_at`: the id at a place.
    pub(super) fn get(&self, id: u128, id_at: impl Fn(u32) -> u128) -> Option<u32> {
        if self.words.is_empty() { None } else { self.find(id, id_at).ok() }
    }

    /// The place of an id. If it had none, that is `next`.
    pub(super) fn get_or(&mut self, id: u128, next: u32, id_at: impl Fn(u32) -> u128) -> u32 {
        if self.len >= self.words.len() / 4 * 3 {
            self.grow();
        }
        match self.find(id, id_at) {
            Ok(place) => place,
            Err(free) => {
                self.words[free] = (self.hash(id) << 32) | (u64::from(next) + 1);
                self.len += 1;
                next
            }
        }
    }

    /// The place of an id; or else where its word goes.
    fn find(&self, id: u128, id_at: impl Fn(u32) -> u128) -> Result<u32, usize> {
        let hash = self.hash(id);
        let mut at = index(hash);
        loop {
            at &= self.words.len() - 1;
            let word = self.words[at];
            let place = u32::try_from(word & u64::from(u32::MAX)).unwrap_or(0);
            match place.checked_sub(1) {
                None => return Err(at),
                Some(place) if word >> 32 == hash && id_at(place) == id => return Ok(place),
                Some(_) => at += 1,
            }
        }
    }

    fn grow(&mut self) {
        let len = (self.words.len() * 2).max(LEN_MIN);
        let before = std::mem::replace(&mut self.words, vec![0; len]);
        for word in before.into_iter().filter(|word| *word != 0) {
            let mut at = index(word >> 32) & (len - 1);
            while self.words[at] != 0 {
                at = (at + 1) & (len - 1);
            }
            self.words[at] = word;
        }
    }

    /// 32 bits.
    #[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
    fn hash(&self, id: u128) -> u64 {
        let (high, low) = ((id >> 64) as u64, id as u64);
        let product = u128::from(low ^ self.seed.0) * u128::from(high ^ self.seed.1);
        ((product >> 64) as u64 ^ product as u64) >> 32
    }
}

const LEN_MIN: usize = 64;

fn index(hash: u64) -> usize {
    usize::try_from(hash).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_keeps_its_place() {
        let mut table = Table::default();
        let mut ids: Vec<u128> = Vec::new();
        assert_eq!(table.get(7, |_| 7), None);
        // Each differs from the others in one half, by little.
        for id in (0..5_000).map(|nth| nth * 3).chain((1..5_000).map(|nth| nth << 70)) {
            let next = u32::try_from(ids.len()).unwrap();
            assert_eq!(table.get(id, |place| ids[place as usize]), None);
            assert_eq!(table.get_or(id, next, |place| ids[place as usize]), next);
            ids.push(id);
        }
        for (place, id) in (0..).zip(&ids) {
            assert_eq!(table.get_or(*id, u32::MAX - 1, |place| ids[place as usize]), place);
        }
        assert_eq!(table.len, ids.len());
        assert_eq!(table.get(ids[7], |_| u128::MAX), None, "the list has the last word, not the hash");
    }
}
