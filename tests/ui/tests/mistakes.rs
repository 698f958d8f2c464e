//! One mistake a file, named after it; its first line says what the user should see.
//!
//! `TRYBUILD=overwrite cargo test -p tracer-ui` writes the messages anew. Read them: each says what is wrong, where,
//! and what to write instead. The wording of rustc's own messages belongs to the pinned toolchain.

use std::fs;

#[test]
fn every_mistake_is_told_well() {
    trybuild::TestCases::new().compile_fail("fail/*.rs");
}

#[test]
fn every_mistake_has_its_messages_and_says_what_to_expect() {
    let mut mistakes = 0;
    for file in fs::read_dir("fail").unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            mistakes += 1;
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with("// "), "{} does not say what the user should see", path.display());
            assert!(path.with_extension("stderr").exists(), "{} has no messages", path.display());
        }
    }
    assert!(mistakes >= 60, "{mistakes}");
}
