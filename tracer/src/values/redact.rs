//! Which values are replaced before they are written: by the name of their field, or by a path that a node names.

use std::num::NonZeroU64;

use super::name::Name;

/// What says in the name of a field that its value is a secret, in lower case and without what separates words; and where
/// it has to stand. The public list is at `#[traced_node]`.
const SECRETS: [(&[u8], Place); 53] = [
    (b"accesskey", Place::Anywhere),
    (b"accountkey", Place::Anywhere),
    (b"apikey", Place::Anywhere),
    (b"authorization", Place::Anywhere),
    (b"authorisation", Place::Anywhere),
    (b"bearervalue", Place::Anywhere),
    (b"cardnumber", Place::Anywhere),
    (b"connectionstring", Place::Anywhere),
    (b"credential", Place::Anywhere),
    (b"creditcard", Place::Anywhere),
    (b"databaseurl", Place::Anywhere),
    (b"encryptionkey", Place::Anywhere),
    (b"masterkey", Place::Anywhere),
    (b"passcode", Place::Anywhere),
    (b"passkey", Place::Anywhere),
    (b"passphrase", Place::Anywhere),
    (b"passwd", Place::Anywhere),
    (b"password", Place::Anywhere),
    (b"phpsessid", Place::Anywhere),
    (b"privatekey", Place::Anywhere),
    (b"secret", Place::Anywhere),
    (b"setcookie", Place::Anywhere),
    (b"sharedkey", Place::Anywhere),
    (b"signingkey", Place::Anywhere),
    (b"sshkey", Place::Anywhere),
    (b"subscriptionkey", Place::Anywhere),
    (b"tokenvalue", Place::Anywhere),
    (b"accesstokens", Place::End),
    (b"bearer", Place::End),
    (b"cookie", Place::End),
    (b"cookies", Place::End),
    (b"refreshtokens", Place::End),
    (b"session", Place::End),
    (b"sessionid", Place::End),
    (b"sessionkey", Place::End),
    (b"token", Place::End),
    (b"auth", Place::Word),
    (b"csrf", Place::Word),
    (b"cvc", Place::Word),
    (b"cvv", Place::Word),
    (b"dsn", Place::Word),
    (b"iban", Place::Word),
    (b"jwt", Place::Word),
    (b"mnemonic", Place::Word),
    (b"otp", Place::Word),
    (b"pass", Place::Word),
    (b"pin", Place::Word),
    (b"pw", Place::Word),
    (b"pwd", Place::Word),
    (b"ssn", Place::Word),
    (b"totp", Place::Word),
    (b"xsrf", Place::Word),
    (b"tokens", Place::Whole),
];

/// Where in a name.
#[derive(Debug, Clone, Copy)]
enum Place {
    Anywhere,
    End,
    /// As one of its words: `auth_header`, `userAuth`, not `author`.
    Word,
    Whole,
}

/// The letters of each of them, a bit each: few names have all letters of any.
const LETTERS: [u32; SECRETS.len()] = {
    let mut all = [0; SECRETS.len()];
    let mut nth = 0;
    while nth < all.len() {
        let (text, _) = SECRETS[nth];
        let mut at = 0;
        while at < text.len() {
            all[nth] |= letter(text[at]);
            at += 1;
        }
        nth += 1;
    }
    all
};

/// The bit of a letter, whatever its case. Other bytes share theirs with letters.
const fn letter(byte: u8) -> u32 {
    1 << (byte & 31)
}

/// A longer name is no field name; not looking at all of it bounds the work.
const NAME_LEN_MAX: usize = 256;

/// Whether a field of this name is replaced.
pub(super) fn is_secret(name: &str) -> bool {
    let name = &name.as_bytes()[..name.len().min(NAME_LEN_MAX)];
    let letters = name.iter().fold(0, |letters, byte| letters | letter(*byte));
    let suspects = SECRETS.iter().zip(LETTERS).filter(|(_, all)| all & !letters == 0);
    suspects.into_iter().any(|((secret, place), _)| is_in(name, secret, *place))
}

/// Whether what stands under this name may be the value of what another field names: `{name: …, value: …}`, and enums with
/// their tag beside the content.
pub(super) fn depends_on_pair(name: &str) -> bool {
    is_strict(name) || ["content", "data", "c"].iter().any(|of| name.eq_ignore_ascii_case(of))
}

/// Whether it is one that is a secret, too, if what comes behind it in its map is not there: those of enums come last, and
/// others by their names are many.
pub(super) fn is_strict(name: &str) -> bool {
    name.eq_ignore_ascii_case("value")
}

/// Whether what stands under this name may name what another field holds.
pub(super) fn names_pair(name: &str) -> bool {
    ["name", "key", "header", "type", "kind", "tag", "t"].iter().any(|of| name.eq_ignore_ascii_case(of))
}

#[inline(never)]
fn is_in(name: &[u8], secret: &[u8], place: Place) -> bool {
    let nothing_in = |part: &[u8]| part.iter().all(|byte| is_separator(*byte));
    let places = (0..name.len()).filter_map(|from| Some((from, end_of(name, from, secret)?)));
    places.into_iter().any(|(from, to)| match place {
        Place::Anywhere => true,
        Place::End => nothing_in(without_version(&name[to..])),
        Place::Word => is_border(name, from) && is_border(name, to),
        Place::Whole => nothing_in(&name[..from]) && nothing_in(&name[to..]),
    })
}

/// What is behind a name without a number or version at its end: `token2`, `access_token_v2`.
fn without_version(end: &[u8]) -> &[u8] {
    let digits = end.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let end = &end[..end.len() - digits];
    if digits > 0 { end.strip_suffix(b"v").or(end.strip_suffix(b"V")).unwrap_or(end) } else { end }
}

/// Where the text ends that begins here, if that is this one, whatever the case and what separates its letters.
fn end_of(name: &[u8], from: usize, text: &[u8]) -> Option<usize> {
    let mut at = from;
    for (nth, letter) in text.iter().enumerate() {
        while nth > 0 && is_separator(*name.get(at)?) {
            at += 1;
        }
        if name.get(at)?.to_ascii_lowercase() != *letter {
            return None;
        }
        at += 1;
    }
    Some(at)
}

const fn is_separator(byte: u8) -> bool {
    byte.is_ascii() && !byte.is_ascii_alphanumeric()
}

/// Whether a word ends or begins before this byte: `user|Auth`, `HTTP|Auth`, `auth|_|header`, `cvv|2`.
fn is_border(name: &[u8], at: usize) -> bool {
    let (Some(before), Some(byte)) = (at.checked_sub(1).map(|at| name[at]), name.get(at)) else { return true };
    let splits = |byte: u8| is_separator(byte) || byte.is_ascii_digit();
    let begins_word = || !before.is_ascii_uppercase() || name.get(at + 1).is_some_and(u8::is_ascii_lowercase);
    splits(before) || splits(*byte) || (byte.is_ascii_uppercase() && begins_word())
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

    #[test]
    fn every_secret_is_found() {
        for (secret, place) in SECRETS {
            let name = std::str::from_utf8(secret).unwrap();
            for name in [name.to_owned(), name.to_uppercase(), format!("-{name}_")] {
                assert!(is_secret(&name), "{name}");
            }
            let (before, behind) = (format!("My-{name}"), format!("{name}_of"));
            assert_eq!(is_secret(&before), !matches!(place, Place::Whole), "{before}");
            assert_eq!(is_secret(&behind), matches!(place, Place::Anywhere | Place::Word), "{behind}");
            let within = format!("in{name}s");
            assert_eq!(is_secret(&within), matches!(place, Place::Anywhere) || within.ends_with("cookies"), "{within}");
        }
    }

    #[test]
    fn names_of_secrets() {
        for name in [
            "password",
            "userPassword",
            "client_secret",
            "X-Api-Key",
            "Api Key",
            "api.key",
            "token",
            "access_token",
            "accessTokens",
            "tokens",
            "Set-Cookie",
            "cookies",
            "auth",
            "x-auth-user",
            "userAuth",
            "HTTPAuth",
            "userSSN",
            "SSNOfUser",
            "cvv2",
            "card_pin",
            "sessionId",
            "session",
            "DATABASE_URL",
            "pass",
            "db_pass",
            "smtpPass",
            "token1",
            "access_token_v2",
            "tokenValue",
            "totp_code",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "author",
            "AUTHOR",
            "unauthorized",
            "tokens_used",
            "max_tokens",
            "tokenizer",
            "passport",
            "passed",
            "token_count",
            "token_v2_count",
            "tokens2",
            "pinned",
            "spin",
            "opinion",
            "session_count",
            "lesson",
            "signature",
            "key",
            "id",
            "",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    /// As far as that is a name.
    #[test]
    fn long_names_are_looked_at_too() {
        let long = |len: usize| format!("{}_password", "n".repeat(len));
        assert!(is_secret(&long(100)) && is_secret(&long(NAME_LEN_MAX - 9)));
        assert!(!is_secret(&long(NAME_LEN_MAX)) && !is_secret(&"é".repeat(NAME_LEN_MAX)));
    }
}
