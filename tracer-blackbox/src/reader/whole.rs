//! Traces that lie in one page from their beginning to their end, of which nothing else in the file speaks. Their steps
//! say nothing of what is open, and their ids need not be looked up: for hundreds of thousands of them, that would take
//! most of the time that a file is read in.

use tracer::TraceId;

use super::contents::Seen;
use super::scan::Slot;

/// A trace of one env, which is over; all of its steps are those of common calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    pub(super) env: u64,
    pub(super) trace: TraceId,
    /// The first of it: the env's own record.
    pub(super) record: Slot,
    /// The last of it: that it is over.
    pub(super) over: Slot,
    pub(super) seen: Seen,
}

/// One that is not over yet, with how long the lists were before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    pub(super) trace: TraceId,
    pub(super) record: Slot,
    pub(super) grown: usize,
    pub(super) found: usize,
    pub(super) named: usize,
    pub(super) entered: usize,
}

/// The ids that something names, and those that more than one thing does.
///
/// Some others are taken for such, about one in fifty: so what is said of those that are named less often has to hold for
/// all of them, too.
#[derive(Debug)]
pub(super) struct Named {
    once: Vec<u64>,
    twice: Vec<u64>,
}

/// Bits for each slot of a file, in each list, or up to twice as many. A trace takes four slots or more, and two ids.
const BITS_A_SLOT: usize = 32;
/// Words of a list, that of the largest files too: in these, more is taken for what it is not.
const WORDS_MAX: usize = 1 << 20;

impl Named {
    /// For a file of so many slots.
    pub(super) fn new(slots: usize) -> Self {
        let words = (slots * BITS_A_SLOT / 64).next_power_of_two().min(WORDS_MAX);
        Self { once: vec![0; words], twice: vec![0; words] }
    }

    pub(super) fn add(&mut self, id: u64) {
        let (at, bit) = self.bit(id);
        self.twice[at] |= self.once[at] & bit;
        self.once[at] |= bit;
    }

    /// As if it were named twice.
    pub(super) fn add_twice(&mut self, id: u64) {
        let (at, bit) = self.bit(id);
        self.once[at] |= bit;
        self.twice[at] |= bit;
    }

    pub(super) fn has_twice(&self, id: u64) -> bool {
        let (at, bit) = self.bit(id);
        self.twice[at] & bit != 0
    }

    /// Takes what another part of the file names.
    pub(super) fn append(&mut self, other: &Self) {
        let others = other.once.iter().zip(&other.twice);
        for ((once, twice), (once_there, twice_there)) in self.once.iter_mut().zip(&mut self.twice).zip(others) {
            *twice |= twice_there | (*once & once_there);
            *once |= once_there;
        }
    }

    /// Ids are random. If somebody means harm, they are all taken for one that is named twice, and each is looked up.
    fn bit(&self, id: u64) -> (usize, u64) {
        let spread = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let at = usize::try_from(spread >> 32).unwrap_or(0) & (self.once.len() - 1);
        (at, 1 << (spread >> 26 & 63))
    }
}

/// The half of an id by which a trace is named.
#[expect(clippy::cast_possible_truncation, reason = "takes a half")]
pub(super) fn low(trace: TraceId) -> u64 {
    trace.get() as u64
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use fastrand::Rng;
    use tracer::recorder::block::BLOCK_BYTES;
    use tracer::recorder::page::{PAGE_BYTES, SLOTS};
    use tracer::{Context, Record, Status, TraceId, Tracer, traced_node};

    use super::super::contents::{CAUSE_RECOVERY, KIND_ENV, KIND_NOTE, KIND_OVER, KIND_RESUMED, KIND_STEP, STEP_SHIFT};
    use super::super::scan::{CHECKS_AT, KIND_AGAIN, KIND_MASK, KIND_RUN, Slot, ValidPage, superblock};
    use super::super::{Observed, Recovered, recovered};
    use super::{Named, Whole, low};
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
            std::thread::scope(|scope| {
                for thread in 0..2 {
                    scope.spawn(move || run(tracer, seed * 2 + thread, traces));
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

    fn run(tracer: &Tracer, seed: u64, traces: u64) {
        let mut random = Rng::with_seed(seed);
        let (mut kept, mut tokens) = (Vec::new(), Vec::new());
        for n in 0..traces {
            let ctx = tracer.create_env(n, "test");
            match random.u8(..40) {
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

    /// Gives how many of its traces were whole.
    fn assert_same(bytes: &[u8], what: &str) -> usize {
        let [short, long] = [false, true].map(|follows_all| said(bytes, follows_all).unwrap());
        assert_eq!(long.read.all.whole.len(), 0);
        let mut traces = short.read.traces().iter().zip(long.read.traces());
        assert_eq!(traces.find(|(one, other)| one != other), None, "{what}");
        assert_eq!(short.read, long.read, "{what}");
        assert!(short.records == long.records, "{what}: records");
        assert!(short.some == long.some, "{what}: records of a trace");
        short.read.all.whole.len()
    }

    #[test]
    fn what_is_not_followed_says_what_it_says_when_it_is() {
        for (bytes, traces) in [(128 << 10, 2_000), (6 << 20, 9_000)] {
            let file = written(bytes, 1, traces);
            let whole = assert_same(&file, "as it is");
            assert!(whole > bytes / 2048, "{whole}");
        }
    }

    /// A file, and where its pages begin.
    fn file() -> (Vec<u8>, usize) {
        let file = written(128 << 10, 2, 2_000);
        let pages = file.len() - superblock(&file).unwrap().pages.of(&file).len();
        (file, pages)
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
        let (hand, hand_words) = slots().find(|(_, words)| by_hand(words)).unwrap();
        let whole = &read.all.whole;
        let named = *whole.iter().find(|of| page_of(of.record) != page_of(hand)).unwrap();
        let other = *whole.iter().rfind(|of| of.trace != named.trace).unwrap();
        let assert_followed = |bytes: &[u8], what: &str| {
            let read = recovered(Cow::Borrowed(bytes), &Observed::default(), &|_| (), false).unwrap();
            assert!(read.all.whole.iter().all(|of| of.trace != named.trace), "{what}");
            assert!(read.all.whole.len() > whole.len() / 2, "{what}");
            drop(read);
            assert_same(bytes, what);
        };

        let over = scan.words(other.over).unwrap();
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
            ("over", other.over, entry(KIND_OVER, 0, 0, [0, high, low, 0, 0])),
            ("goes on", other.over, goes_on(7)),
            ("goes on in an env that begins", before(other.record), goes_on(other.env)),
            ("another env", other.over, entry(KIND_ENV, 1, 7, [0, high, low, 0, 0])),
            ("the env that was left", other.over, of_other(KIND_ENV, CAUSE_RECOVERY)),
            ("the env that a first one left", other.record, [tag, ticks, env, number, four, five, named.env, seven]),
            ("said once more", other.over, again),
            ("said once more in the midst of another", before(other.over), again),
            ("the trace of another that is", other.over, entry(KIND_AGAIN, 0, 7, [0, high, low, 0, 0])),
            ("the one that another that is left", other.over, of_other(KIND_AGAIN, 0)),
            ("a step", other.over, entry(KIND_STEP, 1, named.env, [step, 9, 0, 0, 0])),
            ("a note", other.over, entry(KIND_NOTE, 0, named.env, [step, 9, 0, 0, 0])),
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

    /// It could not be read by itself, if it had to be.
    #[test]
    fn one_whose_run_began_before_it_is_followed() {
        let (file, pages) = file();
        let read = recovered(Cow::Borrowed(&file[..]), &Observed::default(), &|_| (), false).unwrap();
        let scan = read.scan();
        let is_header = |slot: &Slot| scan.words(*slot).unwrap()[0] & KIND_MASK == KIND_RUN;
        let slots = |of: &Whole| of.record.slot()..of.over.slot();
        let header = |of: &Whole| slots(of).map(|nth| Slot::new(of.record.page(), nth)).find(is_header);
        let (whole, header) = read.all.whole.iter().find_map(|of| Some((of, header(of)?))).unwrap();
        let page = pages + whole.record.page() as usize * PAGE_BYTES;
        let mut bytes = file.clone();
        bytes[page + (whole.record.slot() + 1) * 64..page + (header.slot() + 2) * 64].rotate_right(64);
        unseal(&mut bytes, page);
        let changed = recovered(Cow::Borrowed(&bytes[..]), &Observed::default(), &|_| (), false).unwrap();
        assert!(changed.all.whole.iter().all(|of| of.trace != whole.trace));
        assert_same(&bytes, "with the header first");
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
        assert_eq!(read.all.whole.len(), 20);
        let over = read.all.whole[19].over;
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
        assert_eq!(assert_same(&file, "in no env"), 20);
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

    #[test]
    fn an_env_whose_record_is_gone_is_said_by_another_though_it_goes_on() {
        let (file, pages) = file();
        let read = recovered(Cow::Borrowed(&file[..]), &Observed::default(), &|_| (), false).unwrap();
        let scan = read.scan();
        let again = scan.words(read.all.again[0]).unwrap();
        let place = read.all.whole[0].over;
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
        let mut whole = 0;
        for round in 0..50 {
            let mut bytes = file.clone();
            let page = |random: &mut Rng| pages + random.usize(0..(file.len() - pages) / PAGE_BYTES) * PAGE_BYTES;
            if round % 8 == 0 {
                let [to, from] = [page(&mut random), page(&mut random)];
                bytes.copy_within(from..from + PAGE_BYTES, to);
                // As if it were another, so that both count.
                bytes[to + 8] ^= 1 << random.u8(..8);
                unseal(&mut bytes, to);
            } else {
                for _ in 0..random.usize(1..8) {
                    let to = page(&mut random);
                    let [at, other] = [to, page(&mut random)].map(|page| page + random.usize(1..=SLOTS) * 64);
                    let parts = [0..2, 8..16, 16..24, 24..32, 32..48, 48..56, 0..2];
                    match random.usize(..9) {
                        7 => bytes[at + random.usize(8..64)] ^= 1 << random.u8(..8),
                        8 => bytes.copy_within(other + 8..other + 64, at + 8),
                        part => bytes
                            .copy_within(other + parts[part].start..other + parts[part].end, at + parts[part].start),
                    }
                    unseal(&mut bytes, to);
                }
            }
            whole += assert_same(&bytes, &round.to_string());
        }
        assert!(whole > 0);
    }

    #[test]
    fn what_two_parts_name_is_named_twice() {
        let [mut one, mut other] = [0; 2].map(|_| Named::new(10_000));
        for id in 1..100 {
            one.add(id);
            other.add(id + 90);
        }
        let is_twice = |named: &Named| (1..200).filter(|id| named.has_twice(*id)).collect::<Vec<_>>();
        assert_eq!(is_twice(&one), [0; 0]);
        one.append(&other);
        assert_eq!(is_twice(&one), (91..100).collect::<Vec<_>>());
        one.append(&other);
        assert_eq!(is_twice(&one), (91..190).collect::<Vec<_>>());
    }
}
