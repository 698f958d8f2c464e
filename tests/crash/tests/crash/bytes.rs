//! Damaged files: whatever is in them, what is read was written so, and the reader never fails in another way than by
//! saying what it found.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use tracer::recorder::page::PAGE_BYTES;
use tracer::{Record, Status, Tracer};
use tracer_blackbox::{BlackBox, Gap, Observed, RecoverError, read_file};

use crate::child::{Directory, Recovered, recover, recover_with, start};
use crate::kills::wait_for_calls;

/// A box with few pages, and everything that was ever recorded in it.
struct Sample {
    _directory: Directory,
    black_box: BlackBox,
    tracer: Tracer,
    truth: HashMap<u64, Record>,
    n: u64,
}

impl Sample {
    fn new() -> Self {
        let directory = Directory::new();
        let options = BlackBox::options().app("sample", "1").bytes(256 << 10).lines(8).dictionary_bytes(4096);
        let black_box = options.open(directory.path()).unwrap();
        let tracer = Tracer::builder().recorder(black_box.clone()).build();
        Self { _directory: directory, black_box, tracer, truth: HashMap::new(), n: 0 }
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.black_box.path().unwrap()).unwrap()
    }

    fn segment(&self) -> u64 {
        recover(&self.bytes()).unwrap().process.segment
    }

    /// Records so many traces of five records.
    fn record(&mut self, traces: u64) -> Vec<u8> {
        for _ in 0..traces {
            self.n += 1;
            let n = self.n;
            let text = "x".repeat(usize::try_from(n % 100).unwrap());
            let ctx = self.tracer.create_env(json!({"n": n, "text": text}), "sample");
            let ctx = ctx.step("outer", Status::Enter, n).unwrap();
            let ctx = ctx.step("inner", Status::Enter, ()).unwrap();
            let ctx = ctx.step("inner", Status::Exit, &text).unwrap();
            drop(ctx.step("outer", Status::Exit, ()).unwrap());
        }
        let bytes = self.bytes();
        for record in recover(&bytes).unwrap().records {
            // An env whose record was written over since is said once more without its payload.
            self.truth.entry(record.seq()).or_insert(record);
        }
        bytes
    }

    /// Nothing in `read` differs from what was recorded, but for what is missing.
    fn is_true(&self, read: &Recovered, what: &str) {
        assert_eq!(wrong(&self.truth, read), None, "{what}");
    }
}

/// What is read and was not recorded so.
fn wrong(truth: &HashMap<u64, Record>, read: &Recovered) -> Option<String> {
    let mut before = 0;
    for record in &read.records {
        if record.seq() <= before {
            return Some(format!("{} after {before}", record.seq()));
        }
        before = record.seq();
        let Some(truth) = truth.get(&record.seq()) else { return Some(format!("nobody recorded {record:?}")) };
        if let Some(difference) = difference(record, truth) {
            return Some(difference);
        }
    }
    let is_enter = |record: &&Record| record.as_step().is_some_and(|step| step.status == Status::Enter);
    let entered: HashSet<_> = truth.values().filter(is_enter).map(Record::trace_id).collect();
    let nobodys = read.open.iter().find(|open| !entered.contains(&open.trace_id));
    nobodys.map(|open| format!("nobody entered {open:?}"))
}

/// Where a record is not the same: a value or a name may be missing; and its time, where the clock pairs are gone.
fn difference(read: &Record, truth: &Record) -> Option<String> {
    let strip = |record: &Record| {
        let mut json = serde_json::to_value(record).unwrap();
        let object = json.as_object_mut().unwrap();
        for name in ["ts", "truncated"] {
            object.remove(name);
        }
        json
    };
    let (read, truth) = (strip(read), strip(truth));
    for (name, value) in read.as_object().unwrap() {
        let missing = match &**name {
            "node" => *value == json!("?"),
            "source" => *value == json!(""),
            "payload" | "meta" | "values" => value.is_null(),
            _ => false,
        };
        let expected = truth.get(name).unwrap_or(&Value::Null);
        if !missing && value != expected {
            return Some(format!("{name} of {truth} is {value}"));
        }
    }
    None
}

const IMAGES: usize = if cfg!(debug_assertions) { 200 } else { 2000 };

/// After a loss of power, any sector may be as it was before, zero, or garbage; also of another file, or another place.
#[test]
fn images_of_a_power_loss_hold_nothing_wrong() {
    let mut sample = Sample::new();
    let mut other = Sample::new();
    let images: Vec<Vec<u8>> = (0..12).map(|_| sample.record(40)).collect();
    let foreign = (0..12).map(|_| other.record(40)).last().unwrap();
    let (mut found, mut told, mut seen_by_a_naive_reader) = (0, 0, 0);
    let other_segment = other.segment();
    for nth in 0..IMAGES {
        let image = damaged(&images, &foreign, nth);
        match recover_with(&image, &after_a_restart()) {
            Ok(read) => {
                // With the beginning of another file, it is that one.
                let whose = if read.process.segment == other_segment { &other } else { &sample };
                whose.is_true(&read, &format!("image {nth}"));
                found += read.records.len();
                told += usize::from(read.confidence.is_damaged);
                seen_by_a_naive_reader += entries_unchecked(&image).saturating_sub(read.records.len());
            }
            Err(RecoverError::Damaged | RecoverError::NotABlackBox) => {}
            Err(error) => panic!("image {nth}: {error}"),
        }
    }
    assert!(found > IMAGES * 100, "{found} records in {IMAGES} images");
    assert!(told > IMAGES / 2, "{told} of {IMAGES} are said to be damaged");
    // The control: without the checks, all this would have been read.
    assert!(seen_by_a_naive_reader > IMAGES * 10, "{seen_by_a_naive_reader}");
}

/// The last of these images of a file, in which some sectors are zero, garbage, or of another time, place or file.
fn damaged(images: &[Vec<u8>], foreign: &[u8], nth: usize) -> Vec<u8> {
    let mut image = images[images.len() - 1].clone();
    let unit = if nth.is_multiple_of(2) { 512 } else { 4096 };
    let sectors = image.len() / unit;
    for _ in 0..fastrand::usize(1..sectors / 4) {
        let at = fastrand::usize(0..sectors) * unit;
        let elsewhere = fastrand::usize(0..sectors) * unit;
        let from = match fastrand::u8(0..5) {
            0 => vec![0; unit],
            1 => (0..unit).map(|_| fastrand::u8(..)).collect(),
            2 => images[fastrand::usize(..images.len())][at..at + unit].to_vec(),
            3 => foreign[at..at + unit].to_vec(),
            _ => images[fastrand::usize(..images.len())][elsewhere..elsewhere + unit].to_vec(),
        };
        image[at..at + unit].copy_from_slice(&from);
    }
    image
}

/// Likewise of what functions leave: most of their steps are events, which mean something only by those before them.
#[test]
fn images_of_a_power_loss_in_the_midst_of_calls_hold_nothing_wrong() {
    let directory = Directory::new();
    let running = start("count-small", directory.path(), &["2", "sync"]).ready();
    let (mut images, mut truth) = (Vec::new(), HashMap::<u64, Record>::new());
    for nth in 1..=12 {
        wait_for_calls(directory.path(), 1, nth * 3000);
        running.stop();
        let image = directory.bytes();
        for record in recover(&image).unwrap().records {
            if let Some(before) = truth.insert(record.seq(), record.clone()) {
                assert_eq!(difference(&record, &before), None);
            }
        }
        images.push(image);
        running.send("CONT");
    }
    running.kill();
    let other = Directory::new();
    let running = start("count-small", other.path(), &["2", "sync"]).ready();
    wait_for_calls(other.path(), 1, 10_000);
    running.kill();
    let foreign = other.bytes();
    let other_segment = recover(&foreign).unwrap().process.segment;

    let (mut found, mut wrong_to_others) = (0, 0);
    for nth in 0..IMAGES {
        let image = damaged(&images, &foreign, nth);
        let Ok(read) = recover_with(&image, &after_a_restart()) else { continue };
        if read.process.segment == other_segment {
            continue;
        }
        assert_eq!(wrong(&truth, &read), None, "image {nth}");
        found += read.records.len();
        // The control: who takes what has no check for whole reads what never was.
        let believed = tracer_blackbox::recover(&image).unwrap();
        let records: Vec<_> = believed.records().collect();
        let is_wrong =
            |record: &Record| truth.get(&record.seq()).is_none_or(|truth| difference(record, truth).is_some());
        wrong_to_others += usize::from(records.iter().any(is_wrong));
    }
    eprintln!("{found} records in {IMAGES} images, {wrong_to_others} of which are wrong to who believes them");
    assert!(found > IMAGES * 100, "{found} records in {IMAGES} images");
    assert!(wrong_to_others > IMAGES / 20, "{wrong_to_others} of {IMAGES}");
}

/// Another boot than that of the file: nothing without a check is to be believed.
fn after_a_restart() -> Observed {
    Observed { boot_id: Some([7; 16]), ..Observed::default() }
}

/// The beginning of values that lies beside an open frame has no check: after a loss of power it may be of another.
#[test]
fn values_beside_open_frames_are_not_believed_after_a_power_loss() {
    let directory = Directory::new();
    start("wrap-values", directory.path(), &["20000"]).ready().kill();
    let bytes = directory.bytes();
    let open = |observed: &Observed| {
        let read = recover_with(&bytes, observed).unwrap();
        // Where pages are not sealed, the end of a short call may be missing.
        let long = read.open.into_iter().filter(|node| node.node != "item");
        long.map(|node| (node.node, node.arguments)).collect::<Vec<_>>()
    };
    let expected = |values: [Value; 3]| {
        let nodes = ["ordered", "told", "long"].map(str::to_owned).into_iter().zip(values);
        nodes.chain([("middle".to_owned(), Value::Null)]).collect::<Vec<_>>()
    };
    let values = [json!({"order": 17}), json!({"text": "more than ha"}), json!({"calls": 20000})];
    assert_eq!(open(&Observed::default()), expected(values), "the control");
    assert_eq!(open(&after_a_restart()), expected([Value::Null, Value::Null, Value::Null]));
}

/// Slots that look like steps, envs or notes, whatever their check.
fn entries_unchecked(image: &[u8]) -> usize {
    let pages = &image[image.len() - (256 << 10)..];
    let word = |slot: &[u8], word: usize| u64::from_le_bytes(slot[word * 8..word * 8 + 8].try_into().unwrap());
    // In each page a head, 240 slots and their checks.
    let slots = pages.chunks_exact(64).enumerate().filter(|(at, _)| (1..=240).contains(&(at % 256)));
    slots.filter(|(_, slot)| matches!(word(slot, 0) & 15, 1..=3) && word(slot, 2) != 0).count()
}

/// Whoever is killed while a page begins anew leaves it with an empty head and what is left of its life before.
#[test]
fn a_page_that_was_about_to_begin_anew_is_written_over_and_no_damage() {
    let mut sample = Sample::new();
    let mut bytes = (0..12).map(|_| sample.record(40)).last().unwrap();
    let pages = bytes.len() - (256 << 10);
    let over = |read: &Recovered| {
        let over = read.gaps.iter().find_map(|gap| match gap {
            Gap::WrittenOver { pages } => Some(*pages),
            _ => None,
        });
        (over.unwrap_or(0), read.confidence.is_damaged)
    };
    let (before, _) = over(&recover(&bytes).unwrap());
    // As `Page::open` does it: the birth, the count, then the slots.
    for zeroes in [16, 16 + 4096, PAGE_BYTES - 1024] {
        bytes[pages..pages + 16].fill(0);
        bytes[pages + 64..pages + 64 + zeroes - 16].fill(0);
        let read = recover(&bytes).unwrap();
        sample.is_true(&read, &format!("{zeroes} zeroes"));
        assert_eq!(over(&read), (before + 1, false), "{zeroes} zeroes: {:?}", read.gaps);
    }
    // The control: two at a time are not possible, nor is one after a loss of power.
    assert!(recover_with(&bytes, &after_a_restart()).unwrap().confidence.is_damaged);
    bytes[pages + PAGE_BYTES..][..16].fill(0);
    assert!(recover(&bytes).unwrap().confidence.is_damaged);
}

#[test]
fn a_file_that_was_cut_off_is_read_as_far_as_it_goes() {
    let mut sample = Sample::new();
    let bytes = sample.record(300);
    let all = recover(&bytes).unwrap().records.len();
    let mut most = 0;
    let cuts = (0..bytes.len()).step_by(512).chain((0..64).map(|_| fastrand::usize(..bytes.len())));
    for cut in cuts {
        match recover(&bytes[..cut]) {
            Ok(read) => {
                sample.is_true(&read, &format!("cut at {cut}"));
                assert!(read.confidence.is_damaged);
                most = most.max(read.records.len());
            }
            Err(RecoverError::Empty) => assert_eq!(cut, 0),
            Err(error) => assert!(cut < 512, "cut at {cut}: {error}"),
        }
    }
    assert!(most > all / 2, "{most} of {all}");
}

#[test]
fn what_is_no_black_box_is_refused() {
    assert_eq!(recover(&[]), Err(RecoverError::Empty));
    assert_eq!(recover(b"{}"), Err(RecoverError::NotABlackBox));
    let mut sample = Sample::new();
    let bytes = sample.record(10);
    for nth in 0..1000 {
        let mut random: Vec<u8> = (0..fastrand::usize(..20_000)).map(|_| fastrand::u8(..)).collect();
        assert!(recover(&random).is_err());
        // With the beginning of one: what follows is anything.
        let len = random.len().min(bytes.len()).min(512);
        random[..len].copy_from_slice(&bytes[..len]);
        if let Ok(read) = recover(&random) {
            assert_eq!(read.records, [], "random file {nth}");
        }
    }
}

/// Somebody may make it as long as they like, without a byte of the disk.
#[test]
fn no_more_is_read_than_a_file_has() {
    let directory = Directory::new();
    start("open", directory.path(), &[]).ready().kill();
    let path = directory.files().remove(0);
    let bytes = read_file(&path).unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    assert!(read_file(&path).unwrap() == bytes, "what it has, and not what comes behind");
    // Of what is none, as much as says so.
    let other = directory.path().join("other");
    fs::File::create(&other).unwrap().set_len(1 << 40).unwrap();
    assert!(read_file(&other).unwrap().len() < 1 << 16);
}

#[test]
fn versions_and_byte_orders_are_told_apart() {
    let mut sample = Sample::new();
    let mut bytes = sample.record(1);
    bytes[10] = 3;
    assert_eq!(recover(&bytes).map(|read| read.records.len()), Ok(5), "the copy is read");
    bytes[0x100a] = 3;
    let error = recover(&bytes).unwrap_err();
    assert_eq!(error, RecoverError::Version { found: 3 });
    assert_eq!(error.to_string(), "a black box of format 3, this reads formats 1 to 2");
    (bytes[10], bytes[0x100a]) = (0, 0);
    assert_eq!(recover(&bytes), Err(RecoverError::Version { found: 0 }));
    (bytes[8], bytes[9]) = (bytes[9], bytes[8]);
    assert_eq!(recover(&bytes), Err(RecoverError::ByteOrder));
}

/// Bytes as they are.
struct Raw(Vec<u8>);

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

#[test]
fn values_that_imitate_entries_are_values() {
    let mut sample = Sample::new();
    let bytes = sample.record(100);
    let truth = recover(&bytes).unwrap().records;
    let pages = bytes[bytes.len() - (256 << 10)..].to_vec();
    // Real entries of this very file, at every offset within a slot, and whole pages.
    for offset in 0..64 {
        let from = fastrand::usize(..pages.len() - 5000);
        let raw = [vec![0; offset], pages[from / 64 * 64..][..4096].to_vec()].concat();
        drop(sample.tracer.create_env(Raw(raw), "imitates"));
    }
    let read = recover(&sample.bytes()).unwrap();
    let others = read.records.iter().filter(|record| record.as_env().is_none_or(|env| env.source != "imitates"));
    for record in others {
        assert!(truth.contains(record), "{record:?}");
    }
    // The control: in a slot of its own, such an entry is one.
    let mut bytes = sample.bytes();
    let pages_at = bytes.len() - (256 << 10);
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let slots = bytes[pages_at..].chunks(64).enumerate().filter(|(at, _)| (1..=240).contains(&(at % 256)));
    let forged = slots.map(|(_, slot)| slot.to_vec()).find(|slot| word(slot, 0) & 15 == 2).unwrap();
    let newest = bytes[pages_at..].chunks_mut(PAGE_BYTES).max_by_key(|page| word(page, 8)).unwrap();
    let next = 64 + usize::try_from(word(newest, 0).div_ceil(8)).unwrap() * 64;
    newest[next..next + 64].copy_from_slice(&forged);
    let seq: u64 = 1 << 40;
    // Without a detail, which would be in the slots before it.
    newest[next..next + 8].copy_from_slice(&((seq << 16) | (word(&forged, 0) & 0xf7ff)).to_le_bytes());
    let read = recover(&bytes).unwrap();
    assert!(read.records.iter().any(|record| record.seq() == seq), "{}", read.confidence);
}

/// Eight pages begin anew hundreds of times a second.
#[test]
fn a_reader_sees_nothing_wrong_while_the_process_writes() {
    let directory = Directory::new();
    let running = start("count-small", directory.path(), &["2", "sync"]).ready();
    let (mut most, mut torn) = (0, 0);
    let reads = if cfg!(debug_assertions) { 300 } else { 1000 };
    for nth in 0..reads {
        let bytes = read_file(&directory.files()[0]).unwrap();
        let read = recover_with(&bytes, &Observed::here()).unwrap();
        most = most.max(read.records.len());
        assert_eq!(is_wrong(&read.records), None);
        assert!(!read.confidence.is_damaged, "{:?}", read.gaps);
        if nth % 10 > 0 {
            continue;
        }
        // The control: such a copy has parts of two lives of a page, and says things that never were.
        let bytes = interrupted_copy(&directory.files()[0]);
        let plain = tracer_blackbox::recover_with(&bytes, &Observed::here()).unwrap();
        let records: Vec<_> = plain.records().collect();
        let is_short = records.len() as u64 != plain.confidence.records;
        torn += usize::from(is_wrong(&records).is_some() || plain.confidence.is_damaged || is_short);
    }
    running.kill();
    assert!(most > 500, "{most}");
    assert!(torn > 0, "of {} such copies some are torn", reads / 10);
}

/// A plain copy that was interrupted in the midst of every page.
fn interrupted_copy(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    thread::sleep(Duration::from_millis(5));
    let later = fs::read(path).unwrap();
    for (page, later) in bytes.chunks_mut(PAGE_BYTES).zip(later.chunks(PAGE_BYTES)) {
        let from = fastrand::usize(..page.len() / 64) * 64;
        page[from..].copy_from_slice(&later[from..]);
    }
    bytes
}

/// Something that the program never did: every record of an env follows from the one before it.
fn is_wrong(records: &[Record]) -> Option<String> {
    let mut before: HashMap<_, tracer::StepRecord> = HashMap::new();
    for step in records.iter().filter_map(Record::as_step) {
        let is_known = matches!(&*step.node, "item" | "plain" | "items");
        let has_value = step.node != "item" || step.status != Status::Enter || step.values["n"].is_u64();
        if !is_known || !has_value {
            return Some(format!("{step:?}"));
        }
        if let Some(last) = before.insert(step.env_id, step.clone()) {
            let follows = match (&*last.node, last.status) {
                ("items", Status::Enter) | ("plain", Status::Exit) => ("item", Status::Enter),
                ("item", Status::Enter) => ("item", Status::Exit),
                ("item", Status::Exit) => ("plain", Status::Enter),
                _ => ("plain", Status::Exit),
            };
            let is_next = step.step_id == last.step_id + 1;
            if step.step_id <= last.step_id || (is_next && (&*step.node, step.status) != follows) {
                return Some(format!("{step:?} after {last:?}"));
            }
        }
    }
    None
}
