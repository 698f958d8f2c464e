//! The rule for node names.

use proc_macro2::Span;

use crate::diag::Diag;

/// As long as a name may be.
pub(crate) const NAME_LEN_MAX: usize = 64;

/// Names that the trace uses for its own steps.
pub(crate) const RESERVED: [&str; 6] = ["enter", "exit", "error", "idle", "root", "fork"];

/// What is wrong with a name.
pub(crate) struct BadName {
    /// What is wrong.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) help: Option<String>,
    /// The nearest name that is right.
    pub(crate) repaired: Option<String>,
}

impl BadName {
    /// Reports it at `span`.
    pub(crate) fn report(self, span: Span, diag: &Diag) {
        match self.help {
            Some(help) => diag.error_with_help(span, self.message, help),
            None => diag.error(span, self.message),
        }
    }
}

/// Checks `name` against the rule.
pub(crate) fn check(name: &str) -> Result<(), BadName> {
    let bad = |message: String, help: Option<String>| Err(BadName { message, help, repaired: None });
    if name.is_empty() {
        return bad(
            "a node name cannot be empty".into(),
            Some("write `#[traced_node]` for the function's own name, or name it".into()),
        );
    }
    if RESERVED.contains(&name) {
        let reserved: Vec<String> = RESERVED.iter().map(|word| format!("`{word}`")).collect();
        return bad(
            format!("`{name}` is a reserved name: the trace uses it for its own steps"),
            Some(format!("take another name; reserved are {}", reserved.join(", "))),
        );
    }
    if name.len() > NAME_LEN_MAX {
        return bad(
            format!("a node name of {} bytes: at most {NAME_LEN_MAX} are allowed", name.len()),
            Some("shorten it".into()),
        );
    }
    let bad = |message: String| {
        let repaired = repaired(name);
        Err(BadName {
            message,
            help: Some(match &repaired {
                Some(name) => format!("write `{name}`"),
                None => "take a name like `parse` or `http/parse-2`".into(),
            }),
            repaired,
        })
    };
    if let Some(first) = name.chars().next().filter(|c| !c.is_ascii_lowercase()) {
        return bad(format!("node name `{name}` starts with `{first}`: it must start with a lowercase letter (a-z)"));
    }
    if let Some(other) = name.chars().find(|&c| !is_allowed(c)) {
        return bad(format!(
            "node name `{name}` contains `{}`: only `a-z 0-9 _ - . /` are allowed",
            other.escape_debug()
        ));
    }
    Ok(())
}

fn is_allowed(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '_' | '-' | '.' | '/')
}

/// The hash by which the runtime knows a name: FNV-1a with 64 bits.
pub(crate) fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The nearest name that keeps the rule: `Validate Order!` gives `validate_order`.
fn repaired(name: &str) -> Option<String> {
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let mut repaired = String::new();
    let mut after_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && after_lower {
            repaired.push('_');
        }
        after_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        let c = c.to_ascii_lowercase();
        if is_allowed(c) {
            repaired.push(c);
        } else if !repaired.ends_with('_') {
            repaired.push('_');
        }
    }
    let repaired = repaired.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('_');
    check(repaired).is_ok().then(|| repaired.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{check, hash, repaired};

    #[test]
    fn the_hash_is_that_of_its_authors() {
        assert_eq!(hash(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_rule_accepts_every_allowed_character_and_length() {
        for name in ["a", "a-z_0.9/x", &"n".repeat(64)] {
            assert!(check(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn the_rule_refuses_what_is_outside_it() {
        for name in ["", "root", "A", "9a", "_a", "a b", "ä", &"n".repeat(65)] {
            assert!(check(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_repaired_name_keeps_the_rule() {
        assert_eq!(repaired("Validate Order!").as_deref(), Some("validate_order"));
        assert_eq!(repaired("parseHTTP2Request").as_deref(), Some("parse_http2_request"));
        assert_eq!(repaired("__x").as_deref(), Some("x"));
        assert_eq!(repaired("!!"), None);
    }
}
