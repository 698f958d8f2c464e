//! Where there can be no file, the program goes on, says so once, and records in memory.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use tracer::{Record, Status, Tracer};
use tracer_blackbox::{BlackBox, Death, OpenError};

use crate::child::{Directory, Running, command, recover_file, start, start_command};
use crate::kills::{acknowledged, wait_for_calls};

/// Opens a box there, records, and gives why there is no file.
fn degraded(directory: &Path) -> Option<String> {
    let before = BlackBox::degraded_total();
    let black_box = BlackBox::options().app("app", "").quiet(true).open(directory).unwrap();
    // Other tests of this process may have had none, either.
    assert!(BlackBox::degraded_total() >= before + u64::from(black_box.degraded().is_some()));
    let tracer = Tracer::builder().recorder(black_box.clone()).build();
    let ctx = tracer.create_env(7, "test").step("node", Status::Enter, ()).unwrap();
    assert_eq!(tracer.replay(ctx.trace_id()).len(), 2);
    assert_eq!(tracer.active_traces(), [ctx.trace_id()]);
    assert_eq!(tracer.stats().dropped, 0);
    black_box.degraded()
}

#[test]
fn a_directory_is_made_for_the_owner_alone() {
    let directory = Directory::new();
    let deep = directory.path().join("not/there");
    assert_eq!(degraded(&deep), None);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let files: Vec<_> = fs::read_dir(deep.join("app")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1);
    assert_eq!((mode(&deep), mode(&deep.join("app")), mode(&files[0])), (0o700, 0o700, 0o600));
    assert_eq!(recover_file(&files[0]).unwrap().records.len(), 2);
}

/// It lies beside a program's sources.
#[test]
fn the_directory_of_that_name_is_kept_out_of_git_if_it_is_made_here() {
    let directory = Directory::new();
    let [made, found, other] = [".tracer", "found/.tracer", "other"].map(|name| directory.path().join(name));
    fs::create_dir_all(&found).unwrap();
    let ignored = [&made, &found, &other].map(|place| {
        assert_eq!(degraded(place), None);
        fs::read_to_string(place.join(".gitignore")).ok()
    });
    assert_eq!(ignored, [Some("*\n".to_owned()), None, None]);
}

#[test]
fn a_link_is_not_followed() {
    let directory = Directory::new();
    let (elsewhere, here) = (directory.path().join("elsewhere"), directory.path().join("here"));
    fs::create_dir_all(&elsewhere).unwrap();
    fs::create_dir_all(&here).unwrap();
    symlink(&elsewhere, here.join("app")).unwrap();
    assert!(degraded(&here).unwrap().contains("a link, which is not followed"));
    symlink(&elsewhere, directory.path().join("link")).unwrap();
    for link in ["link", "link/", "link/."] {
        assert!(degraded(&directory.path().join(link)).unwrap().contains("a link, which is not followed"), "{link}");
    }
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn a_file_in_the_way_is_left_alone() {
    let directory = Directory::new();
    let file = directory.path().join("app");
    fs::write(&file, "mine").unwrap();
    assert!(degraded(directory.path()).is_some());
    assert!(degraded(&file).is_some());
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn sizes_out_of_range_are_said_to_be() {
    let error = BlackBox::options().bytes(1).open(Directory::new().path()).unwrap_err();
    assert!(matches!(error, OpenError::Option { option: "bytes", value: 1, .. }));
    assert_eq!(error.to_string(), "option bytes: expected 131072 to 1073741824, found 1");
}

/// A program under a limit of the shell's.
pub(crate) fn limited(limit: &str, scenario: &str, directory: &Directory, arguments: &[&str]) -> Command {
    let program = command(scenario, directory.path(), arguments);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit {limit} && exec \"$0\" \"$@\"")).arg(program.get_program());
    shell.args(program.get_args());
    shell
}

/// The program runs to its end, in order, and has said once that there is no file.
pub(crate) fn runs_without_a_file(mut command: Command) {
    command.env_remove("TRACER_QUIET");
    let (status, error) = start_command(command).end();
    assert!(status.success(), "{status}: {error}");
    assert_eq!(error.matches("no black box on disk").count(), 1, "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn no_more_descriptors_are_survived() {
    let directory = Directory::new();
    runs_without_a_file(limited("-n 32", "no-descriptors", &directory, &[]));
}

/// Not only refused: the system sends a signal to whoever makes a file longer than it may be.
#[test]
fn files_that_may_not_be_that_long_are_survived() {
    let directory = Directory::new();
    runs_without_a_file(limited("-f 64", "return", &directory, &[]));
    assert_eq!(directory.files(), [] as [PathBuf; 0], "what could not be made whole is gone");
    // The control: as long as it has to be.
    let (status, error) = start_command(limited("-f unlimited", "return", &directory, &[])).end();
    assert!(status.success(), "{status}");
    assert_eq!((&*error, directory.files().len()), ("", 1));
}

/// Whatever the system says no to, and for whatever reason.
#[test]
fn a_file_that_the_system_refuses_is_survived() {
    for (call, errors) in [
        ("mkdir", [libc::EACCES, libc::EROFS, libc::EDQUOT]),
        ("openat", [libc::EACCES, libc::EROFS, libc::ENFILE]),
        ("fstatfs", [libc::ENOSYS, libc::EIO, libc::EACCES]),
        ("fallocate", [libc::ENOSPC, libc::EDQUOT, libc::EIO]),
        ("pwrite", [libc::ENOSPC, libc::EDQUOT, libc::EIO]),
        ("mmap", [libc::ENODEV, libc::ENOMEM, libc::EPERM]),
    ] {
        for error in errors {
            let directory = Directory::new();
            runs_without_a_file(command("refused", directory.path(), &[call, &error.to_string()]));
            assert_eq!(directory.files(), [] as [PathBuf; 0], "{call} {error}");
        }
    }
    // The control: nothing is refused.
    let directory = Directory::new();
    let (status, error) = start_command(command("refused", directory.path(), &["nothing", "0"])).end();
    assert!(status.success(), "{status}");
    assert_eq!((&*error, directory.files().len()), ("", 1));
}

/// Where it gives bytes only to what is written.
#[test]
fn a_file_system_that_gives_no_bytes_beforehand_is_written_to() {
    let directory = Directory::new();
    let program = command("refused", directory.path(), &["fallocate", &libc::EOPNOTSUPP.to_string()]);
    let (status, error) = start_command(program).end();
    assert!(status.success(), "{status}");
    assert_eq!((&*error, directory.recovered().gaps), ("", vec![]));
    let file = fs::metadata(&directory.files()[0]).unwrap();
    assert!(file.blocks() * 512 >= file.len(), "{} of {} bytes are there", file.blocks() * 512, file.len());
}

#[test]
fn a_file_that_is_deleted_while_it_is_written_is_no_matter() {
    let directory = Directory::new();
    let black_box = BlackBox::options().app("app", "").open(directory.path()).unwrap();
    fs::remove_file(black_box.path().unwrap()).unwrap();
    let tracer = Tracer::builder().recorder(black_box).build();
    let ctx = tracer.create_env((), "test").step("node", Status::Enter, ()).unwrap();
    assert_eq!(tracer.replay(ctx.trace_id()).len(), 2);
}

#[test]
fn steps_of_what_was_truncated_and_made_long_again_are_not_refused() {
    let directory = Directory::new();
    let black_box = BlackBox::options().app("app", "").open(directory.path()).unwrap();
    let file = fs::OpenOptions::new().write(true).open(black_box.path().unwrap()).unwrap();
    let tracer = Tracer::builder().recorder(black_box.clone()).build();
    let ctx = tracer.create_env((), "test");
    let len = file.metadata().unwrap().len();
    file.set_len(0).unwrap();
    file.set_len(len).unwrap();
    drop(ctx.step("node", Status::Enter, ()).unwrap());
    assert!(black_box.degraded().unwrap().ends_with(".tbx was truncated"));
}

/// Lets a program go on whose file was cut to so many bytes while it was open.
fn truncated(options: &str, len: u64) -> (ExitStatus, String, Directory) {
    let directory = Directory::new();
    let mut running = start("truncated", directory.path(), &[options]).ready();
    fs::OpenOptions::new().write(true).open(&directory.files()[0]).unwrap().set_len(len).unwrap();
    running.go_on();
    let said = running.line();
    let (status, error) = running.end();
    assert_eq!(error, "");
    (status, said, directory)
}

#[test]
fn a_file_that_is_truncated_while_it_is_written_is_survived() {
    for len in [0, 100_000, 4 << 20] {
        let (status, said, directory) = truncated("guarded", len);
        assert!(status.success(), "{status}, {len} bytes");
        assert!(said.ends_with(".tbx was truncated"), "{said}");
        assert_eq!(fs::metadata(&directory.files()[0]).unwrap().len(), len, "nobody made it longer again");
        let read = recover_file(&directory.files()[0]);
        // What is left says what it is, or that it is nothing.
        assert_eq!(read.is_ok(), len > 0, "{read:?}");
    }
}

/// The control, and what is documented: without a handler, the system ends the program.
#[test]
fn control_a_file_that_is_truncated_is_the_end_without_a_handler() {
    let (status, ..) = truncated("unguarded", 0);
    assert_eq!(status.signal(), Some(libc::SIGBUS));
}

/// Threads that are in the midst of writing do not notice.
#[test]
fn a_file_that_is_truncated_under_many_threads_is_survived() {
    let directory = Directory::new();
    let running = start("count", directory.path(), &["8", "sync"]).ready();
    wait_for_calls(directory.path(), 1, 1000);
    fs::OpenOptions::new().write(true).open(&directory.files()[0]).unwrap().set_len(0).unwrap();
    let most = acknowledged(directory.path()).into_iter().max().unwrap();
    wait_for_calls(directory.path(), 8, most + 5000);
    assert_eq!(running.kill().signal(), Some(libc::SIGKILL));
}

/// What a thread has read and what it reads next may have nothing to do with each other: in between, somebody truncates
/// the file, or another thread gets memory where both have found none.
#[test]
fn what_was_written_may_be_gone_at_any_moment() {
    for (lines, seed) in [("1", "1"), ("64", "2"), ("512", "3")] {
        let directory = Directory::new();
        let (status, error) = start("cleared", directory.path(), &[lines, seed, "300"]).end();
        assert!(status.success() && error.is_empty(), "{status}, {lines} lines: {error}");
    }
}

/// To a reader, a link, a directory and a pipe are no files, whatever they lead to or would give; nor is it waited for.
#[test]
fn what_is_no_file_is_not_read() {
    let directory = Directory::new();
    start("open", directory.path(), &[]).ready().kill();
    let [file] = &directory.files()[..] else { panic!("one file") };
    let at = |name: &str| directory.path().join(name);
    symlink(file, at("link")).unwrap();
    fs::write(at("empty"), "").unwrap();
    assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
    let why = |name: &str| recover_file(at(name)).unwrap_err().to_string();
    for name in ["link", "pipe", "", "nowhere"] {
        assert_eq!(why(name), "cannot read the file", "{name}");
    }
    assert_eq!(why("empty"), "the file is empty");
    assert_eq!(recover_file(file).unwrap().records.len(), 5, "the control");
}

#[test]
fn fifty_processes_at_once_have_a_file_each() {
    let directory = Directory::new();
    let all: Vec<_> = (0..50).map(|_| start("wrap", directory.path(), &["10"])).collect();
    let all: Vec<_> = all.into_iter().map(Running::ready).collect();
    let pids: BTreeSet<u32> = all.iter().map(Running::id).collect();
    for running in all {
        running.kill();
    }
    let files = directory.files();
    assert_eq!(files.len(), 50);
    let recovered: Vec<_> = files.iter().map(|file| recover_file(file).unwrap()).collect();
    assert_eq!(recovered.iter().map(|recovered| recovered.process.pid).collect::<BTreeSet<_>>(), pids);
    for recovered in recovered {
        assert_eq!((recovered.death, recovered.gaps), (Death::Killed, vec![]));
        let open: Vec<_> = recovered.open.iter().map(|node| &*node.node).collect();
        let items = recovered.records.iter().filter_map(Record::as_step).filter(|step| step.node == "item");
        assert_eq!((open, items.count()), (vec!["long", "middle"], 20), "{}", recovered.confidence);
    }
}
