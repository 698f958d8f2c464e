//! What only root can do to a program. These tests are ignored unless asked for: `cargo xtask test root`, which says so
//! where they cannot run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tracer::{Record, Status, Tracer};
use tracer_blackbox::{BlackBox, Death};

use crate::child::{Directory, command, recover_file, recover_when_gone, start_command};
use crate::deaths::now;
use crate::kills::{acknowledged, lost};
use crate::places::runs_without_a_file;

/// A group of processes that may have so much memory together.
struct Group {
    path: PathBuf,
    processes: PathBuf,
}

impl Group {
    const LIMIT: u64 = 96 << 20;

    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let is_v1 = Path::new("/sys/fs/cgroup/memory").is_dir();
        let name = format!("tracer-crash-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(if is_v1 { "/sys/fs/cgroup/memory" } else { "/sys/fs/cgroup" }).join(name);
        fs::create_dir(&path).unwrap();
        let limit = if is_v1 { "memory.limit_in_bytes" } else { "memory.max" };
        fs::write(path.join(limit), Self::LIMIT.to_string()).unwrap();
        Self { processes: path.join("cgroup.procs"), path }
    }

    /// Runs in the group from its beginning.
    fn command(&self, scenario: &str, directory: &Path, arguments: &[&str]) -> Command {
        let mut shell = Command::new("sh");
        let joins = format!("echo $$ > {} && exec \"$0\" \"$@\"", self.processes.display());
        let program = command(scenario, directory, arguments);
        shell.arg("-c").arg(joins).arg(program.get_program()).args(program.get_args());
        shell
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _gone_or_not = fs::remove_dir(&self.path);
    }
}

/// It is killed within a few hundredths of a second, long before it looks at its memory a second time.
#[test]
#[ignore = "needs root"]
fn a_process_that_is_killed_for_want_of_memory_is_told_from_others() {
    let (group, directory) = (Group::new(), Directory::new());
    let (status, error) = start_command(group.command("memory", directory.path(), &[])).ready().end();
    assert_eq!(status.signal(), Some(9), "{error}");
    let [file] = &directory.files()[..] else { panic!("one file") };
    let recovered = recover_file(file).unwrap();
    assert!(matches!(recovered.death, Death::Memory { limit: Group::LIMIT, .. }), "{}", recovered.death);
    let acknowledged = acknowledged(directory.path());
    assert!(acknowledged[0] > 0);
    assert_eq!(lost(&recovered.records, &acknowledged), Ok(0), "{}", recovered.confidence);
    assert_eq!(recovered.open[0].node, "items");
    assert_eq!(recover_file(file).unwrap(), recovered, "once more");
}

/// The control: the same group, and nobody wanted memory.
#[test]
#[ignore = "needs root"]
fn control_a_process_that_is_killed_within_its_limit_is_killed() {
    let (group, directory) = (Group::new(), Directory::new());
    start_command(group.command("open", directory.path(), &[])).ready().kill();
    assert_eq!(recover_file(&directory.files()[0]).unwrap().death, Death::Killed);
}

/// As in containers that share a directory, of which one is started anew: numbers of processes say nothing there.
#[test]
#[ignore = "needs root"]
fn a_process_of_another_pid_namespace_lives_as_long_as_it_has_its_lock() {
    let directory = Directory::new();
    let unshared = |scenario: &str, arguments: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", "--kill-child", "--mount-proc"]).env_remove("TRACER_QUIET");
        let program = command(scenario, directory.path(), arguments);
        unshare.arg(program.get_program()).args(program.get_args());
        start_command(unshare)
    };
    // What one that starts in yet another namespace tells of others.
    let told = || unshared("init", &["0", "loud"]).end().1;
    let running = unshared("open", &[]).ready();
    let [file] = &directory.files()[..] else { panic!("one file") };
    assert_eq!(recover_file(file).unwrap().death, Death::StillRunning);
    assert_eq!(told(), "");
    assert!(file.exists(), "who lives keeps its own");
    running.kill_and_see_others_end();
    let recovered = recover_when_gone(file);
    assert_eq!((&recovered.death, &*recovered.open[0].node), (&Death::Killed, "outer"));
    let text = told();
    assert!(text.contains(") killed\n") && text.contains("inner was running"), "{text}");
    let running = unshared("open", &[]).ready();
    running.kill_and_see_others_end();
    let until = now() + Duration::from_secs(20);
    while file.exists() {
        assert!(now() < until, "told, there is no room, and another was killed since");
        told();
    }
}

/// A small disk of its own.
struct Mount(Directory);

impl Mount {
    fn new(options: &str) -> Self {
        let directory = Directory::new();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tracer-crash"]).arg(directory.path());
        let output = mount.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _gone_or_not = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
#[ignore = "needs root"]
fn a_full_disk_is_survived() {
    let disk = Mount::new("size=256k");
    runs_without_a_file(command("return", disk.path(), &[]));
    let left = fs::read_dir(disk.path().join("child")).unwrap().count();
    assert_eq!(left, 0, "what could not be made whole is gone");
}

#[test]
#[ignore = "needs root"]
fn a_disk_that_fills_later_is_no_matter() {
    let disk = Mount::new("size=16m");
    // The whole file is there from the beginning: 8 MiB of pages and what is around them.
    let black_box = BlackBox::options().app("app", "").open(disk.path()).unwrap();
    assert_eq!(black_box.degraded(), None);
    let filled = fs::write(disk.path().join("rest"), vec![1; 16 << 20]);
    assert!(filled.is_err());
    let tracer = Tracer::builder().recorder(black_box.clone()).build();
    // Every page is written to: without its place on the disk, this would be the end (SIGBUS).
    for _ in 0..2 * (8 << 20) / 64 / 3 {
        let ctx = tracer.create_env((), "test");
        drop(ctx.step("node", Status::Enter, ()).unwrap());
    }
    let recovered = recover_file(black_box.path().unwrap()).unwrap();
    assert!(recovered.records.len() > 40_000, "{}", recovered.confidence);
}

/// The control: a file that has its length and not its bytes.
#[test]
#[ignore = "needs root"]
fn control_a_file_without_its_bytes_is_the_end_where_the_disk_is_full() {
    let disk = Mount::new("size=256k");
    let (status, _) = start_command(command("sparse", disk.path(), &[])).end();
    assert_eq!(status.signal(), Some(libc::SIGBUS));
}

/// Nothing of a box is a program.
#[test]
#[ignore = "needs root"]
fn a_disk_from_which_nothing_may_be_executed_is_no_matter() {
    let disk = Mount::new("noexec,nosuid,nodev,size=128m");
    let copy = disk.path().join("program");
    fs::copy("/bin/true", &copy).unwrap();
    assert!(Command::new(copy).status().is_err(), "the control: it is such a disk");
    let (status, error) = start_command(command("return", disk.path(), &[])).end();
    assert_eq!((status.code(), &*error), (Some(0), ""));
    let [file] = &disk.0.files()[..] else { panic!("one file") };
    assert_eq!(recover_file(file).unwrap().death, Death::Clean { status: Some(0) });
}

#[test]
#[ignore = "needs root"]
fn a_directory_of_somebody_else_is_left_to_them() {
    let directory = Directory::new();
    let theirs = directory.path().join("child");
    fs::create_dir(&theirs).unwrap();
    std::os::unix::fs::chown(&theirs, Some(65534), Some(65534)).unwrap();
    runs_without_a_file(command("return", directory.path(), &[]));
    assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0);
    // The control: it is whose it is that counts.
    std::os::unix::fs::chown(&theirs, Some(0), Some(0)).unwrap();
    assert_eq!(start_command(command("return", directory.path(), &[])).end().1, "");
    assert_eq!(directory.files().len(), 1);
}

#[test]
#[ignore = "needs root"]
fn a_disk_that_cannot_be_written_is_survived() {
    let disk = Mount::new("ro,size=64m");
    runs_without_a_file(command("return", disk.path(), &[]));
}

/// A directory that another process stands before.
struct Fuse(Directory);

impl Fuse {
    fn new(of: &Path) -> Self {
        let directory = Directory::new();
        let output = Command::new("bindfs").arg(of).arg(directory.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self(directory)
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        let _gone_or_not = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
#[ignore = "needs root"]
fn bytes_that_another_process_has_are_refused_unless_asked_for() {
    let below = Directory::new();
    let fuse = Fuse::new(below.path());
    let options = || BlackBox::options().app("app", "").quiet(true);
    let why = options().open(fuse.0.path()).unwrap().degraded().unwrap();
    assert!(why.ends_with("FUSE may lose what is mapped (see Options::anywhere)"), "{why}");
    assert_eq!(fs::read_dir(below.path().join("app")).unwrap().count(), 0, "nothing is left");
    runs_without_a_file(command("return", fuse.0.path(), &[]));
    // The controls: asked for, and where the same bytes are.
    assert_eq!(options().anywhere(true).open(fuse.0.path()).unwrap().degraded(), None);
    assert_eq!(options().open(below.path()).unwrap().degraded(), None);
}

#[test]
#[ignore = "needs root"]
fn no_right_to_the_directory_is_survived() {
    let directory = Directory::new();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let mut as_nobody = Command::new("setpriv");
    as_nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    as_nobody.arg(env!("CARGO_BIN_EXE_crash-child")).arg("return").arg(directory.path());
    runs_without_a_file(as_nobody);
}

/// Clocks that count from another moment: what they show is not compared with what others show.
#[test]
#[ignore = "needs root"]
fn a_process_of_another_time_namespace_is_the_same_to_all() {
    const DAY: Duration = Duration::from_hours(24);
    let unshared = |ahead: i64, directory: &Path| {
        let mut unshare = Command::new("unshare");
        let ahead = ahead.to_string();
        unshare.args(["--time", "--fork", "--kill-child", "--monotonic", &ahead, "--boottime", &ahead]);
        let program = command("uptime", directory, &[]);
        unshare.arg(program.get_program()).args(program.get_args());
        start_command(unshare)
    };
    for ahead in [86_400, 3600] {
        let directory = Directory::new();
        let mut running = unshared(ahead, directory.path());
        let seconds = |uptime: &str| uptime.split('.').next().unwrap().parse::<i64>().unwrap();
        let (there, here) = (seconds(&running.line()), seconds(&fs::read_to_string("/proc/uptime").unwrap()));
        assert!(there - here > ahead - 60, "the control: {there} s and {here} s since boot");
        let running = running.ready();
        let [file] = &directory.files()[..] else { panic!("one file") };
        let read = recover_file(file).unwrap();
        assert_eq!(read.death, Death::StillRunning);
        let since = Duration::from_nanos(read.open[0].since_unix_ns);
        assert!(now().checked_sub(since).is_some_and(|age| age < DAY / 1000), "entered at {since:?}");
        let times: Vec<_> = read.records.iter().filter_map(Record::as_step).map(|step| step.ts).collect();
        let took = Duration::from_nanos(times[times.len() - 1] - times[0]);
        // It sleeps so long in between.
        assert!((Duration::from_millis(50)..DAY / 1000).contains(&took), "it took {took:?}");
        running.kill_and_see_others_end();
        assert_eq!(recover_when_gone(file).death, Death::Killed);
    }
}
