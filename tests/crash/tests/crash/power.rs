//! What is written out to the disk, and when: as often as the level says, and never by default.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::child::{Directory, Running, start};

/// When a sync began and ended, and of how many bytes.
type Synced = (Duration, Duration, u64);

struct Syncs {
    after_calls: u64,
    after_an_error: u64,
    all: Vec<Synced>,
    directory: Directory,
}

fn number(running: &mut Running) -> u64 {
    running.line().parse().unwrap()
}

/// Those of a program that makes calls, fails in one, and is there for so long.
fn syncs(arguments: &[&str], is_there: Duration) -> Syncs {
    let directory = Directory::new();
    let mut running = start("syncs", directory.path(), arguments);
    let (after_calls, after_an_error) = (number(&mut running), number(&mut running));
    // It is what the level counts by.
    std::thread::sleep(is_there);
    running.go_on();
    let lines = std::iter::from_fn(|| Some(running.line()).filter(|line| !line.is_empty()));
    let all = lines.map(|line| {
        let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
        (Duration::from_millis(numbers[0]), Duration::from_millis(numbers[1]), numbers[2])
    });
    let all = all.collect();
    assert!(running.end().0.success());
    Syncs { after_calls, after_an_error, all, directory }
}

#[test]
fn everything_is_written_out_as_often_as_was_said() {
    let every = Duration::from_millis(200);
    let syncs = syncs(&["power", "200"], 6 * every);
    assert!(syncs.all.len() >= 3, "{:?}", syncs.all);
    for (begun, ended, bytes) in &syncs.all {
        assert!(begun <= ended);
        assert_eq!(*bytes, syncs.directory.bytes().len() as u64, "all of it");
    }
    for pair in syncs.all.windows(2) {
        let between = pair[1].0.checked_sub(pair[0].1).unwrap();
        // Whole milliseconds on both ends, and the scheduler of a busy machine.
        let bounds = every * 99 / 100..every + every / 2;
        assert!(bounds.contains(&between), "{between:?} between two: {:?}", syncs.all);
    }
}

#[test]
fn an_error_is_on_the_disk_before_it_is_returned() {
    let syncs = syncs(&["error"], Duration::ZERO);
    assert_eq!((syncs.after_calls, syncs.after_an_error, syncs.all.len()), (0, 1, 1));
    assert_eq!(syncs.all[0].2, syncs.directory.bytes().len() as u64, "all of it");
}

/// When the file was last written out, as it says.
fn synced_ns(path: &Path) -> u64 {
    word(path, 14)
}

fn word(path: &Path, nth: usize) -> u64 {
    let at = 0x2000 + nth * 8;
    u64::from_le_bytes(fs::read(path).unwrap()[at..at + 8].try_into().unwrap())
}

#[test]
fn what_came_last_is_written_out_at_the_end() {
    const HOUR: &str = "3600000";
    for is_killed in [false, true] {
        let directory = Directory::new();
        let mut running = start("syncs", directory.path(), &["power", HOUR]);
        let path = (number(&mut running), directory.files().remove(0)).1;
        if is_killed {
            running.kill();
        } else {
            assert!(running.end().0.success());
        }
        assert_eq!(synced_ns(&path) > 0, !is_killed);
    }
}

#[test]
fn a_child_is_written_out_and_watched_as_its_parent_is() {
    let directory = Directory::new();
    assert!(start("fork-and-sync", directory.path(), &[]).end().0.success());
    let files = directory.files();
    assert_eq!(files.len(), 2);
    // That of the child did not end in order, so nothing was written out at its end.
    assert_eq!(files.iter().filter(|path| word(path, 0) == 1).count(), 1);
    assert!(files.iter().all(|path| synced_ns(path) > 0));
    assert_eq!(word(&files[0], 19), word(&files[1], 19), "where kills for want of memory are counted");
}

/// The control: nobody waits for a disk unless it was asked for.
#[test]
fn control_nothing_is_written_out_by_default() {
    let syncs = syncs(&["kill"], Duration::from_millis(300));
    assert_eq!((syncs.after_calls, syncs.after_an_error, syncs.all), (0, 0, vec![]));
}
