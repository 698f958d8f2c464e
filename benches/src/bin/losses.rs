//! What is lost when the process is killed: calls that had returned, and are not in what was recorded.
//!
//! `losses --out DIRECTORY`. Each recorder works in a child, which writes down how many calls have returned after each of
//! them, and is killed with `SIGKILL` at a random moment.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dial9_core::buffer::DiskBuffer;
use dial9_core::handle::Dial9Handle;
use dial9_trace_format::TraceEvent;
use dial9_trace_format::decoder::Decoder;
use tracer_benches::table::{Column, Row, Table};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::layer::SubscriberExt;

/// How often each recorder is killed.
const KILLS: u64 = 20;
/// When, in milliseconds from its first call.
const KILLED_AFTER_MS: (u64, u64) = (300, 1500);
/// Calls in a root. Recorders that keep the spans of an open root to themselves lose no more than that by it.
const IN_ROOT: u64 = 10;
/// Between two roots: 10,000 calls a second, which every recorder keeps up with.
const PAUSE: Duration = Duration::from_millis(1);

const RECORDERS: [&str; 6] = [
    "tracer, black box",
    "tracer, JSON lines",
    "tracing-appender, non-blocking",
    "fastrace, a reporter that writes a file",
    "tracing + OpenTelemetry batch, an exporter that writes a file",
    "dial9 (of dial9-tokio-telemetry), events into its files",
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["child", recorder, directory] => child(recorder.parse().expect("a number"), Path::new(directory)),
        ["--out", out] => return tracer_benches::exit(run(Path::new(out))),
        _ => {}
    }
    eprintln!("usage: losses --out DIRECTORY");
    ExitCode::FAILURE
}

fn run(out: &Path) -> Result<(), String> {
    let mut rows = Vec::new();
    for (nth, name) in RECORDERS.iter().enumerate() {
        eprintln!("   {name}");
        let (mut returned, mut lost, mut worst) = (0, 0, 0.0_f64);
        for kill in 0..KILLS {
            let after = KILLED_AFTER_MS.0 + (KILLED_AFTER_MS.1 - KILLED_AFTER_MS.0) * kill / (KILLS - 1);
            let (calls, recorded) =
                killed(nth, Duration::from_millis(after)).map_err(|error| format!("{name}: {error}"))?;
            let missing = calls.saturating_sub(recorded);
            (returned, lost) = (returned + calls, lost + missing);
            worst = worst.max(missing as f64 / calls as f64 * 100.0);
        }
        rows.push(Row {
            group: String::new(),
            name: (*name).to_owned(),
            figures: vec![
                Some(returned as f64),
                Some(lost as f64),
                Some(lost as f64 / returned as f64 * 100.0),
                Some(worst),
            ],
        });
    }
    let column = |heading, digits| Column { heading, digits };
    let (from, to) = KILLED_AFTER_MS;
    Table {
        title: "Calls that had returned when the process was killed".to_owned(),
        columns: vec![column("returned", 0), column("lost", 0), column("% lost", 2), column("% at worst", 2)],
        rows,
        notes: vec![
            format!("{KILLS} processes each, killed with SIGKILL {from} to {to} ms after their first call."),
            format!(
                "Roots of {IN_ROOT} calls, 10,000 calls a second; all recorders as they come, no interval changed."
            ),
            "dial9 writes some 1 MiB at a time: a process that lives longer loses a smaller share.".to_owned(),
        ],
    }
    .publish(out, "losses")
}

/// Kills a child; gives how many calls had returned, and how many are recorded.
fn killed(recorder: usize, after: Duration) -> Result<(u64, u64), String> {
    let directory = std::env::temp_dir().join(format!("tracer-losses-{}", std::process::id()));
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Ended(
        Command::new(own)
            .arg("child")
            .arg(recorder.to_string())
            .arg(&directory)
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| error.to_string())?,
    );
    while returned_in(&directory).is_none() {
        if let Some(status) = child.0.try_wait().map_err(|error| error.to_string())? {
            return Err(format!("it ended with {status}"));
        }
        std::thread::sleep(PAUSE);
    }
    std::thread::sleep(after);
    child.0.kill().map_err(|error| error.to_string())?;
    child.0.wait().map_err(|error| error.to_string())?;
    let returned = returned_in(&directory).ok_or("what had been counted is gone")?;
    let recorded = recorded(recorder, &directory);
    fs::remove_dir_all(&directory).map_err(|error| error.to_string())?;
    Ok((returned, recorded?))
}

/// How many calls have returned so far.
fn returned_in(directory: &Path) -> Option<u64> {
    fs::read(directory.join(RETURNED)).ok()?.try_into().ok().map(u64::from_le_bytes)
}

/// A child that does not outlive this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It has ended already, unless something failed.
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

const RETURNED: &str = "returned";
const RECORDS: &str = "records";

/// How many ended calls of `leaf` are in what is left.
fn recorded(recorder: usize, directory: &Path) -> Result<u64, String> {
    if recorder == 0 {
        let files = tracer_blackbox::files_in(&directory.join(RECORDS)).map_err(|error| error.to_string())?;
        let [file] = &files[..] else { return Err(format!("one file was expected, found {files:?}")) };
        let bytes = fs::read(file).map_err(|error| error.to_string())?;
        let recovered = tracer_blackbox::recover(bytes).map_err(|error| error.to_string())?;
        let is_end = |step: &tracer::StepRecord| step.node == "leaf" && step.status == tracer::Status::Exit;
        let ends = recovered.records().filter(|record| record.as_step().is_some_and(is_end));
        return Ok(ends.count() as u64);
    }
    if recorder == 5 {
        return in_dial9(&directory.join(RECORDS));
    }
    // Not even a file: nothing was written.
    let text = fs::read_to_string(directory.join(RECORDS)).unwrap_or_default();
    let ended = |line: &&str| match recorder {
        1 => line.contains("\"leaf\"") && line.contains("\"exit\""),
        2 => line.contains("leaf") && line.contains("close"),
        _ => *line == "leaf",
    };
    Ok(text.lines().filter(ended).count() as u64)
}

/// Whatever its files are called, sealed or not.
fn in_dial9(directory: &Path) -> Result<u64, String> {
    let mut ends = 0;
    for file in fs::read_dir(directory).map_err(|error| error.to_string())? {
        let bytes = file.and_then(|file| fs::read(file.path())).map_err(|error| error.to_string())?;
        let Some(mut decoder) = Decoder::new(&bytes) else { continue };
        // The last may have been cut off: what was read before counts.
        let _cut = decoder.for_each_event(|event| ends += u64::from(event.name == "LeafEnded"));
    }
    Ok(ends)
}

fn child(recorder: usize, directory: &Path) {
    let records = directory.join(RECORDS);
    // Alive as long as the process: some of them stop when they are dropped.
    let _kept = install(recorder, &records);
    let returned =
        OpenOptions::new().write(true).create(true).truncate(true).open(directory.join(RETURNED)).expect("a file");
    let mut count: u64 = 0;
    let mut call = |leaf: fn()| {
        leaf();
        count += 1;
        returned.write_all_at(&count.to_le_bytes(), 0).expect("a file");
    };
    loop {
        match recorder {
            0 | 1 => with_tracer(&mut call),
            3 => with_fastrace(&mut call),
            5 => with_dial9(&mut call),
            _ => with_tracing(&mut call),
        }
        std::thread::sleep(PAUSE);
    }
}

fn install(recorder: usize, records: &PathBuf) -> Box<dyn std::any::Any> {
    match recorder {
        0 => {
            let recorder = tracer_blackbox::BlackBox::open(records).expect("a black box");
            Box::new(tracer::Tracer::builder().recorder(recorder).install())
        }
        1 => {
            let recorder = tracer::JsonLines::to_file(records).expect("a file");
            Box::new(tracer::Tracer::builder().recorder(recorder).install())
        }
        2 => {
            let (writer, guard) = tracing_appender::non_blocking(File::create(records).expect("a file"));
            let subscriber =
                tracing_subscriber::fmt().with_ansi(false).with_span_events(FmtSpan::CLOSE).with_writer(writer);
            tracing::subscriber::set_global_default(subscriber.finish()).expect("the first");
            Box::new(guard)
        }
        3 => {
            fastrace::set_reporter(Leaves::into(records), fastrace::collector::Config::default());
            Box::new(())
        }
        5 => {
            let writer =
                DiskBuffer::builder().base_path(records).max_total_size(64 << 20).build().expect("a directory");
            let recorder = dial9_core::recorder::recorder(writer).build();
            recorder.install_global_handle().expect("the first");
            Box::new(recorder)
        }
        _ => {
            use opentelemetry::trace::TracerProvider;
            let exporter = Leaves::into(records);
            let provider = opentelemetry_sdk::trace::SdkTracerProvider::builder().with_batch_exporter(exporter).build();
            let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("losses"));
            tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).expect("the first");
            Box::new(provider)
        }
    }
}

/// Writes a line for each span called `leaf`, at once: what it is given is safe.
#[derive(Debug, Clone)]
struct Leaves(Arc<Mutex<File>>);

impl Leaves {
    fn into(path: &Path) -> Self {
        Self(Arc::new(Mutex::new(File::create(path).expect("a file"))))
    }

    fn write<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let lines: String = names.filter(|name| *name == "leaf").map(|name| format!("{name}\n")).collect();
        self.0.lock().expect("no writer panics").write_all(lines.as_bytes()).expect("a file");
    }
}

impl fastrace::collector::Reporter for Leaves {
    fn report(&mut self, spans: Vec<fastrace::collector::SpanRecord>) {
        self.write(spans.iter().map(|span| &*span.name));
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Leaves {
    async fn export(&self, spans: Vec<opentelemetry_sdk::trace::SpanData>) -> opentelemetry_sdk::error::OTelSdkResult {
        self.write(spans.iter().map(|span| &*span.name));
        Ok(())
    }
}

#[tracer::traced_node]
fn with_tracer(call: &mut dyn FnMut(fn())) {
    #[tracer::traced_node]
    fn leaf() {}
    (0..IN_ROOT).for_each(|_| call(leaf));
}

fn with_fastrace(call: &mut dyn FnMut(fn())) {
    #[fastrace::trace(short_name = true)]
    fn leaf() {}
    let root = fastrace::Span::root("root", fastrace::collector::SpanContext::random());
    let _here = root.set_local_parent();
    (0..IN_ROOT).for_each(|_| call(leaf));
}

#[derive(TraceEvent)]
struct LeafEnded {
    #[traceevent(timestamp)]
    timestamp_ns: u64,
}

/// It records events, not calls: one when a call ends.
fn with_dial9(call: &mut dyn FnMut(fn())) {
    fn leaf() {
        let timestamp_ns = dial9_core::clock::clock_monotonic_ns();
        Dial9Handle::current().record_event(LeafEnded { timestamp_ns });
    }
    (0..IN_ROOT).for_each(|_| call(leaf));
}

#[tracing::instrument(skip_all)]
fn with_tracing(call: &mut dyn FnMut(fn())) {
    #[tracing::instrument]
    fn leaf() {}
    (0..IN_ROOT).for_each(|_| call(leaf));
}
