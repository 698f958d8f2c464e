//! What the macro knows of a traced function at compile time, and the small numbers it goes by at run time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::flow::FlowNode;
use crate::lines::key;

/// One traced function: a `static` in its body.
#[derive(Debug)]
pub struct Site {
    pub(crate) node: &'static str,
    /// Of the node's name.
    pub(crate) hash: u64,
    pub(crate) module: &'static str,
    pub(crate) file: &'static str,
    pub(crate) line: u32,
    pub(crate) source: Option<&'static str>,
    pub(crate) start: Start,
    pub(crate) flow: Option<FlowNode>,
    pub(crate) redact: &'static [&'static str],
    /// [`SiteId`] once it ran, else zero.
    id: AtomicU64,
    /// Likewise, if a call of it may be a common one.
    plain: AtomicU64,
}

/// Where a call of the function begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// In the env of the caller, as the rules of the automatic API have it.
    Call,
    /// Always in a new trace.
    Root,
    /// Always in a forked env.
    Fork,
}

impl Site {
    /// A function called `node`, written at `file:line` in `module`.
    pub const fn new(node: &'static str, module: &'static str, file: &'static str, line: u32) -> Self {
        Self::hashed(node, key::hash(node), module, file, line)
    }

    /// Likewise, where the hash of the node's name is known: the compiler need not compute one for every function.
    pub const fn hashed(node: &'static str, hash: u64, module: &'static str, file: &'static str, line: u32) -> Self {
        Self {
            node,
            hash,
            module,
            file,
            line,
            source: None,
            start: Start::Call,
            flow: None,
            redact: &[],
            id: AtomicU64::new(0),
            plain: AtomicU64::new(0),
        }
    }

    /// Every call starts a new trace.
    #[must_use]
    pub const fn root(mut self) -> Self {
        self.start = Start::Root;
        self
    }

    /// Every call runs in a forked env.
    #[must_use]
    pub const fn fork(mut self) -> Self {
        self.start = Start::Fork;
        self
    }

    /// The source of the traces it starts; the node's name unless given.
    #[must_use]
    pub const fn source(mut self, source: &'static str) -> Self {
        self.source = Some(source);
        self
    }

    /// The declared node that it is.
    #[must_use]
    pub const fn in_flow(mut self, node: FlowNode) -> Self {
        self.flow = Some(node);
        self
    }

    /// Paths of recorded values (`card`, `customer.email`) whose content is replaced.
    #[must_use]
    pub const fn redact(mut self, paths: &'static [&'static str]) -> Self {
        self.redact = paths;
        self
    }

    #[inline]
    pub(crate) fn id(&'static self) -> SiteId {
        match self.id.load(Ordering::Relaxed) {
            0 => self.register(),
            id => SiteId::unpack(id),
        }
    }

    /// The numbers of the site and of its node, if a call needs nothing but them.
    #[inline]
    pub(crate) fn plain(&self) -> Option<SiteId> {
        match self.plain.load(Ordering::Relaxed) {
            0 => None,
            id => Some(SiteId::unpack(id)),
        }
    }

    #[cold]
    fn register(&'static self) -> SiteId {
        let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been first; numbers are given once.
        let known = self.id.load(Ordering::Relaxed);
        if known != 0 {
            return SiteId::unpack(known);
        }
        debug_assert_eq!(self.hash, key::hash(self.node), "`{}` has the hash of another name", self.node);
        let node = match table.iter().find(|site| site.hash == self.hash && site.node == self.node) {
            Some(same) => SiteId::unpack(same.id.load(Ordering::Relaxed)).node,
            None => u32::try_from(table.len()).unwrap_or(u32::MAX) + 1,
        };
        table.push(self);
        let id = SiteId { site: u32::try_from(table.len()).unwrap_or(u32::MAX), node };
        // Before anybody can have the number.
        watch::tell(id.site, &self.info());
        if let Some((known, hash)) = NODES.get(table.len() - 1) {
            hash.store(self.hash, Ordering::Relaxed);
            known.store(id.pack(), Ordering::Release);
        }
        if self.start == Start::Call && self.flow.is_none() && id.site <= SITE_MAX {
            self.plain.store(id.pack(), Ordering::Relaxed);
        }
        self.id.store(id.pack(), Ordering::Relaxed);
        id
    }

    fn info(&self) -> SiteInfo<'static> {
        SiteInfo {
            node: self.node,
            hash: self.hash,
            module: self.module,
            file: self.file,
            line: self.line,
            source: self.source,
            flow: self.flow.map(|node| FlowInfo { name: node.flow.name, nodes: node.flow.nodes }),
        }
    }
}

/// Numbers of a site (one per function) and of its node (shared by functions with one name), both from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SiteId {
    pub(crate) site: u32,
    pub(crate) node: u32,
}

impl SiteId {
    #[inline]
    pub(crate) const fn pack(self) -> u64 {
        ((self.node as u64) << 32) | self.site as u64
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "takes the halves apart")]
    pub(crate) const fn unpack(packed: u64) -> Self {
        Self { site: packed as u32, node: (packed >> 32) as u32 }
    }
}

/// A step has 20 bits for its site. Sites after these are called nothing.
const SITE_MAX: u32 = (1 << 20) - 1;

static TABLE: Mutex<Vec<&'static Site>> = Mutex::new(Vec::new());

/// The node numbers and hashes of the first sites, to be read without the lock.
static NODES: [(AtomicU64, AtomicU64); NODES_LEN] = [const { (AtomicU64::new(0), AtomicU64::new(0)) }; NODES_LEN];
const NODES_LEN: usize = 1024;

/// The number and the hash of the node of a site.
pub(crate) fn node(number: u32) -> Option<(u32, u64)> {
    let place = usize::try_from(number).ok()?.checked_sub(1)?;
    if let Some((id, hash)) = NODES.get(place) {
        if let id @ 1.. = id.load(Ordering::Acquire) {
            return Some((SiteId::unpack(id).node, hash.load(Ordering::Relaxed)));
        }
    }
    let site = site(number)?;
    Some((site.id().node, site.hash))
}

/// The site with this number.
pub(crate) fn site(number: u32) -> Option<&'static Site> {
    let table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    table.get(usize::try_from(number).ok()?.checked_sub(1)?).copied()
}

/// What is known of the traced functions that entries name by number.
pub trait Sites {
    /// The function with this number, from 1.
    fn site(&self, number: u32) -> Option<SiteInfo<'_>>;
}

/// A traced function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteInfo<'a> {
    /// The name of its node.
    pub node: &'a str,
    /// The hash of that name: equal in every process.
    pub hash: u64,
    /// The path of its module.
    pub module: &'a str,
    /// The file it is written in.
    pub file: &'a str,
    /// The line of that file.
    pub line: u32,
    /// What the traces that it starts are said to be started by, if not its node.
    pub source: Option<&'a str>,
    /// The flow that declares its node.
    pub flow: Option<FlowInfo<'a>>,
}

/// A declared flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowInfo<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its nodes, as notes number them.
    pub nodes: &'a [&'a str],
}

impl SiteInfo<'_> {
    /// Where the function is written.
    pub fn place(&self) -> String {
        format!("{}:{} ({})", self.file, self.line, self.module)
    }
}

/// The sites of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessSites;

impl Sites for ProcessSites {
    fn site(&self, number: u32) -> Option<SiteInfo<'_>> {
        site(number).map(Site::info)
    }
}

pub(crate) use watch::hold as hold_sites;
pub use watch::{SiteWatch, watch_sites};

mod watch {
    //! Who wants to know of every site before an entry names it: what lies in a file has to explain itself.

    use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

    use super::{Site, SiteInfo, TABLE};

    /// Is told of every site of the process.
    pub trait SiteWatch: Send + Sync {
        /// A function has got its number; no entry has named it yet. Called under a lock, so traced code must not run.
        fn site(&self, number: u32, site: &SiteInfo<'_>);
    }

    static WATCHES: Mutex<Vec<Weak<dyn SiteWatch>>> = Mutex::new(Vec::new());

    /// Tells `watch` of all sites that there are, and of each that comes, as long as somebody has it.
    pub fn watch_sites(watch: Weak<dyn SiteWatch>) {
        let table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watch) = watch.upgrade() {
            for (number, site) in (1..).zip(&*table) {
                watch.site(number, &site.info());
            }
        }
        let mut watches = WATCHES.lock().unwrap_or_else(PoisonError::into_inner);
        watches.retain(|watch| watch.strong_count() > 0);
        watches.push(watch);
    }

    /// Called with the table locked.
    pub(super) fn tell(number: u32, site: &SiteInfo<'_>) {
        let watches = WATCHES.lock().unwrap_or_else(PoisonError::into_inner);
        for watch in watches.iter().filter_map(Weak::upgrade) {
            watch.site(number, site);
        }
    }

    /// While it lives, no site gets a number.
    pub(crate) fn hold() -> MutexGuard<'static, Vec<&'static Site>> {
        TABLE.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
