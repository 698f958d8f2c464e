//! Which names a node may have.

/// The longest name, in bytes.
pub const NAME_LEN_MAX: usize = 64;

/// Words that the trace uses itself.
pub const RESERVED: [&str; 6] = ["enter", "exit", "error", "idle", "root", "fork"];

/// Why a text is no node name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing at all.
    #[error("a node name cannot be empty")]
    Empty,
    /// More than [`NAME_LEN_MAX`] bytes.
    #[error("a node name has at most 64 bytes, this one has {len}")]
    TooLong {
        /// Bytes found.
        len: usize,
    },
    /// The first character is not one of `a-z`.
    #[error("a node name starts with a letter (a-z)")]
    Start,
    /// Another character than `a-z 0-9 _ - . /`.
    #[error("a node name is made of a-z, 0-9 and _ - . /; byte {at} is none of them")]
    Character {
        /// Where, in bytes.
        at: usize,
    },
    /// One of [`RESERVED`].
    #[error("this name is reserved (enter, exit, error, idle, root, fork): the trace uses it for its own steps")]
    Reserved,
}

/// Checks a name: 1 to 64 of `a-z 0-9 _ - . /`, first a letter, not reserved.
///
/// # Errors
///
/// The first rule that is broken.
pub const fn check_name(name: &str) -> Result<(), NameError> {
    let bytes = name.as_bytes();
    if bytes.is_empty() {
        return Err(NameError::Empty);
    }
    if bytes.len() > NAME_LEN_MAX {
        return Err(NameError::TooLong { len: bytes.len() });
    }
    if !bytes[0].is_ascii_lowercase() {
        return Err(NameError::Start);
    }
    let mut at = 1;
    while at < bytes.len() {
        if !matches!(bytes[at], b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'/') {
            return Err(NameError::Character { at });
        }
        at += 1;
    }
    let mut word = 0;
    while word < RESERVED.len() {
        if equal(bytes, RESERVED[word].as_bytes()) {
            return Err(NameError::Reserved);
        }
        word += 1;
    }
    Ok(())
}

const fn equal(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule() {
        for good in ["a", "parse", "charge-card", "v2.orders/import_all", &"a".repeat(64), "rooted", "forks"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", NameError::Empty),
            (&*"a".repeat(65), NameError::TooLong { len: 65 }),
            ("1a", NameError::Start),
            ("Parse", NameError::Start),
            ("_a", NameError::Start),
            ("a b", NameError::Character { at: 1 }),
            ("paRse", NameError::Character { at: 2 }),
            ("naïve", NameError::Character { at: 2 }),
        ] {
            assert_eq!(check_name(bad), Err(why), "{bad}");
        }
        for word in RESERVED {
            assert_eq!(check_name(word), Err(NameError::Reserved));
        }
    }
}
