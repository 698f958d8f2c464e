//! Which executions to list, in which order, and pages of them.

use std::fmt;
use std::ops::{Deref, RangeInclusive};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::error::InvalidInput;
use super::record::Execution;
use super::status::ExecutionStatus;
use super::timestamp::Timestamp;
use crate::id::ExecutionId;

/// Which executions, and in which order: by time of creation, then by id.
///
/// ```
/// use tracer::execution::{ExecutionStatus, ListOptions};
///
/// let options = ListOptions::new().status(ExecutionStatus::Failed).type_("send-invoice").newest_first().limit(20);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct ListOptions {
    /// In one of these; in any, if there are none.
    pub statuses: Vec<ExecutionStatus>,
    /// Of one of these; of any, if there are none.
    pub types: Vec<String>,
    /// Parts of this one.
    pub parent: Option<ExecutionId>,
    /// With ids from this one to that one, both included.
    pub ids: Option<(ExecutionId, ExecutionId)>,
    /// Created then or later.
    pub created_from: Option<Timestamp>,
    /// Created before then.
    pub created_before: Option<Timestamp>,
    /// The latest first, instead of last.
    pub newest_first: bool,
    /// How many a page has: 100 unless given, at most [`LIMIT_MAX`](Self::LIMIT_MAX).
    pub limit: Option<u32>,
    /// What comes behind.
    pub after: Option<Cursor>,
}

impl ListOptions {
    /// The most that a page has.
    pub const LIMIT_MAX: u32 = 1000;

    /// All of them, the oldest first.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a status.
    #[must_use]
    pub fn status(mut self, status: ExecutionStatus) -> Self {
        self.statuses.push(status);
        self
    }

    /// Adds a type.
    #[must_use]
    pub fn type_(mut self, type_: impl Into<String>) -> Self {
        self.types.push(type_.into());
        self
    }

    /// Only dead letters: those that have ended without a result, and that nothing tries again by itself, failed or timed
    /// out. [`ExecutionManager::redrive`](super::ExecutionManager::redrive) gives them another series of attempts. The stores
    /// on SQL databases find them however much else there is; the others look at all that was created in that time.
    #[must_use]
    pub fn dead_letters(self) -> Self {
        self.status(ExecutionStatus::Failed).status(ExecutionStatus::TimedOut)
    }

    /// Only parts of this one.
    #[must_use]
    pub fn parent(mut self, parent: impl Into<ExecutionId>) -> Self {
        self.parent = Some(parent.into());
        self
    }

    /// Only those with ids in this range: those that begin with some digits, for instance.
    #[must_use]
    pub fn ids(mut self, ids: RangeInclusive<ExecutionId>) -> Self {
        self.ids = Some(ids.into_inner());
        self
    }

    /// Only those created at `from` or later.
    #[must_use]
    pub fn created_from(mut self, from: Timestamp) -> Self {
        self.created_from = Some(from);
        self
    }

    /// Only those created before `before`.
    #[must_use]
    pub fn created_before(mut self, before: Timestamp) -> Self {
        self.created_before = Some(before);
        self
    }

    /// The latest first.
    #[must_use]
    pub fn newest_first(mut self) -> Self {
        self.newest_first = true;
        self
    }

    /// How many a page has; taken into the range from 1 to [`LIMIT_MAX`](Self::LIMIT_MAX).
    #[must_use]
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Goes on behind a page.
    #[must_use]
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// How many a page has.
    pub fn page_len(&self) -> usize {
        self.limit.unwrap_or(100).clamp(1, Self::LIMIT_MAX) as usize
    }

    /// Whether `execution` is one of those asked for, on whichever page.
    pub fn matches(&self, execution: &Execution) -> bool {
        let created = execution.created_at;
        (self.statuses.is_empty() || self.statuses.contains(&execution.status))
            && (self.types.is_empty() || self.types.contains(&execution.type_))
            && (self.parent.is_none() || self.parent == execution.parent_id)
            && self.has_id(execution.id)
            && self.created_from.is_none_or(|from| created >= from)
            && self.created_before.is_none_or(|before| created < before)
    }

    /// Whether all that are asked for are [dead letters](Self::dead_letters): few of many, as a rule.
    pub fn is_of_dead_letters(&self) -> bool {
        let is_dead = |status: &ExecutionStatus| matches!(status, ExecutionStatus::Failed | ExecutionStatus::TimedOut);
        !self.statuses.is_empty() && self.statuses.iter().all(is_dead)
    }

    /// Whether an index of ids finds them sooner than one of the order: ids begin with the millisecond in which they were
    /// made, and those in the range were made within a minute or so.
    pub fn selects_by_ids(&self) -> bool {
        const MINUTE: u128 = 1 << 96;
        self.ids.is_some_and(|(from, to)| to.get().saturating_sub(from.get()) < MINUTE)
    }

    /// Whether it is an id of one of those asked for.
    pub fn has_id(&self, id: ExecutionId) -> bool {
        self.ids.is_none_or(|(from, to)| (from..=to).contains(&id))
    }

    /// Whether `execution` is on a page behind the cursor.
    pub fn is_behind(&self, execution: &Execution) -> bool {
        let here = Cursor::of(execution);
        self.after.is_none_or(|after| if self.newest_first { here < after } else { here > after })
    }

    /// The page, for a store that has its executions in memory, in any order.
    pub fn page_of(&self, executions: impl IntoIterator<Item = Execution>) -> Page {
        let is_on = |execution: &Execution| self.matches(execution) && self.is_behind(execution);
        let mut found: Vec<Execution> = executions.into_iter().filter(is_on).collect();
        found.sort_by_key(Cursor::of);
        if self.newest_first {
            found.reverse();
        }
        self.page_in_order(found)
    }

    /// The page, from executions that match, are behind the cursor, and are in order, each of them or, of one that cannot
    /// be read, its place. Give one more than a page has, so that it is known whether there is another.
    pub fn page_in_order<L: Into<Listed>>(&self, found: Vec<L>) -> Page {
        let has_more = found.len() > self.page_len();
        let mut page = Page::default();
        let mut last = None;
        for listed in found.into_iter().take(self.page_len()) {
            let listed = listed.into();
            last = Some(listed.place());
            match listed {
                Listed::Execution(execution) => page.executions.push(*execution),
                Listed::Unreadable(place) => page.unreadable.push(place.id()),
            }
        }
        page.next = last.filter(|_| has_more);
        page
    }
}

/// What a store has found for a list.
#[derive(Debug, Clone, PartialEq)]
pub enum Listed {
    /// An execution.
    Execution(Box<Execution>),
    /// The place of something that is none.
    Unreadable(Cursor),
}

impl Listed {
    /// Its place in the list.
    pub fn place(&self) -> Cursor {
        match self {
            Self::Execution(execution) => Cursor::of(execution),
            Self::Unreadable(place) => *place,
        }
    }
}

impl From<Execution> for Listed {
    fn from(execution: Execution) -> Self {
        Self::Execution(Box::new(execution))
    }
}

/// Some of the executions that were asked for. It is a slice of those that could be read, and can be iterated.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Page {
    /// These.
    pub executions: Vec<Execution>,
    /// Those that cannot be read, because somebody else has written them: [`get`](super::ExecutionManager::get) says why,
    /// and they may be [deleted](super::ExecutionManager::delete). A page has that many executions fewer.
    pub unreadable: Vec<ExecutionId>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

impl Deref for Page {
    type Target = [Execution];

    fn deref(&self) -> &[Execution] {
        &self.executions
    }
}

impl IntoIterator for Page {
    type Item = Execution;
    type IntoIter = std::vec::IntoIter<Execution>;

    fn into_iter(self) -> Self::IntoIter {
        self.executions.into_iter()
    }
}

impl<'a> IntoIterator for &'a Page {
    type Item = &'a Execution;
    type IntoIter = std::slice::Iter<'a, Execution>;

    fn into_iter(self) -> Self::IntoIter {
        self.executions.iter()
    }
}

/// A place in a list: behind one execution. It consists of what never changes, so that pages stay right while others
/// write: what was there throughout is listed exactly once. A text in JSON, to be handed over a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    created_at: Timestamp,
    id: ExecutionId,
}

impl Cursor {
    /// Before all others.
    pub(super) const MIN: Self = match ExecutionId::new(1) {
        Some(id) => Self { created_at: Timestamp::from_unix_ms(0), id },
        None => unreachable!(),
    };

    /// The place of what was created then under this id.
    pub const fn new(created_at: Timestamp, id: ExecutionId) -> Self {
        Self { created_at, id }
    }

    /// Behind everything that was created in that millisecond, whatever its id.
    pub const fn end_of(created_at: Timestamp) -> Self {
        // Ids of others may be longer than ours, and sort behind the last of them.
        Self { created_at: Timestamp::from_unix_ms(created_at.unix_ms().saturating_add(1)), ..Self::MIN }
    }

    /// The place of an execution.
    pub fn of(execution: &Execution) -> Self {
        Self { created_at: execution.created_at, id: execution.id }
    }

    /// When the execution was created.
    pub fn created_at(self) -> Timestamp {
        self.created_at
    }

    /// Its id.
    pub fn id(self) -> ExecutionId {
        self.id
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}", self.created_at.unix_ms(), self.id)
    }
}

impl FromStr for Cursor {
    type Err = InvalidInput;

    fn from_str(text: &str) -> Result<Self, InvalidInput> {
        let read = || {
            let (ms, id) = text.split_once('-')?;
            let created_at = Timestamp::from_unix_ms(ms.parse().ok()?);
            Some(Self { created_at, id: id.parse().ok()? })
        };
        read().ok_or_else(|| InvalidInput::NoCursor(text.chars().take(80).collect()))
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::parse(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::NewExecution;

    fn executions() -> Vec<Execution> {
        let made = [(2, 9), (1, 7), (2, 3), (1, 8), (3, 1)].into_iter();
        made.map(|(ms, id)| {
            let create = NewExecution::new("work").create(ExecutionId::new(id).unwrap()).unwrap();
            create.at(Timestamp::from_unix_ms(ms))
        })
        .collect()
    }

    fn walk(mut options: ListOptions) -> Vec<u128> {
        let mut seen = Vec::new();
        loop {
            let page = options.page_of(executions());
            seen.extend(page.iter().map(|execution| execution.id.get()));
            let Some(next) = page.next else { return seen };
            options = options.after(next.to_string().parse().unwrap());
        }
    }

    #[test]
    fn pages_are_ordered_by_creation_then_id() {
        for limit in 1..=6 {
            assert_eq!(walk(ListOptions::new().limit(limit)), [7, 8, 3, 9, 1]);
            assert_eq!(walk(ListOptions::new().limit(limit).newest_first()), [1, 9, 3, 8, 7]);
        }
    }

    #[test]
    fn what_cannot_be_read_has_its_place_on_a_page() {
        let options = ListOptions::new().limit(2);
        let listed = |spoilt: &[usize]| {
            let mut found = options.page_of(executions()).executions;
            found.extend(executions().into_iter().find(|execution| execution.id.get() == 3));
            let or_place = |(at, execution): (usize, Execution)| {
                if spoilt.contains(&at) { Listed::Unreadable(Cursor::of(&execution)) } else { execution.into() }
            };
            let page = options.page_in_order(found.into_iter().enumerate().map(or_place).collect());
            let ids = page.executions.iter().map(|execution| execution.id);
            let get = |ids: Vec<ExecutionId>| ids.into_iter().map(ExecutionId::get).collect::<Vec<_>>();
            (get(ids.collect()), get(page.unreadable), page.next.map(|next| next.id().get()))
        };
        assert_eq!(listed(&[]), (vec![7, 8], vec![], Some(8)));
        assert_eq!(listed(&[0]), (vec![8], vec![7], Some(8)));
        assert_eq!(listed(&[0, 1, 2]), (vec![], vec![7, 8], Some(8)));
        assert_eq!(listed(&[2]), (vec![7, 8], vec![], Some(8)));
    }

    #[test]
    fn other_texts_are_no_cursors() {
        for text in ["", "-", "1", "1-2", "x-00000000000000000000000000000001", "1-00000000000000000000000000000000"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
