//! Names of fields: whether they hold secrets, and their bytes, both found once.

use std::cell::Cell;

use super::redact::is_secret;

/// The name of a value, as text and, if that is known, as it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name<'a> {
    pub(super) text: &'a str,
    /// Of a name that is no secret.
    pub(super) plain: Option<Plain>,
}

/// A name as `MessagePack` has it; what is past its end is zero.
pub(super) type Plain = [u8; 16];

/// Its longest text.
const PLAIN_LEN_MAX: usize = size_of::<Plain>() - 1;

/// Places that names are kept at, by their address. Each has two: the last one, and the one before.
const PLACES: usize = 64;

#[derive(Debug)]
struct Known {
    /// Address and length: what is at that place never changes, so it is the same name.
    place: Cell<(usize, usize)>,
    bytes: Cell<Plain>,
}

impl Known {
    const fn none() -> Self {
        Self { place: Cell::new((0, 0)), bytes: Cell::new([0; size_of::<Plain>()]) }
    }
}

thread_local! {
    // With nothing to drop: a look at it is a look at memory.
    static NAMES: [[Known; 2]; PLACES] = const { [const { [const { Known::none() }; 2] }; PLACES] };
}

impl<'a> Name<'a> {
    /// A name that may be another the next time.
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, plain: None }
    }

    /// A name in the program.
    #[inline]
    pub(super) fn of(text: &'static str) -> Self {
        let place = (text.as_ptr().addr(), text.len());
        let plain = NAMES.with(|names| {
            let [last, before] = &names[(place.0 ^ (place.0 >> 6) ^ place.1) % PLACES];
            if last.place.get() == place {
                Some(last.bytes.get())
            } else if before.place.get() == place {
                Some(before.bytes.get())
            } else {
                learn(text, last, before)
            }
        });
        Self { text, plain }
    }

    #[inline]
    pub(super) fn is_secret(&self) -> bool {
        self.plain.is_none() && is_secret(self.text)
    }
}

/// Keeps the name, if it is one to be known.
#[cold]
fn learn(text: &'static str, last: &Known, before: &Known) -> Option<Plain> {
    if text.len() > PLAIN_LEN_MAX || is_secret(text) {
        return None;
    }
    let mut bytes = [0; size_of::<Plain>()];
    bytes[0] = 0xa0 | u8::try_from(text.len()).ok()?;
    bytes[1..=text.len()].copy_from_slice(text.as_bytes());
    before.place.set(last.place.replace((text.as_ptr().addr(), text.len())));
    before.bytes.set(last.bytes.replace(bytes));
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart_though_they_share_a_place() {
        let names: Vec<&'static str> = (0..8 * PLACES).map(|n| &*format!("field{n}").leak()).collect();
        for _ in 0..2 {
            for name in &names {
                let plain = Name::of(name).plain.unwrap();
                assert_eq!(&plain[1..=name.len()], name.as_bytes());
                assert_eq!(usize::from(plain[0] & 0x1f), name.len());
            }
        }
        // One address, two lengths that share a place.
        let text: &'static str = "customer".repeat(10).leak();
        assert!(Name::of(&text[..8]).plain.is_some());
        assert!(Name::of(&text[..8 + PLACES]).plain.is_none());
    }

    #[test]
    fn secrets_are_never_known() {
        for _ in 0..2 {
            assert!(Name::of("password").is_secret());
            assert!(!Name::of("passport").is_secret());
            assert!(Name::of("the_password_of_the_customer").is_secret());
            assert!(!Name::of("the_passport_of_the_customer").is_secret());
        }
    }
}
