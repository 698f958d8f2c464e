//! The process stops behind each single instruction of what writes, and the file is read as it is then: as if it had
//! been killed there. No place in the code has to be named for it, so none is forgotten, and the code has no hooks.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;

use tracer::{EnvId, Record, Status};
use tracer_blackbox::{Death, Gap, Observed, RecoverError};

use crate::child::{Directory, Recovered, recover_with};
use crate::kills::{acknowledged, lost};
use crate::stepped::{Halt, Stepped};

/// A program that makes calls, or opens or closes a box, behind so many calls before.
fn stepped(what: &str, directory: &Directory, before: u64) -> Stepped {
    Stepped::start("steps", directory.path(), &[what, &before.to_string()])
}

/// `false`: what is looked at ends here.
fn executes_one(stepped: &mut Stepped) -> bool {
    let halt = stepped.step();
    assert_ne!(halt, Halt::Ended);
    halt == Halt::Done
}

/// What a reader says when the process is gone.
fn dead() -> Observed {
    Observed { living: BTreeSet::default(), ..Observed::here() }
}

/// The page that was begun last: its birth, and how many slots are left in it. Places are those of `docs/format.md`.
fn newest_page(bytes: &[u8]) -> (u64, u64) {
    let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let pages = bytes[usize::try_from(word(112)).unwrap()..].chunks(16384);
    let head = |page: &[u8], nth: usize| u64::from_le_bytes(page[nth * 8..nth * 8 + 8].try_into().unwrap());
    pages.map(|page| (head(page, 1), 240 - head(page, 0).div_ceil(8).min(240))).max().unwrap()
}

/// So many slots a call takes at most.
const SLOTS_OF_A_CALL: u64 = 8;

/// Looks at each state of the file while calls are made behind `before` others: two of them, those that come to the end
/// of a page, and two more.
fn each_state(before: u64, look: impl Fn(&Recovered, u64)) {
    let directory = Directory::new();
    let mut stepped = stepped("calls", &directory, before);
    let file = File::open(&directory.files()[0]).unwrap();
    let (mut last, mut now) = (directory.bytes(), directory.bytes());
    let observed = dead();
    let (first_page, _) = newest_page(&now);
    let (mut calls, mut states) = (0, 0_u64);
    while calls < 4 {
        file.read_exact_at(&mut now, 0).unwrap();
        let (page, room) = newest_page(&now);
        if calls >= 2 && page == first_page && room > SLOTS_OF_A_CALL {
            stepped.run();
            continue;
        }
        while executes_one(&mut stepped) {
            file.read_exact_at(&mut now, 0).unwrap();
            if now != last {
                last.copy_from_slice(&now);
                states += 1;
                look(&recover_with(&now, &observed).unwrap(), acknowledged(directory.path())[0]);
            }
        }
        calls += u64::from(calls < 2 || newest_page(&now).0 > first_page);
    }
    eprintln!("{states} states of the file");
    assert!(states > 400, "{states} states: the checks of a page are stored one by one");
}

fn is_whole(recovered: &Recovered, acknowledged: u64) {
    assert_eq!(lost(&recovered.records, &[acknowledged]), Ok(0), "{}", recovered.confidence);
    assert_eq!(recovered.gaps, []);
    assert!(!recovered.confidence.is_damaged, "{}", recovered.confidence);
    assert_eq!(recovered.death, Death::Killed);
    let mut steps = recovered.records.iter().filter_map(Record::as_step);
    let mut entered = Vec::new();
    for step in steps.clone() {
        match step.status {
            Status::Enter => entered.push(&*step.node),
            _ => assert_eq!(entered.pop(), Some(&*step.node)),
        }
    }
    let open: Vec<_> = recovered.open.iter().map(|node| &*node.node).collect();
    // A step is in its page before it is in the table of what is open. So a call whose exit is the newest record, and
    // which has not returned yet, may be shown as running; and one whose enter is, and which has not begun, may not.
    let newest = steps.next_back().unwrap();
    let mut before = entered.clone();
    match newest.status {
        Status::Enter => drop(before.pop()),
        _ => before.push(&newest.node),
    }
    assert!(open == entered || open == before, "{open:?}, {entered:?} and {before:?}");
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes unless optimised: `cargo xtask crash damage`")]
fn calls_are_whole_behind_each_instruction() {
    each_state(30, is_whole);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes unless optimised: `cargo xtask crash damage`")]
fn pages_begin_anew_behind_each_instruction() {
    each_state(1000, |recovered, acknowledged| {
        // The newest steps are there, each with its number, and those that are missing are the oldest.
        let mut last: HashMap<EnvId, u64> = HashMap::new();
        let mut numbers = Vec::new();
        for step in recovered.records.iter().filter_map(Record::as_step) {
            if let Some(before) = last.insert(step.env_id, step.step_id) {
                assert_eq!(step.step_id, before + 1, "{}", recovered.confidence);
            }
            numbers.extend(step.values.get("n").and_then(serde_json::Value::as_u64));
        }
        assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
        let newest = numbers[numbers.len() - 1];
        assert!((acknowledged..=acknowledged + 1).contains(&(newest + 1)), "{newest}, {acknowledged} acknowledged");
        assert!(numbers.len() > 300, "{} calls", numbers.len());
        // The page that begins anew, and those before it.
        let is_usual = |gap: &Gap| {
            matches!(gap, Gap::WrittenOver { .. } | Gap::Unreadable { pages: 1 } | Gap::Steps { from: 1, .. })
        };
        assert!(recovered.gaps.iter().all(is_usual), "{:?}", recovered.gaps);
        assert_eq!(recovered.open[0].node, "items");
    });
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes unless optimised: `cargo xtask crash damage`")]
fn an_end_in_order_is_one_only_when_all_is_there() {
    let directory = Directory::new();
    let mut stepped = stepped("close", &directory, 60);
    let observed = dead();
    let mut deaths = Vec::new();
    let mut last = Vec::new();
    let file = File::open(&directory.files()[0]).unwrap();
    let mut now = directory.bytes();
    while executes_one(&mut stepped) {
        file.read_exact_at(&mut now, 0).unwrap();
        if now != last {
            last.clone_from(&now);
            let recovered = recover_with(&now, &observed).unwrap();
            assert_eq!(lost(&recovered.records, &[60]), Ok(0), "{}", recovered.confidence);
            assert_eq!(recovered.gaps, []);
            deaths.push(recovered.death);
        }
    }
    deaths.dedup();
    assert_eq!(deaths, [Death::Killed, Death::Clean { status: None }]);
}

#[test]
fn a_file_is_none_or_whole_behind_each_instruction() {
    let directory = Directory::new();
    let mut stepped = stepped("open", &directory, 0);
    let observed = dead();
    let mut file: Option<File> = None;
    let (mut last, mut now) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let (mut refused, mut read) = (0, 0);
    for instruction in 0_u64.. {
        if !executes_one(&mut stepped) {
            break;
        }
        // Looking for the file takes longer than all the rest.
        if file.is_none() && instruction % 64 == 0 {
            file = directory.files().first().map(|path| File::open(path).unwrap());
        }
        let Some(file) = &file else { continue };
        let len = file.read_at(&mut now, 0).unwrap();
        if now[..len] == last[..len] && refused > 0 {
            continue;
        }
        last[..len].copy_from_slice(&now[..len]);
        match recover_with(&std::fs::read(&directory.files()[0]).unwrap(), &observed) {
            Ok(recovered) => {
                assert_eq!((recovered.records.len(), recovered.open.len()), (0, 0));
                assert_eq!((&*recovered.process.app, recovered.process.pid), ("child", stepped.id()));
                assert_eq!(recovered.death, Death::Killed);
                read += 1;
            }
            Err(RecoverError::Empty | RecoverError::NotABlackBox | RecoverError::Damaged) if read == 0 => refused += 1,
            Err(error) => panic!("{error}, {read} states after it was one"),
        }
    }
    eprintln!("{refused} states refused, {read} read");
    assert!(refused > 10 && read > 10, "{refused} refused, {read} read");
}
