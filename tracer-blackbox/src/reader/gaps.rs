//! What is not there, and how sure that makes the rest.

use std::fmt;

use tracer::{EnvId, TraceId};

/// Something that was recorded, or may have been, and is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gap {
    /// The oldest pages were written over, as the box is bounded.
    WrittenOver {
        /// So many, of 255 entries or parts of values each.
        pages: u64,
    },
    /// Pages of which nothing can be read.
    Unreadable {
        /// So many.
        pages: u64,
    },
    /// A page has holes.
    Torn {
        /// Its place in the file.
        page: u32,
        /// The entries or parts that are missing.
        slots: usize,
    },
    /// Written, and not yet secured by a check when the machine was lost: whether it is whole cannot be told.
    Unsealed {
        /// So many slots.
        slots: u64,
    },
    /// The file was cut off.
    CutOff {
        /// Missing at its end.
        bytes: u64,
    },
    /// Steps of an env are missing, whatever the reason.
    Steps {
        /// The trace.
        trace_id: TraceId,
        /// The env.
        env_id: EnvId,
        /// The first that is missing.
        from: u64,
        /// The last that is missing.
        to: u64,
    },
    /// What was open is not all known: it had no place in the table of that, and its first records are not there.
    Open {
        /// Lines of calls that had no place.
        lines: u64,
        /// Calls, of lines that had one, that were deeper than what had.
        frames: u64,
    },
    /// The payloads of envs whose own records are missing: what else these said is known.
    Payloads {
        /// So many envs.
        envs: u64,
    },
    /// Records of which nothing says any more what trace they are of.
    Orphans {
        /// So many.
        records: u64,
    },
    /// The names and places of functions that did not fit, or are damaged.
    Names {
        /// So many functions.
        functions: u64,
    },
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrittenOver { pages } => write!(f, "the oldest {} written over", count(*pages, "page")),
            Self::Unreadable { pages } => write!(f, "{} unreadable", count(*pages, "page")),
            Self::Torn { page, slots } => write!(f, "{} missing in page {page}", count(*slots as u64, "slot")),
            Self::Unsealed { slots } => write!(f, "{} not believed, as without a check", count(*slots, "slot")),
            Self::CutOff { bytes } => write!(f, "cut off, {} missing", count(*bytes, "byte")),
            Self::Steps { env_id, from, to, .. } if from == to => write!(f, "step {from} of {env_id} missing"),
            Self::Steps { env_id, from, to, .. } => write!(f, "steps {from}–{to} of {env_id} missing"),
            Self::Open { lines, frames } => {
                let parts = [(*lines, "line"), (*frames, "deep call")];
                let parts: Vec<_> = parts.iter().filter(|(of, _)| *of > 0).map(|(of, what)| count(*of, what)).collect();
                write!(f, "{} without a place in the table of open nodes", parts.join(" and "))
            }
            Self::Payloads { envs } => write!(f, "payloads of {} missing", count(*envs, "env")),
            Self::Orphans { records } => write!(f, "{} of unknown traces", count(*records, "record")),
            Self::Names { functions } => write!(f, "names of {} missing", count(*functions, "function")),
        }
    }
}

fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// With a comma at each thousand.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (nth, digit) in digits.chars().enumerate() {
        if nth > 0 && (digits.len() - nth) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One line on what was found and what is missing: its [`Display`](fmt::Display).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confidence {
    /// Records found.
    pub records: u64,
    /// Steps in the middle of an env are missing, or pages: more than the bound of the box explains.
    pub is_damaged: bool,
    text: String,
}

impl Confidence {
    pub(super) fn new(records: u64, gaps: &[Gap], dropped: u64) -> Self {
        const SHOWN: usize = 4;
        let (mut steps, mut others) = (0, Vec::new());
        for gap in gaps {
            match gap {
                Gap::Steps { .. } => steps += 1,
                other => others.push(other.to_string()),
            }
        }
        let more = others.len().saturating_sub(SHOWN);
        others.truncate(SHOWN);
        if more > 0 {
            others.push(format!("and {more} more"));
        }
        if steps > 0 {
            others.push(format!("{} with steps missing", count(steps, "env")));
        }
        if dropped > 0 {
            others.push(format!("{} dropped while it ran", count(dropped, "record")));
        }
        let found = count(records, "record");
        let text = if others.is_empty() {
            format!("recovered {found}, nothing is missing")
        } else {
            format!("recovered {found}; {}", others.join(", "))
        };
        let is_damaged = gaps.iter().any(|gap| {
            matches!(gap, Gap::Unreadable { .. } | Gap::Torn { .. } | Gap::CutOff { .. } | Gap::Names { .. })
        });
        Self { records, is_damaged, text }
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_what_is_missing() {
        let line = |records, gaps: &[Gap], dropped| Confidence::new(records, gaps, dropped).to_string();
        assert_eq!(line(47_661, &[], 0), "recovered 47,661 records, nothing is missing");
        let gaps = [Gap::WrittenOver { pages: 1 }, Gap::Torn { page: 3, slots: 14 }];
        assert_eq!(
            line(1, &gaps, 1_000_000),
            "recovered 1 record; the oldest 1 page written over, 14 slots missing in page 3, \
             1,000,000 records dropped while it ran"
        );
    }
}
