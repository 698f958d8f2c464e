//! Who has which page and block. Numbers only: nothing here touches the memory.
//!
//! A page is free, held by a thread, left partly filled, or sealed. When none is free, the one that was sealed first is
//! taken anew. Some are never held by threads for long: what comes when all others are held goes around among them.

use std::collections::VecDeque;

/// A page by its place in the file.
pub(crate) type PageNumber = usize;

/// Pages of a file.
#[derive(Debug)]
pub(crate) struct Pages {
    free: Vec<PageNumber>,
    /// Left by a thread that ended, with room: the next goes on there, or thousands of short threads would each take
    /// a page for a few entries.
    left: VecDeque<PageNumber>,
    sealed: VecDeque<PageNumber>,
    /// By page: who holds it.
    holders: Vec<Option<Holder>>,
    held: usize,
    held_max: usize,
}

/// Who holds something: a thread, by its [number](tracer::recorder::this_thread).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder(pub(crate) u64);

/// A page that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) page: PageNumber,
    /// It goes on with the life that it had.
    pub(crate) goes_on: bool,
}

impl Pages {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            free: (0..count).rev().collect(),
            left: VecDeque::new(),
            sealed: VecDeque::new(),
            holders: vec![None; count],
            held: 0,
            held_max: count - Self::reserve(count),
        }
    }

    /// The pages of `count` that threads cannot hold: two at least, one to write to and one to keep.
    const fn reserve(count: usize) -> usize {
        let eighth = count / 8;
        if eighth > 2 { eighth } else { 2 }
    }

    /// A page for a thread. `None`: threads have as many as they may have.
    pub(crate) fn take(&mut self, holder: Holder) -> Option<Given> {
        if self.held == self.held_max {
            return None;
        }
        let given = self.any(true)?;
        self.held += 1;
        self.holders[given.page] = Some(holder);
        Some(given)
    }

    /// The next page for what comes when threads have all that they may have.
    pub(crate) fn take_reserved(&mut self) -> Option<PageNumber> {
        self.any(false).map(|given| given.page)
    }

    fn any(&mut self, goes_on: bool) -> Option<Given> {
        if let Some(page) = goes_on.then(|| self.left.pop_back()).flatten() {
            return Some(Given { page, goes_on: true });
        }
        let page = self.free.pop().or_else(|| self.sealed.pop_front()).or_else(|| self.left.pop_front())?;
        Some(Given { page, goes_on: false })
    }

    /// A page is full.
    pub(crate) fn seal(&mut self, page: PageNumber) {
        self.release(page);
        self.sealed.push_back(page);
    }

    /// Its thread ends, and it has room.
    pub(crate) fn leave(&mut self, page: PageNumber) {
        self.release(page);
        self.left.push_back(page);
    }

    fn release(&mut self, page: PageNumber) {
        if self.holders[page].take().is_some() {
            self.held -= 1;
        }
    }

    /// In a forked child, which has but one thread and a file without pages yet: all are free, but for those that this
    /// thread holds. Gives those.
    pub(crate) fn fork(&mut self, survivor: Holder) -> Vec<PageNumber> {
        let held: Vec<PageNumber> =
            (0..self.holders.len()).filter(|page| self.holders[*page] == Some(survivor)).collect();
        let count = self.holders.len();
        *self = Self::new(count);
        self.free.retain(|page| !held.contains(page));
        for page in &held {
            self.holders[*page] = Some(survivor);
        }
        self.held = held.len();
        held
    }
}

/// Blocks of a file.
#[derive(Debug)]
pub(crate) struct Blocks {
    free: Vec<usize>,
    /// By block.
    taken: Vec<bool>,
}

impl Blocks {
    pub(crate) fn new(count: usize) -> Self {
        Self { free: (0..count).rev().collect(), taken: vec![false; count] }
    }

    pub(crate) fn take(&mut self) -> Option<usize> {
        let block = self.free.pop()?;
        self.taken[block] = true;
        Some(block)
    }

    /// A further one for who has one already: while half of all are free, as lines that begin are to find one.
    pub(crate) fn take_further(&mut self) -> Option<usize> {
        if self.free.len() * 2 > self.taken.len() { self.take() } else { None }
    }

    /// Giving back twice does nothing.
    pub(crate) fn give_back(&mut self, block: usize) {
        if self.taken.get_mut(block).is_some_and(std::mem::take) {
            self.free.push(block);
        }
    }

    /// Those that are in use.
    pub(crate) fn used(&self) -> impl Iterator<Item = usize> + '_ {
        self.taken.iter().enumerate().filter_map(|(block, taken)| taken.then_some(block))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Holder = Holder(1);
    const B: Holder = Holder(2);

    #[expect(clippy::unnecessary_wraps, reason = "it is compared with what may be none")]
    fn fresh(page: PageNumber) -> Option<Given> {
        Some(Given { page, goes_on: false })
    }

    #[test]
    fn what_was_sealed_first_is_taken_anew_first() {
        let mut pages = Pages::new(4);
        for page in 0..4 {
            assert_eq!(pages.take(A), fresh(page));
            pages.seal(page);
        }
        assert_eq!(pages.take(A), fresh(0));
        assert_eq!(pages.take(B), fresh(1));
        assert_eq!(pages.take(B), None, "two stay in reserve");
        assert_eq!((pages.take_reserved(), pages.take_reserved()), (Some(2), Some(3)));
        pages.seal(2);
        assert_eq!(pages.take_reserved(), Some(2));
        pages.seal(1);
        assert_eq!(pages.take(B), fresh(1));
    }

    #[test]
    fn a_page_with_room_goes_on() {
        let mut pages = Pages::new(4);
        for thread in 0..1000 {
            let given = pages.take(Holder(thread)).unwrap();
            assert_eq!(given, Given { page: 0, goes_on: thread > 0 });
            pages.leave(given.page);
        }
    }

    #[test]
    fn a_forked_child_has_what_its_thread_holds() {
        let mut pages = Pages::new(6);
        assert_eq!((pages.take(A), pages.take(B)), (fresh(0), fresh(1)));
        pages.take_reserved();
        assert_eq!(pages.fork(B), [1]);
        let next: Vec<_> = (0..4).map(|_| pages.take(A).map(|given| given.page)).collect();
        assert_eq!(next, [Some(0), Some(2), Some(3), None]);
    }

    #[test]
    fn who_has_a_block_gets_no_more_than_half_of_all() {
        let mut blocks = Blocks::new(4);
        let given: Vec<_> = (0..3).map(|_| blocks.take_further()).collect();
        assert_eq!(given, [Some(0), Some(1), None]);
        assert_eq!((blocks.take(), blocks.take(), blocks.take()), (Some(2), Some(3), None));
    }

    #[test]
    fn blocks_run_out_and_come_back() {
        let mut blocks = Blocks::new(2);
        assert_eq!((blocks.take(), blocks.take(), blocks.take()), (Some(0), Some(1), None));
        assert_eq!(blocks.used().collect::<Vec<_>>(), [0, 1]);
        blocks.give_back(1);
        blocks.give_back(1);
        blocks.give_back(7);
        assert_eq!((blocks.take(), blocks.take()), (Some(1), None));
    }
}

#[cfg(all(test, loom))]
mod loom {
    use ::loom::sync::atomic::{AtomicUsize, Ordering};
    use ::loom::sync::{Arc, Mutex};
    use ::loom::thread;

    use super::*;

    /// A pool behind its lock, and what its pages and blocks are used for outside of it.
    struct Shared {
        pages: Mutex<Pages>,
        blocks: Mutex<Blocks>,
        /// By page: who writes to it, and how much was written in this life of it.
        writers: Vec<AtomicUsize>,
        written: Vec<AtomicUsize>,
        /// By block: whose it is.
        owners: Vec<AtomicUsize>,
    }

    impl Shared {
        fn new(pages: usize, blocks: usize) -> Arc<Self> {
            let zeroes = |count| (0..count).map(|_| AtomicUsize::new(0)).collect();
            Arc::new(Self {
                pages: Mutex::new(Pages::new(pages)),
                blocks: Mutex::new(Blocks::new(blocks)),
                writers: zeroes(pages),
                written: zeroes(pages),
                owners: zeroes(blocks),
            })
        }

        /// Takes a page, writes to it, and leaves it or has filled it.
        fn write(&self, me: usize, fills: bool) {
            let given = self.pages.lock().unwrap().take(Holder(me as u64));
            let Some(Given { page, goes_on }) = given else { return };
            assert_eq!(self.writers[page].swap(me, Ordering::Relaxed), 0, "somebody else writes to it");
            let before = self.written[page].load(Ordering::Relaxed);
            assert!(!goes_on || before > 0, "what was written before it was left is not there");
            self.written[page].store(if goes_on { before + 1 } else { 1 }, Ordering::Relaxed);
            assert_eq!(self.writers[page].swap(0, Ordering::Relaxed), me);
            let mut pages = self.pages.lock().unwrap();
            if fills { pages.seal(page) } else { pages.leave(page) }
        }

        /// Takes a block and gives it back.
        fn run(&self, me: usize) {
            let Some(block) = self.blocks.lock().unwrap().take() else { return };
            assert_eq!(self.owners[block].swap(me, Ordering::Relaxed), 0, "somebody else has it");
            assert_eq!(self.owners[block].swap(0, Ordering::Relaxed), me);
            self.blocks.lock().unwrap().give_back(block);
        }
    }

    /// Runs two threads beside this one.
    fn check(shared: fn() -> Arc<Shared>, work: fn(&Shared, usize), after: fn(&Shared)) {
        let mut model = ::loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(move || {
            let shared = shared();
            let others: Vec<_> = [2, 3]
                .map(|me| {
                    let shared = shared.clone();
                    thread::spawn(move || work(&shared, me))
                })
                .into();
            work(&shared, 1);
            others.into_iter().for_each(|other| other.join().unwrap());
            after(&shared);
        });
    }

    #[test]
    fn a_page_has_one_writer_at_a_time_and_goes_on_where_it_was_left() {
        check(
            || Shared::new(4, 0),
            |shared, me| {
                shared.write(me, me == 2);
                shared.write(me, me == 1);
            },
            |shared| {
                let mut pages = shared.pages.lock().unwrap();
                assert_eq!(pages.held, 0, "all were given back");
                let all: std::collections::BTreeSet<_> = (0..4).filter_map(|_| pages.take_reserved()).collect();
                assert_eq!(all.len(), 4, "none is lost, none is there twice");
            },
        );
    }

    #[test]
    fn a_block_has_one_owner_at_a_time() {
        check(
            || Shared::new(4, 2),
            |shared, me| shared.run(me),
            |shared| {
                let mut blocks = shared.blocks.lock().unwrap();
                let all: std::collections::BTreeSet<_> = (0..3).filter_map(|_| blocks.take()).collect();
                assert_eq!(all.len(), 2, "none is lost, none is there twice");
            },
        );
    }
}
