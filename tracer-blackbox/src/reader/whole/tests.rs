//! What is set aside says what it says when it is followed: of files as they are, and of damaged ones.

use std::borrow::Cow;
use std::future::poll_fn;
use std::mem;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{self, Poll, Waker};

use fastrand::Rng;
use tracer::recorder::block::BLOCK_BYTES;
use tracer::recorder::page::{PAGE_BYTES, SLOTS};
use tracer::{Context, Record, Status, TraceId, TraceState, Tracer, traced_node};

use super::super::contents::{CAUSE_RECOVERY, KIND_ENV, KIND_NOTE, KIND_OVER, KIND_RESUMED, KIND_STEP, STEP_SHIFT};
use super::super::page::Grown;
use super::super::scan::{CHECKS_AT, KIND_AGAIN, KIND_MASK, KIND_RUN, Slot, ValidPage, superblock};
use super::super::{Gap, Observed, Recovered, recovered};
use super::{PIECES_MAX, Piece, Plain, Seen, WAITING_MAX, Whole, Wholes, low};
use crate::blackbox::BlackBox;
use crate::format::{Superblock, u64_at};

#[traced_node]
fn leaf(_ctx: &Context) {}

#[traced_node]
fn inner() {}

#[traced_node(record)]
fn told(_ctx: &Context, n: u64) -> u64 {
    n + 1
}

#[traced_node]
fn fails(_ctx: &Context, n: u64) -> Result<(), String> {
    if n % 2 == 0 { Err(n.to_string()) } else { Ok(()) }
}

#[traced_node]
fn around(ctx: &Context, then: &mut dyn FnMut(&Context)) {
    then(ctx);
}

/// The file that `run` records into a box of so many bytes, when it asks for that.
fn recorded(bytes: usize, run: impl FnOnce(&Tracer, &dyn Fn() -> Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let nth = NEXT.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("tracer-whole-{}-{nth}", std::process::id()));
    let black_box = BlackBox::options().app("whole", "").bytes(bytes).open(&directory).unwrap();
    let tracer = Tracer::builder().recorder(black_box.clone()).build();
    let file = run(&tracer, &|| std::fs::read(black_box.path().unwrap()).unwrap());
    std::fs::remove_dir_all(&directory).unwrap();
    file
}

/// Traces of all kinds, some of which begin or go on long before or after others; gives the file while one runs.
fn written(bytes: usize, seed: u64, traces: u64) -> Vec<u8> {
    recorded(bytes, |tracer, read| {
        let moved = Mutex::default();
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let moved = &moved;
                scope.spawn(move || run(tracer, seed * 2 + thread, traces, moved));
            }
        });
        let mut file = Vec::new();
        around(&tracer.create_env((), "last"), &mut |ctx| {
            told(ctx, 7);
            file = read();
        });
        file
    })
}

/// `moved`: what goes on in whatever thread comes first.
fn run(tracer: &Tracer, seed: u64, traces: u64, moved: &Mutex<Vec<Context>>) {
    let mut random = Rng::with_seed(seed);
    let (mut kept, mut tokens) = (Vec::new(), Vec::new());
    for n in 0..traces {
        let ctx = tracer.create_env(n, "test");
        match random.u8(..60) {
            0 => _ = fails(&ctx, n),
            1 => around(&ctx, &mut |ctx| drop((fails(ctx, n), told(ctx, n)))),
            2 => around(&ctx, &mut |ctx| leaf(&ctx.fork())),
            3 => kept.push(ctx.fork()),
            4 => tokens.push(ctx.token()),
            5 => drop(ctx.step("hand", Status::Enter, n).unwrap().step("hand", Status::Exit, ()).unwrap()),
            6 => {
                // Its records may have been written over.
                if let Some(ctx) = tokens.pop().and_then(|token| tracer.resume(token).ok()) {
                    leaf(&ctx);
                }
            }
            7 => kept.truncate(3),
            8 => around(&ctx, &mut |_| leaf(&tracer.create_env((), "inside"))),
            9 => kept.iter().for_each(leaf),
            10 if n % 7 == 0 => around(&ctx, &mut |_| (0..traces * 2).for_each(|_| inner())),
            kind if kind >= 40 => {
                leaf(&ctx);
                let mut moved = moved.lock().unwrap();
                moved.push(if n % 8 == 0 { ctx.fork() } else { ctx });
                while moved.len() > 8 {
                    let ctx = moved.remove(random.usize(..4));
                    around(&ctx, &mut |ctx| _ = told(ctx, n));
                    if random.u8(..3) == 0 {
                        moved.push(ctx);
                    }
                }
            }
            kind if kind % 2 == 0 => leaf(&ctx),
            kind if kind % 3 == 0 => _ = told(&ctx, n),
            _ => around(&ctx, &mut |_| (0..n % 20).for_each(|_| inner())),
        }
    }
}

/// All that a file says.
struct Said<'a> {
    read: Recovered<'a>,
    records: Vec<Record>,
    /// Those of some traces.
    some: Vec<Vec<Record>>,
}

fn said(bytes: &[u8], follows_all: bool) -> Option<Said<'_>> {
    let read = recovered(Cow::Borrowed(bytes), &Observed::default(), &|_| (), follows_all).ok()?;
    let of_trace = |id: TraceId| read.trace(id).chain(read.newest(id, 1)).collect();
    let some = read.traces().iter().step_by(17).map(|trace| of_trace(trace.trace_id)).collect();
    let records = read.records().collect();
    Some(Said { read, records, some })
}

/// Gives how many of its traces were whole, by how many pieces they have.
fn assert_same(bytes: &[u8], what: &str) -> [usize; 10] {
    let [short, long] = [false, true].map(|follows_all| said(bytes, follows_all).unwrap());
    assert_eq!(long.read.all.wholes.all.len(), 0);
    let mut traces = short.read.traces().iter().zip(long.read.traces());
    assert_eq!(traces.find(|(one, other)| one != other), None, "{what}");
    assert_eq!(short.read, long.read, "{what}");
    assert!(short.records == long.records, "{what}: records");
    assert!(short.some == long.some, "{what}: records of a trace");
    let wholes = &short.read.all.wholes;
    let mut count = [0; 10];
    wholes.all.iter().for_each(|of| count[wholes.pieces(of).count()] += 1);
    count
}

#[test]
fn what_is_not_followed_says_what_it_says_when_it_is() {
    for (bytes, traces) in [(128 << 10, 2_000), (6 << 20, 9_000)] {
        let file = written(bytes, 1, traces);
        let whole = assert_same(&file, "as it is");
        let [_, one, two, three, ..] = whole;
        let [one_min, two_min, three_min] = [16, 64, 256].map(|kib| bytes / (kib << 10));
        assert!(one > one_min && two > two_min && three >= three_min, "{whole:?}");
        assert_eq!(whole[usize::from(PIECES_MAX) + 1..], [0], "{whole:?}");
    }
}

/// A file, and where its pages begin.
fn file() -> (Vec<u8>, usize) {
    let file = written(128 << 10, 2, 2_000);
    let pages = file.len() - superblock(&file).unwrap().pages.of(&file).len();
    (file, pages)
}

/// The traces that lie in one page.
fn in_one_page<'r>(read: &'r Recovered<'_>) -> impl DoubleEndedIterator<Item = &'r Whole> {
    read.all.wholes.all.iter().filter(|of| read.all.wholes.pieces(of).count() == 1)
}

/// The entry that says that one is over.
fn over(read: &Recovered<'_>, of: &Whole) -> Slot {
    let Piece { first, slots, .. } = *read.all.wholes.pieces(of).next().unwrap();
    Slot::new(first.page(), first.slot() + usize::from(slots) - 1)
}

/// Without checks: what it has is believed.
fn unseal(bytes: &mut [u8], page: usize) {
    bytes[page + CHECKS_AT..page + PAGE_BYTES].fill(0);
}

fn put(bytes: &mut [u8], at: usize, words: &[u64]) {
    for (place, word) in bytes[at..].chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

#[test]
fn what_anything_else_names_is_followed() {
    let (file, pages) = file();
    let read = recovered(Cow::Borrowed(&file[..]), &Observed::default(), &|_| (), false).unwrap();
    let scan = read.scan();
    let page_of = |slot: Slot| pages + slot.page() as usize * PAGE_BYTES;
    let at = |slot: Slot| page_of(slot) + (slot.slot() + 1) * 64;
    let slots = || scan.valid.pages.iter().flat_map(ValidPage::valid).map(|slot| (slot, scan.words(slot).unwrap()));
    let by_hand = |words: &[u64; 8]| words[0] & KIND_MASK == KIND_STEP && words[4] == 0;
    let said_again = |env: u64| slots().any(|(_, words)| words[0] & KIND_MASK == KIND_AGAIN && words[2] == env);
    let (hand, hand_words) = slots().find(|(_, words)| by_hand(words) && !said_again(words[2])).unwrap();
    let whole = &read.all.wholes.all;
    let wholes = &read.all.wholes;
    let several = wholes
        .all
        .iter()
        .find(|of| wholes.pieces(of).all(|piece| piece.first.page() != hand.page()) && wholes.pieces(of).count() > 1);
    let one = in_one_page(&read).find(|of| page_of(of.record) != page_of(hand));
    for named in [one, several] {
        let named = *named.unwrap();
        let other = *in_one_page(&read).rfind(|of| of.trace != named.trace).unwrap();
        let other_over = over(&read, &other);
        let assert_followed = |bytes: &[u8], what: &str| {
            let read = recovered(Cow::Borrowed(bytes), &Observed::default(), &|_| (), false).unwrap();
            assert!(read.all.wholes.all.iter().all(|of| of.trace != named.trace), "{what}");
            assert!(read.all.wholes.all.len() > whole.len() / 2, "{what}");
            drop(read);
            assert_same(bytes, what);
        };

        let over = scan.words(other_over).unwrap();
        let trace = |of: Whole| [(of.trace.get() >> 64) as u64, low(of.trace)];
        let ([high, low], [other_high, other_low]) = (trace(named), trace(other));
        let entry = |kind: u64, what: u64, env: u64, rest: [u64; 5]| {
            let [step, four, five, six, seven] = rest;
            [over[0] & !0xffff | what << 4 | kind, over[1], env, step, four, five, six, seven]
        };
        let step = 9 << STEP_SHIFT;
        let before = |slot: Slot| Slot::new(slot.page(), slot.slot() - 1);
        let again = entry(KIND_AGAIN, 0, named.env, [0; 5]);
        let [tag, ticks, env, number, four, five, _, seven] = scan.words(other.record).unwrap();
        let goes_on = |env: u64| entry(KIND_RESUMED, 0, env, [0, high, low, 0, 0]);
        let of_other = |kind: u64, what: u64| entry(kind, what, 7, [0, other_high, other_low, named.env, 0]);
        for (what, slot, words) in [
            ("over", other_over, entry(KIND_OVER, 0, 0, [0, high, low, 0, 0])),
            ("goes on", other_over, goes_on(7)),
            ("goes on in an env that begins", before(other.record), goes_on(other.env)),
            ("the first env of another", other_over, entry(KIND_ENV, 0, 7, [0, high, low, 0, 0])),
            ("another env", other_over, entry(KIND_ENV, 1, 7, [0, high, low, 0, 0])),
            ("the env that was left", other_over, of_other(KIND_ENV, CAUSE_RECOVERY)),
            ("the env that a first one left", other.record, [tag, ticks, env, number, four, five, named.env, seven]),
            ("said once more", other_over, again),
            ("said once more in the midst of another", before(other_over), again),
            ("the trace of another that is", other_over, entry(KIND_AGAIN, 0, 7, [0, high, low, 0, 0])),
            ("the one that another that is left", other_over, of_other(KIND_AGAIN, 0)),
            ("a step", other_over, entry(KIND_STEP, 1, named.env, [step, 9, 0, 0, 0])),
            ("a note", other_over, entry(KIND_NOTE, 0, named.env, [step, 9, 0, 0, 0])),
        ] {
            let mut bytes = file.clone();
            put(&mut bytes, at(slot), &words);
            unseal(&mut bytes, page_of(slot));
            assert_followed(&bytes, what);
            let changed = recovered(Cow::Borrowed(&bytes[..]), &Observed::default(), &|_| (), false).unwrap();
            assert_eq!(changed.all.again, read.all.again, "of {what} nothing else is there, or the record");
        }

        let blocks = usize::try_from(superblock(&file).unwrap().blocks.at).unwrap();
        let shown = (blocks..pages).step_by(BLOCK_BYTES).find(|block| u64_at(&file, *block) != 0).unwrap();
        for (what, from, words) in [("a block's env", 0, vec![named.env]), ("a block's trace", 1, vec![high, low])] {
            let mut bytes = file.clone();
            put(&mut bytes, shown + from * 8, &words);
            assert_followed(&bytes, what);
        }

        // By hand, where the record of its env is gone.
        let mut bytes = file.clone();
        let own = scan.detail_at(hand).unwrap().trace().unwrap().get().to_le_bytes();
        for (slot, words) in slots() {
            if words[2] == hand_words[2] && words[0] & KIND_MASK == KIND_ENV {
                bytes[at(slot)..at(slot) + 64].fill(0);
                unseal(&mut bytes, page_of(slot));
            }
        }
        let page = page_of(hand);
        for place in (page..page + PAGE_BYTES - 16).filter(|place| file[*place..*place + 16] == own) {
            bytes[place..place + 16].copy_from_slice(&named.trace.get().to_le_bytes());
        }
        unseal(&mut bytes, page);
        assert_followed(&bytes, "a step by hand");
    }
}

/// It could not be read by itself, if it had to be.
#[test]
fn one_whose_run_began_before_another_is_followed() {
    let (file, pages) = file();
    let read = recovered(Cow::Borrowed(&file[..]), &Observed::default(), &|_| (), false).unwrap();
    let scan = read.scan();
    let is_header = |slot: &Slot| scan.words(*slot).unwrap()[0] & KIND_MASK == KIND_RUN;
    let slots = |of: &Whole| of.record.slot()..over(&read, of).slot();
    let header = |of: &Whole| slots(of).map(|nth| Slot::new(of.record.page(), nth)).find(is_header);
    let all: Vec<&Whole> = in_one_page(&read).collect();
    let is_behind = |one: &Whole, of: &Whole| {
        (0..4).any(|parts| Slot::new(of.record.page(), of.record.slot().saturating_sub(parts + 1)) == over(&read, one))
    };
    let (before, whole) = all
        .iter()
        .flat_map(|one| all.iter().map(move |of| (one, of)))
        .find(|(one, of)| header(one).is_none() && header(of).is_some() && is_behind(one, of))
        .unwrap();
    let header = header(whole).unwrap();
    let page = pages + whole.record.page() as usize * PAGE_BYTES;
    let mut bytes = file.clone();
    bytes[page + (before.record.slot() + 1) * 64..page + (header.slot() + 2) * 64].rotate_right(64);
    unseal(&mut bytes, page);
    let changed = recovered(Cow::Borrowed(&bytes[..]), &Observed::default(), &|_| (), false).unwrap();
    assert!(changed.all.wholes.all.iter().all(|of| of.trace != whole.trace));
    assert_same(&bytes, "with the header before another");
}

/// Likewise, whatever else is said of the env that says so.
#[test]
fn what_the_first_env_of_another_names_is_followed_if_that_is_not_plain() {
    let (file, pages) = file();
    let read = recovered(Cow::Borrowed(&file[..]), &Observed::default(), &|_| (), false).unwrap();
    let [named, other] = [in_one_page(&read).next(), in_one_page(&read).last()].map(|of| *of.unwrap());
    let at = over(&read, &other);
    let [number, ticks, ..] = read.scan().words(at).unwrap();
    let page = pages + at.page() as usize * PAGE_BYTES;
    let entry = |kind: u64, rest: [u64; 5]| {
        let [env, step, four, five, six] = rest;
        [number & !0xffff | kind, ticks, env, step, four, five, six, 0]
    };
    let trace = [(named.trace.get() >> 64) as u64, low(named.trace)];
    let first = entry(KIND_ENV, [7, 0, trace[0], trace[1], 0]);
    // It failed, which the first env of the trace did not.
    let by_hand = entry(KIND_STEP | 2 << 4, [7, 1 << STEP_SHIFT, 0, 0, 0]);
    let header = entry(KIND_RUN, [7, 1, 0, 0, 0]);
    let step = entry(KIND_STEP, [8, 1 << STEP_SHIFT, 9, 0, 0]);
    for (what, entries) in [("with a step by hand", vec![first, by_hand]), ("in its run", vec![header, step, first])] {
        let mut bytes = file.clone();
        let from = page + (at.slot() + 2 - entries.len()) * 64;
        for (nth, [number, rest @ ..]) in entries.iter().enumerate() {
            let number = number - ((entries.len() - 1 - nth) << 16) as u64;
            put(&mut bytes, from + nth * 64, &[&[number], &rest[..]].concat());
        }
        unseal(&mut bytes, page);
        let changed = recovered(Cow::Borrowed(&bytes[..]), &Observed::default(), &|_| (), false).unwrap();
        assert!(changed.all.wholes.all.iter().all(|of| of.trace != named.trace), "{what}");
        assert_same(&bytes, what);
    }
}

#[traced_node]
async fn later(_ctx: &Context) {
    inner();
    let mut is_first = true;
    poll_fn(|_| if mem::take(&mut is_first) { Poll::Pending } else { Poll::Ready(()) }).await;
    (0..3).for_each(|_| inner());
}

#[test]
fn a_trace_that_another_thread_goes_on_with_by_events_is_whole() {
    let file = recorded(1 << 20, |tracer, read| {
        let poll = |mut future: Pin<Box<dyn Future<Output = ()> + Send>>| {
            let is_over = future.as_mut().poll(&mut task::Context::from_waker(Waker::noop())).is_ready();
            (!is_over).then_some(future)
        };
        let task = |ctx: Context| Box::pin(async move { later(&ctx).await });
        let tasks: Vec<_> = (0..20).filter_map(|n| poll(task(tracer.create_env(n, "test")))).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| assert_eq!(tasks.into_iter().filter_map(poll).count(), 0));
        });
        // Their blocks go on with these.
        let others: Vec<_> = (0..20).map(|n| tracer.create_env(n, "test")).collect();
        others.iter().for_each(leaf);
        read()
    });
    let whole = assert_same(&file, "tasks");
    assert!(whole[2] > 10, "{whole:?}");

    // What is left of a page begins with an env that is said once more, and is decoded.
    let read = recovered(Cow::Borrowed(&file[..]), &Observed::default(), &|_| (), false).unwrap();
    let scan = read.scan();
    let is_again = |slot: &Slot| scan.words(*slot).unwrap()[0] & KIND_MASK == KIND_AGAIN;
    let again = scan.valid.pages.iter().flat_map(ValidPage::valid).filter(is_again).last().unwrap();
    let pages = file.len() - superblock(&file).unwrap().pages.of(&file).len();
    let mut bytes = file.clone();
    put(&mut bytes, pages + again.page() as usize * PAGE_BYTES + 24, &[again.slot() as u64 * 8]);
    assert_same(&bytes, "forgotten");
}

#[test]
fn a_trace_of_events_in_many_pages_is_whole() {
    let file = recorded(1 << 20, |tracer, read| {
        around(&tracer.create_env((), "test"), &mut |_| (0..2_000).for_each(|_| inner()));
        // Its block goes on with this one.
        leaf(&tracer.create_env((), "test"));
        read()
    });
    let whole = assert_same(&file, "events");
    assert_eq!(whole[3], 1, "{whole:?}");
}

/// Of a trace that is whole, nothing is followed: so there may be no env at all.
#[test]
fn a_trace_that_goes_on_in_no_env_changes_no_other() {
    let mut file = recorded(1 << 20, |tracer, read| {
        (0..20).for_each(|n| leaf(&tracer.create_env(n, "test")));
        read()
    });
    let Superblock { blocks, pages, .. } = superblock(&file).unwrap();
    let [blocks, pages] = [blocks.at, pages.at].map(|at| usize::try_from(at).unwrap());
    file[blocks..pages].fill(0);
    let read = recovered(Cow::Borrowed(&file[..]), &Observed::default(), &|_| (), false).unwrap();
    assert_eq!(read.all.wholes.all.len(), 20);
    let over = over(&read, &read.all.wholes.all[19]);
    let [number, ticks, ..] = read.scan().words(over).unwrap();
    let page = pages + over.page() as usize * PAGE_BYTES;
    drop(read);
    // Behind it, where nothing is.
    put(
        &mut file,
        page + (over.slot() + 2) * 64,
        &[((number & !0xffff) + (1 << 16)) | KIND_RESUMED, ticks, 0, 0, 7, 7, 0, 0],
    );
    unseal(&mut file, page);
    assert_eq!(assert_same(&file, "in no env")[1], 20);
}

#[test]
fn as_many_of_the_newest_records_are_there_as_were_asked_for() {
    let file = recorded(1 << 20, |tracer, read| {
        let ctx = tracer.create_env((), "test");
        (0..100).for_each(|_| leaf(&ctx));
        (0..600).for_each(|_| drop(tracer.resume(ctx.token()).unwrap()));
        read()
    });
    let read = recovered(Cow::Borrowed(&file[..]), &Observed::default(), &|_| (), false).unwrap();
    assert!(read.newest(read.traces()[0].trace_id, 50).count() >= 50);
}

/// What says so is not part of what may be whole.
#[test]
fn an_env_that_failed_is_known_though_its_record_is_gone() {
    let mut id = None;
    let file = recorded(128 << 10, |tracer, read| {
        let ctx = tracer.create_env((), "test");
        id = Some(ctx.trace_id());
        (0..2_000).for_each(|n| leaf(&tracer.create_env(n, "test")));
        _ = fails(&ctx, 0);
        read()
    });
    let read = recovered(Cow::Borrowed(&file[..]), &Observed::default(), &|_| (), false).unwrap();
    let of = read.traces().iter().find(|trace| Some(trace.trace_id) == id).unwrap();
    assert_eq!((of.state, of.steps), (TraceState::Failed, 2));
    assert!(!read.gaps.iter().any(|gap| matches!(gap, Gap::Orphans { .. })), "{:?}", read.gaps);
}

#[test]
fn an_env_whose_record_is_gone_is_said_by_another_though_it_goes_on() {
    let (file, pages) = file();
    let read = recovered(Cow::Borrowed(&file[..]), &Observed::default(), &|_| (), false).unwrap();
    let scan = read.scan();
    let again = scan.words(read.all.again[0]).unwrap();
    let place = over(&read, &read.all.wholes.all[0]);
    let page = pages + place.page() as usize * PAGE_BYTES;
    let mut bytes = file.clone();
    let [number, ..] = scan.words(place).unwrap();
    let goes_on = [number & !0xffff | KIND_RESUMED, again[1], again[2], 0, again[4], again[5], 0, 0];
    put(&mut bytes, page + (place.slot() + 1) * 64, &goes_on);
    unseal(&mut bytes, page);
    let changed = recovered(Cow::Borrowed(&bytes[..]), &Observed::default(), &|_| (), false).unwrap();
    assert_eq!(changed.all.again, read.all.again);
}

/// Numbers stay: of two entries with one, the second counts where it is whole, and not where it is followed.
#[test]
fn nor_does_it_in_a_damaged_file() {
    let (file, pages) = file();
    let mut random = Rng::with_seed(3);
    let mut whole = [0; 2];
    for round in 0..50 {
        let mut bytes = file.clone();
        let page = |random: &mut Rng| pages + random.usize(0..(file.len() - pages) / PAGE_BYTES) * PAGE_BYTES;
        if round % 8 == 0 {
            let [to, from] = [page(&mut random), page(&mut random)];
            bytes.copy_within(from..from + PAGE_BYTES, to);
            // As if it were another, so that both count.
            bytes[to + 8] ^= 1 << random.u8(..8);
            unseal(&mut bytes, to);
        } else if round % 8 == 4 {
            // What stands before this word is forgotten.
            let to = page(&mut random);
            put(&mut bytes, to + 24, &[random.u64(..(SLOTS * 8) as u64)]);
        } else {
            for _ in 0..random.usize(1..8) {
                let to = page(&mut random);
                let [at, other] = [to, page(&mut random)].map(|page| page + random.usize(1..=SLOTS) * 64);
                let parts = [8..16, 24..32, 32..48, 48..56, 16..24, 0..2, 8..64];
                // An env that is said once more has the number of its record: neither may become something else.
                let is_env = matches!(u64_at(&bytes, at) & KIND_MASK, KIND_ENV | KIND_AGAIN);
                match random.usize(..if is_env { 4 } else { 8 }) {
                    7 => bytes[at + random.usize(8..64)] ^= 1 << random.u8(..8),
                    part => {
                        bytes.copy_within(other + parts[part].start..other + parts[part].end, at + parts[part].start);
                    }
                }
                unseal(&mut bytes, to);
            }
        }
        let [_, one, more, ..] = assert_same(&bytes, &round.to_string());
        whole = [whole[0] + one, whole[1] + more];
    }
    assert!(!whole.contains(&0), "{whole:?}");
}

/// Steps of an env in a page of their own.
fn steps(env: u64, steps: Range<u64>, plain: Plain) -> Grown {
    let count = u32::try_from(steps.end - steps.start).unwrap();
    let seen = Seen { records: count, steps: count, first_seq: steps.start, end: steps.end, ..Seen::NOTHING };
    Grown { env, from: steps.start, to: steps.end, is_record: false, seen, plain, slots: 0..1 }
}

/// Begins, goes on for as long as that takes, and ends; gives which of its pieces were taken.
fn take_all(wholes: &mut Wholes, env: u64, steps_of: &[Range<u64>]) -> Vec<bool> {
    let trace = TraceId::new(env.into()).unwrap();
    let end = steps_of.iter().map(|steps| steps.end).max().unwrap();
    let plain = |steps: &Range<u64>| match steps {
        Range { start: 0, .. } => Plain::record(trace, Slot::new(0, 0)),
        steps if steps.end == end => Plain::over(trace),
        _ => Plain::STEPS,
    };
    let all = steps_of.iter().map(|of| steps(env, of.clone(), plain(of)));
    all.map(|of| wholes.take(&of, 0, 0, || false)).collect()
}

#[test]
fn what_goes_on_in_other_pages_is_whole_in_whatever_order_they_are() {
    for (steps, is_whole) in [
        (vec![0..3, 3..5], true),
        (vec![3..5, 0..3], true),
        (vec![0..1, 1..2, 2..3, 3..9], true),
        (vec![2..3, 1..2, 3..9, 0..1], true),
        (vec![0..1, 1..2, 2..4, 5..9], false),
        (vec![2..3, 0..1, 3..5], false),
        (vec![0..3, 2..5], false),
        (vec![0..3, 3..4, 3..4, 4..6], false),
        (vec![1..3, 3..5], false),
    ] {
        let mut wholes = Wholes::new(1000);
        let are_taken = take_all(&mut wholes, 7, &steps);
        assert_eq!(wholes.all.len(), usize::from(is_whole), "{steps:?}");
        wholes.wait_no_more();
        let others = wholes.take_given_up().len();
        if is_whole {
            assert_eq!((wholes.pieces(&wholes.all[0]).count(), others), (steps.len(), 0), "{steps:?}");
            assert_eq!(u64::from(wholes.all[0].seen.steps), wholes.all[0].seen.end, "{steps:?}");
        } else {
            // Nothing is lost: what was not taken is followed at once.
            assert_eq!(others, are_taken.iter().filter(|is_taken| **is_taken).count(), "{steps:?}");
        }
    }
}

#[test]
fn few_wait_and_not_for_long_nor_in_vain() {
    let pieces = |count: u8| (0..u64::from(count)).map(|nth| nth..nth + 1).collect::<Vec<_>>();
    let mut wholes = Wholes::new(1000);
    take_all(&mut wholes, 1, &pieces(PIECES_MAX));
    assert_eq!(wholes.all.len(), 1);
    take_all(&mut wholes, 2, &pieces(PIECES_MAX + 1));
    assert_eq!((wholes.all.len(), wholes.take_given_up().len()), (1, PIECES_MAX.into()));

    let begin = |wholes: &mut Wholes, envs: Range<u64>| {
        let taken = envs.map(|env| wholes.take(&steps(env, 1..2, Plain::STEPS), 0, 0, || false));
        taken.filter(|is_taken| *is_taken).count()
    };
    let all = WAITING_MAX as u64;
    assert_eq!(begin(&mut wholes, 10..10 + all), WAITING_MAX);
    assert_eq!((wholes.waiting.len(), wholes.take_given_up().len()), (WAITING_MAX, 0));
    assert!(wholes.take(&steps(10, 2..3, Plain::STEPS), 0, 0, || false));
    assert_eq!((wholes.waiting.len(), wholes.take_given_up().len()), (WAITING_MAX, 0), "nothing is added");
    assert_eq!(begin(&mut wholes, 9..10), 1);
    assert_eq!((wholes.waiting.len(), wholes.take_given_up().len()), (1, WAITING_MAX + 1));
    assert_eq!(begin(&mut wholes, 8..9), 0, "most waited in vain");

    let mut wholes = Wholes::new(1000);
    for env in 0..all * 2 {
        take_all(&mut wholes, env + 1, &pieces(2));
    }
    assert_eq!(begin(&mut wholes, 1 << 40..(1 << 40) + all), WAITING_MAX);
    assert_eq!(begin(&mut wholes, 1 << 50..(1 << 50) + all), WAITING_MAX, "most did not");
    assert_eq!(begin(&mut wholes, 1 << 60..(1 << 60) + all), 1, "half of them did");
}

#[test]
fn what_lies_in_two_parts_of_a_file_is_put_together() {
    let trace = TraceId::new(7).unwrap();
    let begin = |env| steps(env, 0..2, Plain::record(trace, Slot::new(0, 0)));
    let end = |env| steps(env, 2..4, Plain::over(trace));
    let parts = |older: &[Grown], newer: &[Grown]| {
        let [mut one, other] = [older, newer].map(|part| {
            let mut wholes = Wholes::new(1000);
            for (place, of) in (0..).zip(part) {
                assert!(wholes.take(of, place, place, || false));
            }
            wholes
        });
        one.append(other, 10);
        one
    };
    let pages = |of: Vec<Piece>| of.iter().map(|piece| piece.page).collect::<Vec<_>>();

    let mut both = parts(&[begin(1)], &[end(1)]);
    assert_eq!(pages(both.pieces(&both.all[0]).copied().collect()), [10, 0]);
    assert_eq!((both.all[0].seen.steps, both.take_named().len()), (4, 0));
    both.wait_no_more();
    assert_eq!(both.take_given_up().len(), 0);

    // Of no env more may be whole, and nothing is lost.
    let mut not = parts(&[begin(1)], &[steps(2, 5..6, Plain::STEPS), steps(1, 3..4, Plain::STEPS)]);
    assert_eq!(pages(not.take_given_up()), [0, 11]);
    not.wait_no_more();
    assert_eq!((not.all.len(), pages(not.take_given_up())), (0, vec![10]));

    let mut later = Wholes::new(1000);
    assert_eq!([true, false].map(|_| later.take(&steps(5, 1..2, Plain::STEPS), 0, 0, || false)), [true, false]);
    let mut not = parts(&[], &[]);
    not.append(later, 10);
    assert_eq!(pages(not.take_given_up()), [10]);

    // Two that are whole, of one trace.
    let mut two = parts(&[begin(1), end(1)], &[begin(2), end(2)]);
    assert_eq!((two.all.len(), pages(two.take_named())), (2, vec![1, 0, 11, 10]));
}
