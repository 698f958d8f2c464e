//! A program to be killed, and what it leaves.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tracer::{Record, TraceId};
use tracer_blackbox::{Confidence, Death, Gap, Observed, OpenNode, Process, ReadError, RecoverError};

use crate::deaths::now;

/// Traces whose records are read alone too, of each file.
const TRACES_COMPARED: usize = 5;

/// What a file says, with all its records.
#[derive(Debug, PartialEq)]
pub(crate) struct Recovered {
    pub(crate) process: Process,
    pub(crate) records: Vec<Record>,
    pub(crate) active: Vec<TraceId>,
    pub(crate) open: Vec<OpenNode>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) dropped: u64,
    pub(crate) death: Death,
    pub(crate) confidence: Confidence,
}

impl From<tracer_blackbox::Recovered<'_>> for Recovered {
    fn from(read: tracer_blackbox::Recovered<'_>) -> Self {
        let (records, active): (Vec<_>, _) = (read.records().collect(), read.active().collect());
        if read.confidence.is_damaged {
            assert!(records.len() as u64 <= read.confidence.records, "{}", read.confidence);
        } else {
            assert_eq!(records.len() as u64, read.confidence.records);
        }
        for trace in read.traces().iter().take(TRACES_COMPARED) {
            let of_it = |record: &&Record| record.trace_id() == trace.trace_id;
            let alone: Vec<_> = read.trace(trace.trace_id).collect();
            assert!(records.iter().filter(of_it).eq(&alone), "one trace is read as all are");
            let steps = alone.iter().filter(|record| record.as_step().is_some()).count() as u64;
            if !read.confidence.is_damaged {
                assert_eq!((alone.len() as u64, steps), (trace.records, trace.steps));
            }
        }
        let tracer_blackbox::Recovered { process, open, gaps, dropped, death, confidence, .. } = read;
        Self { process, records, active, open, gaps, dropped, death, confidence }
    }
}

pub(crate) fn recover(bytes: &[u8]) -> Result<Recovered, RecoverError> {
    tracer_blackbox::recover(bytes).map(Recovered::from)
}

pub(crate) fn recover_with(bytes: &[u8], observed: &Observed) -> Result<Recovered, RecoverError> {
    tracer_blackbox::recover_with(bytes, observed).map(Recovered::from)
}

pub(crate) fn recover_file(path: impl AsRef<Path>) -> Result<Recovered, ReadError> {
    tracer_blackbox::recover_file(path).map(Recovered::from)
}

/// Reads a file whose process is about to be gone: it closes what it has open a moment before that.
pub(crate) fn recover_when_gone(path: &Path) -> Recovered {
    let until = now() + Duration::from_secs(20);
    loop {
        let read = recover_file(path).unwrap();
        if read.death != Death::StillRunning || now() > until {
            return read;
        }
        std::thread::yield_now();
    }
}

/// A directory of its own, gone when it is dropped.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = std::iter::repeat_with(|| {
            let name = format!("tracer-crash-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
            std::env::temp_dir().join(name)
        });
        // One that was killed may have left it, whose number this process has now.
        Self(path.take(1000).find(|path| fs::create_dir(path).is_ok()).expect("a name that is free"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The black boxes in it.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let Ok(apps) = fs::read_dir(&self.0) else { return Vec::new() };
        let directories = apps.filter_map(|app| fs::read_dir(app.unwrap().path()).ok());
        let files = directories.flatten().map(|file| file.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|end| end == "tbx")).collect()
    }

    /// What the only file in it says.
    pub(crate) fn recovered(&self) -> Recovered {
        self.recovered_by(&Observed::here())
    }

    pub(crate) fn recovered_by(&self, observed: &Observed) -> Recovered {
        recover_with(&self.bytes(), observed).unwrap()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let files = self.files();
        assert_eq!(files.len(), 1, "{files:?}");
        fs::read(&files[0]).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _gone_or_not = fs::remove_dir_all(&self.0);
    }
}

pub(crate) struct Running {
    child: Child,
    output: BufReader<ChildStdout>,
}

/// Starts a program. It is not ready yet.
pub(crate) fn start(scenario: &str, directory: &Path, arguments: &[&str]) -> Running {
    start_command(command(scenario, directory, arguments))
}

pub(crate) fn command(scenario: &str, directory: &Path, arguments: &[&str]) -> Command {
    let mut command = child();
    command.arg(scenario).arg(directory).args(arguments);
    command
}

/// The program, or that of another processor: `cargo xtask crash aarch64` says where, and what it runs in.
fn child() -> Command {
    let Some(elsewhere) = std::env::var_os("TRACER_CHILD") else {
        return Command::new(env!("CARGO_BIN_EXE_crash-child"));
    };
    let runner = std::env::var("TRACER_CHILD_RUNNER").unwrap();
    let mut words = runner.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words).arg(elsewhere);
    command
}

/// A program of this package, built so that a panic ends the process.
pub(crate) fn aborting(scenario: &str, directory: &Path, arguments: &[&str]) -> Command {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        let options = ["build", "--quiet", "--profile", "aborting", "--bin", "crash-child", "--target-dir"];
        // Beside the test's own: `target/debug/crash-child`.
        let target = Path::new(env!("CARGO_BIN_EXE_crash-child")).ancestors().nth(2).unwrap();
        let status = cargo.args(options).arg(target).current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
        assert!(status.success());
        target.join("aborting/crash-child")
    });
    let mut command = Command::new(built);
    command.arg(scenario).arg(directory).args(arguments);
    command
}

pub(crate) fn start_command(mut command: Command) -> Running {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    Running { child, output }
}

impl Running {
    /// Waits until it says something, and gives that.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Waits until it is ready.
    pub(crate) fn ready(mut self) -> Self {
        let line = self.line();
        if line != "ready" {
            let output = self.child.wait_with_output().unwrap();
            panic!("not ready but `{line}`: {}", String::from_utf8_lossy(&output.stderr));
        }
        self
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills it, and waits until it is gone.
    pub(crate) fn kill(mut self) -> ExitStatus {
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }

    /// Kills it, lets those go on that it has started, and waits until none of them is left that could say anything.
    pub(crate) fn kill_and_see_others_end(self) {
        self.kill_and_see_others_end_after(|| ());
    }

    /// Likewise; they wait until `look` has been called.
    pub(crate) fn kill_and_see_others_end_after(mut self, look: impl FnOnce()) {
        // Waiting would close it before the process is gone, and let the others end in order.
        let input = self.child.stdin.take();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        look();
        drop(input);
        self.output.read_to_string(&mut String::new()).unwrap();
    }

    /// Kills it when it has written so to standard error; gives all that it wrote there.
    pub(crate) fn kill_when_told(mut self, until: &str) -> String {
        let mut error = BufReader::new(self.child.stderr.take().unwrap());
        let mut text = String::new();
        while !text.contains(until) {
            assert!(error.read_line(&mut text).unwrap() > 0, "not told: {text}");
        }
        self.child.kill().unwrap();
        error.read_to_string(&mut text).unwrap();
        self.child.wait().unwrap();
        text
    }

    /// Tells it to go on, by the end of its input.
    pub(crate) fn go_on(&mut self) {
        drop(self.child.stdin.take());
    }

    pub(crate) fn send(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Sends a signal that it survives, and waits until its handler has returned: until then it is pending or blocked.
    pub(crate) fn send_and_see_handled(&self, name: &str, number: i32) {
        self.send(name);
        let is_under_way = || {
            let status = fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
            let sets = status.lines().filter_map(|line| line.split_once(":\t"));
            let mut sets = sets.filter(|(set, _)| matches!(*set, "SigPnd" | "ShdPnd" | "SigBlk"));
            sets.any(|(_, set)| u64::from_str_radix(set, 16).unwrap() & (1 << (number - 1)) != 0)
        };
        while is_under_way() {
            std::thread::yield_now();
        }
    }

    /// Stops it, and waits until all its threads are.
    pub(crate) fn stop(&self) {
        self.send("STOP");
        let is_stopped = |thread: fs::DirEntry| {
            let stat = fs::read_to_string(thread.path().join("stat")).unwrap();
            stat.rsplit_once(')').unwrap().1.starts_with(" T")
        };
        let threads = || fs::read_dir(format!("/proc/{}/task", self.id())).unwrap();
        while !threads().all(|thread| is_stopped(thread.unwrap())) {
            std::thread::yield_now();
        }
    }

    /// Sends a signal, and waits until it is gone.
    pub(crate) fn signal(mut self, name: &str) -> ExitStatus {
        self.send(name);
        self.child.wait().unwrap()
    }

    /// Lets it end by itself; what it wrote to standard error, too.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        self.go_on();
        let output = self.child.wait_with_output().unwrap();
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
