//! Which values are replaced before they are written: by the name of their field, or by a path that a node names.

use std::num::NonZeroU64;

use super::name::Name;

/// Names that hold secrets wherever they stand in a longer one, by their first letter. Compared without case and without
/// `-` and `_`.
const fn secrets_with(first: u8) -> &'static [&'static [u8]] {
    match first {
        b'a' => &[b"apikey", b"authorization"],
        b'c' => &[b"credential"],
        b'p' => &[b"password", b"passwd", b"passphrase", b"privatekey"],
        b's' => &[b"secret", b"setcookie"],
        _ => &[],
    }
}

/// Names that hold secrets when they stand alone, or at the end of a longer name.
const SECRET_ENDS: [&[u8]; 3] = [b"token", b"cookie", b"bearer"];

/// No shorter name is one of them.
const SECRET_LEN_MIN: usize = 5;

/// Letters of which each of them has at least one, a bit each: few names of fields have any.
const SECRET_LETTERS: u32 = letter(b'k') | letter(b'w') | letter(b'z') | letter(b'c') | letter(b'h') | letter(b'b');

/// The bit of a letter, whatever its case. Other bytes share theirs with letters.
const fn letter(byte: u8) -> u32 {
    1 << (byte & 31)
}

/// Whether a field of this name is replaced.
pub(super) fn is_secret(name: &str) -> bool {
    let letters = name.bytes().fold(0, |letters, byte| letters | letter(byte));
    name.len() >= SECRET_LEN_MIN && letters & SECRET_LETTERS != 0 && is_suspect_secret(name)
}

/// Looks at it closely.
#[inline(never)]
fn is_suspect_secret(name: &str) -> bool {
    // A longer name is no field name; not looking at it bounds the work.
    let mut plain = [0_u8; 64];
    let mut len = 0;
    for byte in name.bytes().filter(|byte| !matches!(byte, b'-' | b'_')) {
        if len == plain.len() {
            return false;
        }
        plain[len] = byte.to_ascii_lowercase();
        len += 1;
    }
    let plain = &plain[..len];
    let begins = |at: usize| secrets_with(plain[at]).iter().any(|secret| plain[at..].starts_with(secret));
    (0..len).any(begins) || SECRET_ENDS.iter().any(|end| plain.ends_with(end))
}

/// The paths that a node redacts.
pub(super) type Paths = &'static [&'static str];

/// Paths past these are matched by their last name alone.
const FOLLOWED: usize = u32::BITS as usize;

/// How far down a value is along each of the paths: 32 bits, of which bit i says that the path i has matched so far, and
/// above them one more than the names passed, in eight bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path(NonZeroU64);

impl Path {
    /// As many bits as it takes.
    pub(super) const BITS: u32 = u32::BITS + u8::BITS;
    const ROOT: NonZeroU64 = NonZeroU64::new((1 << u32::BITS) | u32::MAX as u64).expect("it is not zero");

    /// Where all of them begin.
    pub(super) const fn root() -> Self {
        Self(Self::ROOT)
    }

    /// That of [bits](Self::bits), which others may lie above.
    #[inline]
    pub(super) fn of_bits(bits: u64) -> Self {
        Self(NonZeroU64::new(bits & ((1 << Self::BITS) - 1)).unwrap_or(Self::ROOT))
    }

    #[inline]
    pub(super) const fn bits(self) -> u64 {
        self.0.get()
    }

    /// Steps into the field `name`; `None` if its value is to be replaced.
    #[inline]
    pub(super) fn into_field(self, paths: Paths, name: Name<'_>) -> Option<Self> {
        if name.is_secret() {
            None
        } else if paths.is_empty() {
            Some(self)
        } else {
            self.along(paths, name.text)
        }
    }

    #[inline(never)]
    fn along(self, paths: Paths, name: &str) -> Option<Self> {
        let mut live = 0;
        for (nth, path) in paths.iter().enumerate() {
            if nth >= FOLLOWED {
                if path.rsplit('.').next() == Some(name) {
                    return None;
                }
                continue;
            }
            if !self.is_live(nth) {
                continue;
            }
            let mut names = path.split('.').skip(self.passed());
            if names.next() == Some(name) {
                names.next()?;
                live |= 1 << nth;
            }
        }
        let passed = (self.passed() as u64 + 2).min(u8::MAX.into());
        Some(Self::of_bits((passed << u32::BITS) | live))
    }

    /// Steps into an element of an array or tuple; `None` if its value is to be replaced. A path that names no element
    /// goes on in each of them.
    pub(super) fn into_element(self, paths: Paths, index: usize) -> Option<Self> {
        let names = |path: &str| path.split('.').nth(self.passed()).is_some_and(|name| name.parse() == Ok(index));
        let is_named =
            paths.iter().enumerate().any(|(nth, path)| (nth >= FOLLOWED || self.is_live(nth)) && names(path));
        if is_named { self.into_field(paths, Name::new(&index.to_string())) } else { Some(self) }
    }

    const fn is_live(self, nth: usize) -> bool {
        self.bits() & (1 << nth) != 0
    }

    fn passed(self) -> usize {
        usize::try_from(self.bits() >> u32::BITS).map_or(0, |passed| passed.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A secret without one of the letters that are looked for first would never be found.
    #[test]
    fn every_secret_is_found() {
        let begun = (0..=u8::MAX).flat_map(|first| secrets_with(first).iter().map(move |secret| (first, *secret)));
        let mut found = 0;
        for (first, secret) in begun.chain(SECRET_ENDS.iter().map(|secret| (secret[0], *secret))) {
            let name = std::str::from_utf8(secret).unwrap();
            assert_eq!(first, secret[0], "{name} is looked for under its first letter");
            for name in [name.to_owned(), name.to_uppercase(), format!("My-{name}"), format!("x_{name}")] {
                assert!(is_secret(&name), "{name}");
            }
            found += 1;
        }
        assert_eq!(found, 12);
    }

    #[test]
    fn names_of_secrets() {
        for name in ["password", "userPassword", "client_secret", "X-Api-Key", "token", "access_token", "Set-Cookie"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["author", "tokens_used", "tokenizer", "passport", "key", "id", ""] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
