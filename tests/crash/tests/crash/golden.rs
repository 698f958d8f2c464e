//! Files of each version of the format stay readable, for ever.
//!
//! A file is made once for each version, by `TRACER_GOLDEN=1 cargo test -p tracer-crash golden`, and never again.

use std::fs;
use std::path::{Path, PathBuf};

use crate::child::{Directory, recover, start};
use serde_json::{Value, json};

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
    if std::env::var_os("TRACER_GOLDEN").is_some() {
        let directory = Directory::new();
        start("golden", directory.path(), &[]).ready().kill();
        fs::create_dir_all(data("")).unwrap();
        fs::write(data("v1.3.tbx"), directory.bytes()).unwrap();
        let text = serde_json::to_string_pretty(&said(&directory.bytes())).unwrap();
        fs::write(data("v1.3.json"), text + "\n").unwrap();
    }
    stays_readable("1.3");
    // Without its pages, what is open has the beginning of its values, from the frames.
    let bytes = fs::read(data("v1.3.tbx")).unwrap();
    let pages_at = usize::try_from(u64::from_le_bytes(bytes[112..120].try_into().unwrap())).unwrap();
    let read = recover(&bytes[..pages_at]).unwrap();
    let open: Vec<_> = read.open.iter().map(|node| (&*node.node, &node.arguments, node.truncated)).collect();
    let (order, what) = (json!({"order": 2}), json!({"what": "tea", "password": {}}));
    assert_eq!(open, [("outer", &order, false), ("inner", &what, true)]);
}
