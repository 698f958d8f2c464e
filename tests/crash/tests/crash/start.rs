//! A program that starts tells what those before it left, and makes room.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::child::{Directory, Running, command, start, start_command};

/// Starts a program; gives what it told of others.
fn told(directory: &Path, bytes_max: u64, loudness: &str) -> String {
    let mut command = command("init", directory, &[&bytes_max.to_string(), loudness]);
    command.env_remove("TRACER_QUIET");
    let (status, error) = start_command(command).end();
    assert!(status.success(), "{status}: {error}");
    error
}

fn killed(directory: &Path) -> PathBuf {
    killed_with(directory, &[])
}

fn killed_with(directory: &Path, options: &[&str]) -> PathBuf {
    let running = start("open", directory, options).ready();
    let path = file_of(&running, directory);
    running.kill();
    path
}

fn file_of(running: &Running, directory: &Path) -> PathBuf {
    let id = format!("-{}-", running.id());
    let files = fs::read_dir(directory.join("child")).unwrap().map(|file| file.unwrap().path());
    let mut its = files.filter(|path| path.file_name().unwrap().to_string_lossy().contains(&id));
    its.next().unwrap()
}

const NO_LIMIT: u64 = u64::MAX;

#[test]
fn what_was_told_is_deleted_for_want_of_room_and_nothing_else() {
    let directory = Directory::new();
    let (one, other) = (killed(directory.path()), killed(directory.path()));
    let lives = start("open", directory.path(), &[]).ready();
    let its = file_of(&lives, directory.path());

    assert_eq!(told(directory.path(), 0, "quiet"), "");
    assert!(one.exists() && other.exists() && its.exists(), "nobody was told of them");

    let text = told(directory.path(), NO_LIMIT, "loud");
    assert_eq!(text.matches(") killed\n").count(), 2, "{text}");
    assert_eq!(text.matches("inner was running").count(), 2, "{text}");
    assert!(one.exists() && other.exists(), "there is room");

    let len = fs::metadata(&one).unwrap().len();
    // Those of the two programs that have ended in order, and the two; what lives does not count.
    assert_eq!(told(directory.path(), 3 * len, "loud"), "", "nothing is told twice");
    assert_eq!([&one, &other].map(|path| path.exists()), [false, true], "the oldest");
    assert!(!one.with_extension("read").exists());

    assert_eq!(told(directory.path(), 0, "loud"), "");
    assert!(
        other.exists() && its.exists(),
        "the newest that was killed is what somebody looks for; who lives keeps its own"
    );
    // That of the last program stays, too: it wrote it. The others are gone.
    assert_eq!(directory.files().len(), 3, "{:?}", directory.files());

    lives.kill();
    let text = told(directory.path(), 0, "loud");
    assert_eq!(text.matches(") killed\n").count(), 1, "{text}");
    assert_eq!([&other, &its].map(|path| path.exists()), [false, true], "what was just told of is there to be shown");
}

/// Nor does each look at what all others left: that takes longer than all the rest.
#[test]
fn not_each_program_that_starts_deletes_files() {
    let directory = Directory::new();
    told(directory.path(), NO_LIMIT, "loud");
    let len = fs::metadata(&directory.files()[0]).unwrap().len();
    let left: Vec<usize> = (0..24)
        .map(|_| {
            told(directory.path(), 8 * len, "loud");
            directory.files().len()
        })
        .collect();
    // Its own, which lives, does not count.
    assert_eq!(left.iter().max(), Some(&9), "{left:?}");
    let deletions = left.windows(2).filter(|pair| pair[1] <= pair[0]).count();
    assert!((4..=8).contains(&deletions), "{left:?}");
    assert!(left[8..].iter().all(|count| *count >= 6), "no more go than have to: {left:?}");
}

/// What it had begun before goes on elsewhere, and the file has nothing of it.
#[test]
fn who_asks_for_a_black_box_in_a_traced_function_is_told() {
    let directory = Directory::new();
    let mut command = command("init-in-a-call", directory.path(), &[]);
    command.env_remove("TRACER_QUIET");
    let (status, error) = start_command(command).end();
    assert!(status.success(), "{status}: {error}");
    assert!(error.contains("`init` was called in a traced function: tr_"), "{error}");
    assert!(!told(directory.path(), NO_LIMIT, "loud").contains("traced function"));
}

/// A program that is started again and again, and dies at once, never comes to read what the others left.
#[test]
fn who_dies_at_once_makes_room_first() {
    let directory = Directory::new();
    let dead = [0, 1, 2].map(|_| killed(directory.path()));
    // A hole takes no room, and long to read.
    File::options().write(true).open(&dead[0]).unwrap().set_len(2 << 30).unwrap();
    let mut command = command("init", directory.path(), &["0", "loud"]);
    command.env_remove("TRACER_QUIET");
    let mut running = start_command(command);
    running.line();
    running.kill();
    assert_eq!(dead.each_ref().map(|path| path.exists()), [false, true, true], "as much as has to go");
}

/// Nor does its log.
#[test]
fn of_many_only_the_last_are_told() {
    let directory = Directory::new();
    // Small ones: a program that ends waits for no more than it can read in two seconds.
    (0..12).for_each(|_| drop(killed_with(directory.path(), &["131072"])));
    let text = told(directory.path(), NO_LIMIT, "loud");
    assert!(text.contains("2 more processes have not ended in order; `tracer ls` lists what they did\n"), "{text}");
    assert_eq!(text.matches(") killed\n").count(), 10, "{text}");
    assert_eq!(told(directory.path(), NO_LIMIT, "loud"), "", "once");
}

/// Its log may be on the disk that is full; and who reads it may be gone.
#[test]
fn that_nothing_can_be_said_is_no_matter() {
    let directory = Directory::new();
    killed(directory.path());
    let nowhere = Path::new("/proc/nowhere");
    for (place, scenario) in [(directory.path(), "init"), (nowhere, "init"), (nowhere, "return")] {
        let mut command = command(scenario, place, &[&NO_LIMIT.to_string(), "loud"]);
        command.env_remove("TRACER_QUIET").stderr(File::options().write(true).open("/dev/full").unwrap());
        assert!(command.stdin(Stdio::null()).status().unwrap().success(), "{scenario} at {}", place.display());
    }
}

/// Who dies in the midst of making a file says by its name alone whose it is.
#[test]
fn files_that_nothing_was_written_to_are_deleted_once_their_makers_are_gone() {
    let directory = Directory::new();
    let dead = killed(directory.path());
    let lives = start("open", directory.path(), &[]).ready();
    let its = file_of(&lives, directory.path());
    let beside = |path: &Path| {
        let other = path.with_file_name(path.file_name().unwrap().to_string_lossy().replace("-0.tbx", "-1.tbx"));
        let file = File::create(&other).unwrap();
        file.set_len(2 << 30).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        other
    };
    let (of_dead, of_living) = (beside(&dead), beside(&its));
    let new = of_dead.with_file_name(of_dead.file_name().unwrap().to_string_lossy().replace("-1.tbx", "-2.tbx"));
    File::create(&new).unwrap().set_len(2 << 30).unwrap();
    let strange = directory.path().join("child/strange.tbx");
    File::create(&strange).unwrap().set_len(2 << 30).unwrap();
    assert_eq!(told(directory.path(), 0, "quiet"), "");
    assert!(!of_dead.exists());
    assert!([&of_living, &new, &strange, &dead, &its].iter().all(|path| path.exists()), "it may be about to be begun");
    lives.kill();
}

/// A program that is started again and again, and tells nobody, does not fill the disk.
#[test]
fn what_nobody_is_told_of_is_deleted_when_there_is_much_of_it() {
    const GIB: u64 = 1 << 30;
    let directory = Directory::new();
    let dead = [0, 1, 2].map(|_| killed(directory.path()));
    let lives = start("open", directory.path(), &[]).ready();
    let its = file_of(&lives, directory.path());
    let set_len = |path: &Path, len: u64| File::options().write(true).open(path).unwrap().set_len(len).unwrap();
    // Holes take no room. What lives does not count.
    set_len(&dead[1], GIB / 2);
    set_len(&its, 2 * GIB);
    let are_there = || dead.each_ref().map(|path| path.exists());
    assert_eq!((told(directory.path(), 0, "quiet"), are_there()), (String::new(), [true; 3]));
    set_len(&dead[1], GIB);
    assert_eq!((told(directory.path(), 0, "quiet"), are_there()), (String::new(), [false, false, true]), "the oldest");
    set_len(&dead[2], 2 * GIB);
    assert_eq!((told(directory.path(), 0, "quiet"), are_there()), (String::new(), [false, false, true]), "the newest");
    assert!(its.exists(), "who lives keeps its own");
}

#[test]
fn children_make_room_for_each_other() {
    let directory = Directory::new();
    let running = start("init-and-fork", directory.path(), &[]).ready();
    assert_eq!(directory.files().len(), 2, "that of the parent and of the last: {:?}", directory.files());
    running.kill();
}

/// Bytes that a program reads that does nothing else.
fn read_by_init(directory: &Path) -> u64 {
    let mut init = start("init", directory, &[&NO_LIMIT.to_string(), "loud", "alone"]);
    init.line();
    init.go_on();
    let read = init.line().parse().unwrap();
    assert!(init.end().0.success());
    read
}

#[test]
fn of_a_process_that_ended_in_order_or_lives_no_more_than_the_beginning_is_read() {
    let directory = Directory::new();
    let first = read_by_init(directory.path());
    let second = read_by_init(directory.path());
    let beginning = second - first;
    assert!(beginning > 0 && beginning < 64 << 10, "{first} bytes, then {second}");
    let lives = start("open", directory.path(), &[]).ready();
    let third = read_by_init(directory.path());
    assert!(third - first < 128 << 10, "{first} bytes, then {third}");
    lives.kill();
}

#[test]
fn a_program_does_not_wait_for_what_is_told_of_others() {
    let directory = Directory::new();
    let len = fs::metadata(killed(directory.path())).unwrap().len();
    // Nobody can be told anything until somebody takes out what fills the pipe.
    let (mut told, mut full) = std::io::pipe().unwrap();
    full.write_all(&vec![b' '; PIPE_LEN]).unwrap();
    let mut command = command("init", directory.path(), &[&NO_LIMIT.to_string(), "loud"]);
    command.env_remove("TRACER_QUIET").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(full);
    let mut child = command.spawn().unwrap();
    drop(command);
    let output = BufReader::new(child.stdout.take().unwrap());
    let (say, said) = mpsc::channel();
    thread::spawn(move || output.lines().try_for_each(|line| say.send(line.unwrap().parse::<u64>().unwrap())));
    let first = said.recv_timeout(Duration::from_secs(30)).expect("it goes on");

    let mut text = String::new();
    let mut told = BufReader::new(&mut told);
    while !text.contains("lists all") {
        assert!(told.read_line(&mut text).unwrap() > 0, "{text}");
    }
    assert_eq!(text.matches(") killed\n").count(), 1, "{text}");
    drop(child.stdin.take());
    let second = said.recv().unwrap();
    assert!(child.wait().unwrap().success());
    assert!(first < 1 << 20 && second > len, "{first} bytes, then {second} of {len}");
}

/// What is told is not lost because the program has less to do than it takes to read that.
#[test]
fn a_program_that_ends_at_once_tells_all_the_same() {
    let directory = Directory::new();
    killed(directory.path());
    killed(directory.path());
    let text = told(directory.path(), NO_LIMIT, "loud");
    assert_eq!(text.matches(") killed\n").count(), 2, "{text}");
}

/// What a pipe of Linux holds.
const PIPE_LEN: usize = 64 << 10;
