//! What was redacted: equal values can be seen to be equal, and nothing of them or of the key is in the file.

use serde_json::Value;

use crate::child::{Directory, start};

const KEY: &str = "5d0f1c2b3a49586776859403a2b1c0df";
const OTHER_KEY: &str = "00000000000000000000000000000001";
/// Given three times, the second time another.
const PASSWORDS: [&str; 2] = ["correct horse", "battery staple"];

/// A program that was given three passwords, and killed: what stands for each of them, and the file.
fn hashes(key: &str) -> ([String; 3], Vec<u8>) {
    let directory = Directory::new();
    start("secrets", directory.path(), &[key, PASSWORDS[0], PASSWORDS[1]]).ready().kill();
    let recovered = directory.recovered();
    let steps = recovered.records.iter().filter_map(|record| record.as_step());
    let passwords = steps.filter_map(|step| step.values.get("password"));
    let hashes: Vec<String> = passwords
        .map(|password| match &password["$redacted"] {
            Value::String(hash) => hash.clone(),
            other => panic!("no hash but {other}"),
        })
        .collect();
    let bytes = directory.bytes();
    let joined = joined(&bytes);
    (hashes.try_into().unwrap(), [bytes, joined].concat())
}

/// The details of a file, each of which lies in several slots, as `docs/format.md` says.
fn joined(bytes: &[u8]) -> Vec<u8> {
    let parts = bytes.chunks_exact(64).filter(|slot| slot[0] == 7);
    parts.flat_map(|part| &part[2..2 + usize::from(part[1]).min(62)]).copied().collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn equal_passwords_are_seen_to_be_equal() {
    let (hashes, _) = hashes("");
    assert_eq!(hashes[0], hashes[2]);
    assert_ne!(hashes[0], hashes[1]);
}

#[test]
fn processes_without_a_key_share_nothing_and_with_one_all() {
    let ((one, _), (other, _)) = (hashes(""), hashes(""));
    assert!(one.iter().zip(&other).all(|(one, other)| one[..8] != other[..8] && one[9..] != other[9..]));
    let ((one, _), (other, _)) = (hashes(KEY), hashes(KEY));
    assert_eq!(one, other);
    let (other, _) = hashes(OTHER_KEY);
    assert!(one.iter().zip(&other).all(|(one, other)| one[..8] != other[..8] && one[9..] != other[9..]));
}

#[test]
fn neither_secrets_nor_the_key_are_in_the_file() {
    let (hashes, bytes) = hashes(KEY);
    let key = u128::from_str_radix(KEY, 16).unwrap().to_le_bytes();
    let backwards: Vec<u8> = key.iter().rev().copied().collect();
    // Words of the key would be the state that hashing begins with, but for constants that everybody knows.
    let words = key.chunks(8).map(<[u8]>::to_vec);
    let secrets = PASSWORDS.map(|password| password.as_bytes().to_vec());
    let secrets =
        secrets.into_iter().chain([KEY.into(), backwards[..8].to_vec(), backwards[8..].to_vec()]).chain(words);
    for secret in secrets {
        assert!(!contains(&bytes, &secret), "{}", String::from_utf8_lossy(&secret));
    }
    assert!(contains(&bytes, hashes[0].as_bytes()), "the control: what was recorded is found");
    assert!(contains(&bytes, b"Ada Lovelace"), "the control: so is what was not redacted");
}
