//! Files of each version of the format stay readable, for ever.
//!
//! A file is made once for each version, by `TRACER_GOLDEN=1 cargo test -p tracer-crash golden`, and never again.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tracer::recorder::page::PAGE_BYTES;
use tracer_blackbox::RecoverError;

use crate::child::{Directory, recover, start};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data").join(name)
}

/// All that a file says, but for what depends on the machine it is read on.
fn said(bytes: &[u8]) -> Value {
    let read = recover(bytes).unwrap();
    let open = read
        .open
        .iter()
        .map(|node| json!([node.trace_id, node.frame, node.node, node.since_unix_ns.to_string(), node.arguments]));
    json!({
        "process": [read.process.app, read.process.app_version, read.process.pid],
        "active": read.active,
        "open": open.collect::<Value>(),
        "gaps": read.gaps.iter().map(ToString::to_string).collect::<Value>(),
        "confidence": read.confidence.to_string(),
        "records": read.records,
    })
}

fn stays_readable(version: &str) {
    let expected: Value = serde_json::from_slice(&fs::read(data(&format!("v{version}.json"))).unwrap()).unwrap();
    assert_eq!(said(&fs::read(data(&format!("v{version}.tbx"))).unwrap()), expected);
}

#[test]
fn files_of_version_1_0_stay_readable() {
    stays_readable("1.0");
}

#[test]
fn files_of_version_1_1_stay_readable() {
    stays_readable("1.1");
}

#[test]
fn files_of_version_1_2_stay_readable() {
    stays_readable("1.2");
}

#[test]
fn files_of_version_1_3_stay_readable() {
    stays_readable("1.3");
    has_values_in_blocks("1.3");
}

#[test]
fn files_of_version_2_0_stay_readable() {
    stays_readable("2.0");
    has_values_in_blocks("2.0");
}

#[test]
fn files_of_version_2_1_stay_readable() {
    if std::env::var_os("TRACER_GOLDEN").is_some() {
        let directory = Directory::new();
        start("golden", directory.path(), &[]).ready().kill();
        fs::create_dir_all(data("")).unwrap();
        fs::write(data("v2.1.tbx"), directory.bytes()).unwrap();
        let text = serde_json::to_string_pretty(&said(&directory.bytes())).unwrap();
        fs::write(data("v2.1.json"), text + "\n").unwrap();
    }
    stays_readable("2.1");
    has_values_in_blocks("2.1");
}

/// Without its pages, what is open has the beginning of its values, from the frames.
fn has_values_in_blocks(version: &str) {
    let (order, what, to) = (json!({"order": 2}), json!({"what": "tea", "password": {}}), json!({"to": "Ada"}));
    let expected = [("deliver", &to, false), ("outer", &order, false), ("inner", &what, true)];
    let bytes = fs::read(data(&format!("v{version}.tbx"))).unwrap();
    let pages_at = usize::try_from(u64::from_le_bytes(bytes[112..120].try_into().unwrap())).unwrap();
    let read = recover(&bytes[..pages_at]).unwrap();
    let open: Vec<_> = read.open.iter().map(|node| (&*node.node, &node.arguments, node.truncated)).collect();
    // Steps by hand are there since 2.1.
    assert_eq!(open, expected[usize::from(version < "2.1")..]);
}

/// Before 2.1 no page said that nothing more came into it: one that was sealed was full.
#[test]
fn pages_of_older_versions_were_full_when_they_were_sealed() {
    let missed = |version: &str, is_sealed: bool| {
        let mut bytes = fs::read(data(&format!("v{version}.tbx"))).unwrap();
        let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let pages_at = usize::try_from(word(&bytes, 112)).unwrap();
        let page = (pages_at..bytes.len()).step_by(PAGE_BYTES).find(|page| word(&bytes, page + 8) != 0).unwrap();
        if is_sealed {
            // The check of its first slot; whether it is right is not asked.
            bytes[page + PAGE_BYTES - 4 * 240..][..4].fill(1);
        }
        let seen = tracer_blackbox::recover(&bytes[..]).unwrap().pages_seen();
        bytes[page..page + PAGE_BYTES].fill(0);
        tracer_blackbox::recover(&bytes[..]).unwrap().pages_missed(&seen)
    };
    for version in ["1.0", "1.1", "1.2", "1.3", "2.0"] {
        assert_eq!((missed(version, true), missed(version, false)), (0, 1), "{version}");
    }
    assert_eq!((missed("2.1", true), missed("2.1", false)), (1, 1));
}

/// Of a later minor version: what this one does not know is passed over, and the rest says the same.
#[test]
fn a_newer_minor_version_is_read_but_for_what_is_new_in_it() {
    let mut bytes = fs::read(data("v2.1.tbx")).unwrap();
    let expected = said(&bytes);
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    // A version that nobody has made yet, and a field that has no name yet.
    bytes[12] = 99;
    bytes[200..208].fill(7);
    let check = mix(&bytes[..504], 0x5442_5831_5355_5052);
    bytes[504..512].copy_from_slice(&check.to_le_bytes());
    // Without its copy, which is of the old version.
    bytes[0x1000..0x1200].fill(0);
    assert_eq!(said(&bytes), expected);
    // Entries of kinds that nobody knows, in the next slots of each page that is in use.
    let (pages_at, mut added) = (usize::try_from(word(&bytes, 112)).unwrap(), 0);
    for page in bytes[pages_at..].chunks_mut(16384).filter(|page| word(page, 8) != 0) {
        let next = 64 + usize::try_from(word(page, 0).div_ceil(8)).unwrap() * 64;
        for kind in 12..16_u8 {
            let slot = &mut page[next + usize::from(kind - 12) * 64..][..64];
            slot.fill(0xa5);
            slot[0] = kind;
            added += 1;
        }
    }
    assert!(added > 0);
    assert_eq!(said(&bytes), expected);
    // The control: the check is one.
    bytes[200] = 8;
    assert_eq!(recover(&bytes).unwrap_err(), RecoverError::Damaged);
}

/// An event with a detail is the step that it says, or none.
#[test]
fn what_does_not_follow_is_neither_counted_nor_listed() {
    let bytes = fs::read(data("v2.0.tbx")).unwrap();
    let steps = |bytes: &[u8]| {
        let read = tracer_blackbox::recover(bytes).unwrap();
        let listed = read.records().filter(|record| record.as_step().is_some()).count() as u64;
        let counted = read.traces().iter().map(|trace| trace.steps).sum::<u64>();
        assert_eq!(counted, listed);
        listed
    };
    let whole = steps(&bytes);
    let pages_at = usize::try_from(u64::from_le_bytes(bytes[112..120].try_into().unwrap())).unwrap();
    let mut places = (pages_at..bytes.len()).step_by(64).filter(|at| bytes[*at] == 10).peekable();
    assert!(places.peek().is_some());
    for at in places {
        let mut other = bytes.clone();
        other[at + 2] ^= 1;
        assert!(steps(&other) < whole, "the slot at {at}");
    }
}

/// As `docs/format.md` has it.
fn mix(bytes: &[u8], seed: u64) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    let hash = words.fold(seed, |hash, word| {
        let hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^ (hash >> 32)
    });
    let hash = (hash ^ bytes.len() as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    hash ^ (hash >> 29)
}
