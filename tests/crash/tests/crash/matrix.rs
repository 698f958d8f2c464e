//! `docs/failures.md` names tests that there are.

use std::fs;
use std::path::Path;

/// Where a test is, by the name that the document gives it: `module::name`, or with the path of its file.
fn is_there(module: &str, name: &str) -> bool {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = match module {
        path if path.contains('/') => here.join("../..").join(path),
        module => here.join("tests/crash").join(module).with_extension("rs"),
    };
    let text = fs::read_to_string(path).unwrap_or_default();
    let (attributes, _) = text.split_once(&format!("fn {name}()")).unwrap_or_default();
    // Between the attribute and the function there are others at most.
    attributes.rsplit_once("#[test]").is_some_and(|(_, between)| !between.contains("fn "))
}

#[test]
fn every_failure_has_tests_that_there_are() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/failures.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| |"));
    let mut numbers = 0..;
    for row in rows {
        numbers.next();
        let names = row.split('`').skip(1).step_by(2).filter_map(|word| word.rsplit_once("::"));
        let names: Vec<_> = names.filter(|(module, _)| *module != "Options").collect();
        assert!(!names.is_empty(), "{row}");
        for (module, name) in names {
            assert!(is_there(module, name), "there is no test {module}::{name}");
        }
    }
    assert_eq!(numbers.next(), Some(27), "rows of the matrix");
    assert!(!is_there("kills", "nothing_is_lost") && !is_there("kills", "nobody"), "the control: these are no tests");
}
