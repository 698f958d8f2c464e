//! Names of fields: whether they hold secrets, and their bytes, both found once.

use std::cell::Cell;

use super::redact::{depends_on_pair, is_secret};

/// The name of a value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    pub(super) text: &'a str,
    /// It is known to be no secret.
    is_plain: bool,
}

/// A name as `MessagePack` has it; what is past its end is zero.
pub(super) type Plain = [u8; 16];

/// Its longest text.
const PLAIN_LEN_MAX: usize = size_of::<Plain>() - 1;

/// Places that names are kept at, by their address: 64.
const PLACES_BITS: u32 = 6;
/// Names at one place, the last first. With a hundred names in all, more than that have one place in common in one program
/// of four, and then some of these are looked at closely each time.
const NAMES: usize = 4;

/// Names in the program that are known to be no secrets.
// Not in a thread-local: a function that looks into one has to save what it works with first.
#[derive(Debug)]
pub(super) struct Names([[Known; NAMES]; 1 << PLACES_BITS]);

#[derive(Debug, Clone, Copy)]
struct Known {
    /// Address and length: what is at that place never changes, so it is the same name.
    place: (usize, usize),
    bytes: Plain,
}

impl Default for Names {
    fn default() -> Self {
        Self([[Known { place: (0, 0), bytes: [0; size_of::<Plain>()] }; NAMES]; 1 << PLACES_BITS])
    }
}

thread_local! {
    /// Those that no values are written with now.
    static SPARE: Cell<Option<Box<Names>>> = const { Cell::new(None) };
}

impl Names {
    /// Those that the thread knows, unless somebody has them.
    #[cold]
    #[inline(never)]
    pub(super) fn take() -> Box<Self> {
        SPARE.try_with(Cell::take).ok().flatten().unwrap_or_default()
    }

    /// Gives them back. A thread that ends keeps nothing.
    pub(super) fn keep(self: Box<Self>) {
        let _ended = SPARE.try_with(|spare| spare.set(Some(self)));
    }

    /// Names of one struct often lie one behind the other: these have places far apart.
    #[inline]
    const fn place((address, len): (usize, usize)) -> usize {
        // The golden ratio, as Knuth has it for hashes by multiplication (The Art of Computer Programming 3, 6.4).
        let spread = (address as u64).wrapping_add(len as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (spread >> (u64::BITS - PLACES_BITS)) as usize
    }

    /// The name as it is written, if it was [learned](Self::learn).
    #[inline]
    pub(super) fn plain(&self, text: &'static str) -> Option<&Plain> {
        let place = (text.as_ptr().addr(), text.len());
        let known = self.0[Self::place(place)].iter().find(|known| known.place == place);
        known.map(|known| &known.bytes)
    }

    /// Keeps the name, if it is short, and no secret; whether it is.
    fn learn(&mut self, text: &'static str) -> bool {
        let Some(bytes) = learn(text) else { return false };
        let place = (text.as_ptr().addr(), text.len());
        let known = &mut self.0[Self::place(place)];
        known.rotate_right(1);
        known[0] = Known { place, bytes };
        true
    }
}

fn learn(text: &'static str) -> Option<Plain> {
    if text.len() > PLAIN_LEN_MAX || is_secret(text) || depends_on_pair(text) {
        return None;
    }
    let mut bytes = [0; size_of::<Plain>()];
    bytes[0] = 0xa0 | u8::try_from(text.len()).ok()?;
    bytes[1..=text.len()].copy_from_slice(text.as_bytes());
    Some(bytes)
}

impl<'a> Name<'a> {
    /// A name that may be another the next time.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, is_plain: false }
    }

    /// A name in the program.
    pub(super) fn of(text: &'static str, names: Option<&mut Names>) -> Self {
        Self { text, is_plain: names.is_some_and(|names| names.plain(text).is_some() || names.learn(text)) }
    }

    #[inline]
    pub(super) fn is_secret(&self) -> bool {
        !self.is_plain && is_secret(self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_though_they_share_a_place() {
        let mut known = Names::default();
        let names: Vec<&'static str> = (0..(4 * NAMES) << PLACES_BITS).map(|n| &*format!("field{n}").leak()).collect();
        for _ in 0..2 {
            for name in &names {
                assert!(!Name::of(name, Some(&mut known)).is_secret());
                let plain = known.plain(name).unwrap();
                assert_eq!(&plain[1..=name.len()], name.as_bytes());
                assert_eq!(usize::from(plain[0] & 0x1f), name.len());
            }
        }
        // One address, two lengths.
        let text: &'static str = "customer".repeat(10).leak();
        assert!(known.learn(&text[..8]) && known.plain(&text[..8]).is_some());
        assert!(!known.learn(&text[..80]) && known.plain(&text[..80]).is_none());
        assert!(known.learn(&text[..9]) && known.plain(&text[..8]) != known.plain(&text[..9]));
    }

    /// Wherever twenty names come to lie in a program, nearly always all of them are known at a time.
    #[test]
    fn names_do_not_drive_each_other_out() {
        const LAYOUTS: usize = 10_000;
        let text: &'static str = "customer".repeat(8192).leak();
        let mut random = fastrand::Rng::with_seed(20);
        let mut are_known = || {
            let mut known = Names::default();
            let names: [&'static str; 20] = std::array::from_fn(|_| {
                let (at, len) = (random.usize(..text.len() - 15), random.usize(2..15));
                &text[at..at + len]
            });
            assert!(names.iter().all(|name| known.learn(name)));
            names.iter().all(|name| known.plain(name).is_some())
        };
        let all = (0..LAYOUTS).filter(|_| are_known()).count();
        assert!(all > LAYOUTS - LAYOUTS / 200, "{all} layouts of {LAYOUTS}");
    }

    #[test]
    fn secrets_are_never_known() {
        let mut known = Names::default();
        for _ in 0..2 {
            let mut is_secret = |text| Name::of(text, Some(&mut known)).is_secret();
            assert!(is_secret("password"));
            assert!(!is_secret("passport"));
            assert!(is_secret("the_password_of_the_customer"));
            assert!(!is_secret("the_passport_of_the_customer"));
        }
    }
}
