//! A black box as the recorder of a tracer, in one process.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use serde_json::json;
use tracer::recorder::Times;
use tracer::{Context, Record, Recorder, Status, Tracer, traced_node};
use tracer_blackbox::{
    BlackBox, Death, Gap, Heads, Observed, Options, recover_dir, recover_file, recover_watched, recover_with,
};

/// A directory that is gone when it is dropped.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let nth = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("tracer-blackbox-{}-{nth}", std::process::id())))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _gone_or_not = std::fs::remove_dir_all(&self.0);
    }
}

fn small() -> Options {
    BlackBox::options().app("app", "1").bytes(128 << 10).lines(4)
}

fn open(directory: &Directory, options: Options) -> (BlackBox, Tracer) {
    let black_box = options.open(&directory.0).unwrap();
    (black_box.clone(), Tracer::builder().recorder(black_box).build())
}

fn call(tracer: &Tracer, n: u64) -> tracer::TraceId {
    let ctx = tracer.create_env(n, "test").step("node", Status::Enter, json!({"n": n})).unwrap();
    let id = ctx.trace_id();
    drop(ctx.step("node", Status::Exit, ()).unwrap());
    id
}

/// Of each part of a recovery, so that a bar does not stand still.
#[test]
fn who_watches_a_recovery_is_told_of_all_bytes_little_by_little() {
    let directory = Directory::new();
    let (black_box, tracer) = open(&directory, small().bytes(1 << 20));
    (0..4000).for_each(|n| _ = call(&tracer, n));
    let bytes = std::fs::read(black_box.path().unwrap()).unwrap();
    // With all blocks, and after a restart, when they are not believed.
    let after_a_restart = Observed { boot_id: Some([7; 16]), ..Observed::default() };
    for observed in [Observed::default(), after_a_restart] {
        let told = Mutex::new(Vec::new());
        recover_watched(&bytes, &observed, &|more| told.lock().unwrap().push(more)).unwrap();
        let told = told.into_inner().unwrap();
        assert_eq!(told.iter().sum::<u64>(), bytes.len() as u64);
        let most = told.iter().max().unwrap();
        assert!(*most < bytes.len() as u64 / 20, "{most} of {} bytes at once", bytes.len());
    }
}

/// Pages that are not full have no checks until somebody asks, and without one nothing is believed after a restart.
/// Who follows a file reads it again only then.
#[test]
fn heads_differ_by_each_step_and_by_nothing_else() {
    let directory = Directory::new();
    let (black_box, tracer) = open(&directory, small());
    let file = std::fs::File::open(black_box.path().unwrap()).unwrap();
    let heads = || Heads::of(&file).unwrap();
    let mut ctx = tracer.create_env((), "test");
    let mut before = heads();
    // The box goes round.
    for nth in 0..20_000 {
        let status = if nth % 2 == 0 { Status::Enter } else { Status::Exit };
        ctx = ctx.step("node", status, ()).unwrap();
        assert!(before != heads(), "step {nth}");
        before = heads();
        assert!(before == heads());
    }
    std::fs::write(directory.0.join("other"), "no black box").unwrap();
    Heads::of(&std::fs::File::open(directory.0.join("other")).unwrap()).unwrap();
}

#[test]
fn what_was_brought_to_the_disk_is_believed_after_a_restart() {
    let directory = Directory::new();
    let (black_box, tracer) = open(&directory, small());
    (0..20).for_each(|n| _ = call(&tracer, n));
    let records = |observed: &Observed| {
        let bytes = std::fs::read(black_box.path().unwrap()).unwrap();
        recover_with(&bytes, observed).unwrap().records().collect::<Vec<_>>()
    };
    let after_a_restart = Observed { boot_id: Some([7; 16]), ..Observed::default() };
    assert_eq!(records(&after_a_restart), [], "the control");
    black_box.sync().unwrap();
    let all = records(&Observed::default());
    assert_eq!(all.len(), 60);
    assert_eq!(records(&after_a_restart), all);
}

#[test]
fn the_tracer_and_the_file_say_the_same() {
    let directory = Directory::new();
    let (black_box, tracer) = open(&directory, small());
    for n in 0..20 {
        call(&tracer, n);
    }
    let ctx = tracer.create_env((), "open").step("open", Status::Enter, json!([1, "a"])).unwrap();
    let recovered = recover_file(black_box.path().unwrap()).unwrap();
    let strip = |records: &[Record]| -> Vec<_> {
        let jsons = records.iter().map(|record| serde_json::to_value(record).unwrap());
        jsons.map(|mut json| json.as_object_mut().unwrap().remove("ts").map(|_| json)).collect()
    };
    let records: Vec<_> = recovered.records().collect();
    assert_eq!(strip(&records), strip(&tracer.all_traces()));
    let active: Vec<_> = recovered.active().collect();
    assert_eq!(active, [ctx.trace_id()]);
    assert_eq!(active, tracer.active_traces());
    assert_eq!((&*recovered.open[0].node, recovered.open.len()), ("open", 1));
    assert_eq!(recovered.death, Death::StillRunning);
    // One clock made of pairs, one of anchors: they agree as far as they are asked the same.
    for (file, process) in records.iter().zip(tracer.all_traces()) {
        assert!(file.ts().abs_diff(process.ts()) < 100_000_000, "{} and {}", file.ts(), process.ts());
    }
}

#[test]
fn what_is_cleared_is_forgotten_in_the_file_too() {
    let directory = Directory::new();
    let (black_box, tracer) = open(&directory, small());
    let before = tracer.create_env((), "before");
    let id = before.trace_id();
    tracer.clear();
    let error = before.step("node", Status::Enter, ()).unwrap_err();
    assert_eq!(error.code(), "UNKNOWN_TRACE");
    let after = call(&tracer, 1);
    let recovered = recover_file(black_box.path().unwrap()).unwrap();
    assert!(recovered.records().all(|record| record.trace_id() == after));
    assert_eq!(recovered.gaps, []);
    assert!(tracer.replay(id).is_empty());
}

#[test]
fn a_box_that_nobody_has_ended_in_order() {
    let directory = Directory::new();
    let (black_box, tracer) = open(&directory, small());
    let path = black_box.path().unwrap();
    call(&tracer, 1);
    drop(black_box);
    assert_eq!(recover_file(&path).unwrap().death, Death::StillRunning);
    drop(tracer);
    // The lane of this thread still has the tracer, until it is used for another.
    call(&Tracer::builder().build(), 1);
    assert_eq!(recover_file(&path).unwrap().death, Death::Clean { status: None });
}

#[test]
fn details_of_any_size_are_kept_or_cut_and_say_so() {
    let directory = Directory::new();
    let (black_box, tracer) = open(&directory, small().bytes(8 << 20));
    let mut ids = Vec::new();
    for len in (0..16_000).step_by(211) {
        let ctx = tracer.create_env("x".repeat(len), "test");
        ids.push((len, ctx.trace_id()));
    }
    let recovered = recover_file(black_box.path().unwrap()).unwrap();
    for (len, id) in ids {
        let record = recovered.records().find(|record| record.trace_id() == id);
        let record = record.unwrap_or_else(|| panic!("{len}: {:?}", recovered.gaps));
        let text = record.as_env().unwrap().payload.as_str().unwrap();
        if len < 11_000 {
            assert_eq!(text.len(), len);
        } else {
            assert!(text.len() > 11_000 && text.len() <= len, "{} of {len}", text.len());
        }
    }
    assert_eq!(recovered.gaps, []);
}

/// For a sanitizer of threads too: threads write, pages begin anew, and somebody reads all the while.
#[test]
fn threads_write_while_others_read() {
    let directory = Directory::new();
    let (black_box, tracer) = open(&directory, small());
    let path = black_box.path().unwrap();
    thread::scope(|scope| {
        for thread in 0..4 {
            let tracer = &tracer;
            scope.spawn(move || {
                (0..2000).for_each(|n| {
                    call(tracer, thread * 10_000 + n);
                });
            });
        }
        for _ in 0..20 {
            for records in [tracer.all_traces(), recover_file(&path).unwrap().records().collect()] {
                assert!(records.is_sorted_by_key(Record::seq));
                for step in records.iter().filter_map(Record::as_step) {
                    assert_eq!(step.node, "node");
                }
            }
            tracer.stats();
        }
    });
    let recovered = recover_file(&path).unwrap();
    assert_eq!((recovered.dropped, recovered.open), (0, vec![]));
    assert!(matches!(recovered.gaps[..], [Gap::WrittenOver { .. }, ..]), "{:?}", recovered.gaps);
}

#[test]
fn a_directory_is_read_with_progress_and_broken_files_are_told() {
    let directory = Directory::new();
    let (_, first) = open(&directory, small());
    let (_, second) = open(&directory, small());
    call(&first, 1);
    call(&second, 2);
    std::fs::write(directory.0.join("app/broken.tbx"), "no such thing").unwrap();
    let mut seen = Vec::new();
    let found = recover_dir(&directory.0, |progress| seen.push((progress.files, progress.files_total))).unwrap();
    let mut records: Vec<_> =
        found.map(|file| file.recovered.as_ref().map_or(0, |read| read.records().count())).collect();
    records.sort_unstable();
    assert_eq!(records, [0, 3, 3]);
    assert_eq!(seen, [(1, 3), (2, 3), (3, 3)]);
    assert!(recover_dir(directory.0.join("not there"), |_| ()).is_err());
}

#[traced_node]
fn around(_ctx: &Context, then: &dyn Fn()) {
    then();
}

#[traced_node]
fn leaf() {}

/// What goes on is there again, as what it records is.
#[test]
fn a_trace_that_was_cleared_is_there_when_it_goes_on() {
    let directory = Directory::new();
    let (black_box, tracer) = open(&directory, small());
    let ctx = tracer.create_env((), "test");
    let (trace, is_there) = (ctx.trace_id(), |trace| !black_box.records(Some(trace), &Times::default()).is_empty());
    around(&ctx, &|| {
        leaf();
        assert!(black_box.holds(trace) && is_there(trace));
        tracer.clear();
        assert!(!black_box.holds(trace) && !is_there(trace));
        (0..5_000).for_each(|_| leaf());
        assert!(black_box.holds(trace) && is_there(trace));
    });
    drop(ctx);
    (0..5_000).for_each(|n| _ = call(&tracer, n));
    assert!(!black_box.holds(trace) && !is_there(trace));
}

/// Whichever of its pages is looked at first.
#[test]
fn a_trace_that_was_over_before_it_was_looked_for_is_over() {
    let directory = Directory::new();
    let (black_box, tracer) = open(&directory, small());
    let ctx = tracer.create_env((), "test").step("node", Status::Enter, ()).unwrap();
    let trace = ctx.trace_id();
    let fork = ctx.fork();
    // Another page has the last env, and this one that all is over.
    thread::spawn(move || drop(fork.fork())).join().unwrap();
    drop(ctx);
    assert!(black_box.holds(trace));
    (0..5_000).for_each(|n| _ = call(&tracer, n));
    assert!(!black_box.holds(trace));
}
