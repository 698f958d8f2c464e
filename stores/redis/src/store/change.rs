//! Changes: what is there is read, changed by the rules, and written if nobody else has written in between.

use std::collections::BTreeMap;

use redis::Value;
use redis::aio::ConnectionLike;
use tracer::execution::{Applied, Execution, ExecutionId, Parts, StoreError, Timestamp, Written};

use super::{CALL_LEN_MAX, Done, RedisStore, VALUE_LEN_BYTES_MAX, chunks};
use crate::hint;
use crate::record::{Depth, Was, hex};
use crate::row::{self, Element, value, values};
use crate::script;
use crate::trouble::Problem;

/// One that is to be changed.
struct Found {
    id: ExecutionId,
    was: Was,
    execution: Option<Execution>,
    /// Whether it was not read, but is as it was when it was claimed here.
    is_remembered: bool,
}

/// What comes of one element of a batch.
pub(super) struct Outcome<T> {
    pub(super) answer: T,
    pub(super) applied: Applied,
    /// The checkpoint that it keeps.
    pub(super) kept: Option<(String, String)>,
}

impl<T> Outcome<T> {
    pub(super) fn unchanged(answer: T) -> Self {
        Self { answer, applied: Applied::Unchanged, kept: None }
    }
}

impl<C: ConnectionLike + Clone + Send + Sync> RedisStore<C> {
    /// Takes some of these, at least one, and says what there is of them: as remembered, or as read.
    async fn find(&self, left: &mut Vec<ExecutionId>, depth: Depth) -> Done<(Timestamp, Vec<Found>)> {
        let some = left.split_off(left.len().saturating_sub(CALL_LEN_MAX));
        let mut found = Vec::with_capacity(some.len());
        let mut unknown = Vec::new();
        for (claimed, id) in self.claimed.take(&some).into_iter().zip(some) {
            match claimed {
                Some((was, execution)) => {
                    found.push(Found { id, was, execution: Some(execution), is_remembered: true });
                }
                None => unknown.push(id),
            }
        }
        let (now, reads) = self.read(&unknown, depth).await?;
        left.extend_from_slice(&unknown[reads.len()..]);
        for (id, read) in unknown.into_iter().zip(reads) {
            let (was, execution) = match read {
                Some(read) => (read.was.clone(), Some(read.execution()?)),
                None => (Was::default(), None),
            };
            found.push(Found { id, was, execution, is_remembered: false });
        }
        Ok((now, found))
    }

    /// Writes what was changed, and says for each whether nobody else was faster.
    pub(super) async fn save(&self, changes: Vec<Element>, written: &mut Written) -> Done<Vec<bool>> {
        let mut saved = Vec::with_capacity(changes.len());
        for chunk in chunks(changes, Element::size) {
            let most = VALUE_LEN_BYTES_MAX.to_string().into_bytes();
            let arguments = [most].into_iter().chain(row::arguments(chunk));
            let answer = self.call(&script::SAVE, arguments).await.map_err(Problem::Write)?;
            if let Value::Int(len) = answer {
                return Err(Problem::TooMuchKept(usize::try_from(len).unwrap_or(usize::MAX)));
            }
            *written = Written::Unknown;
            for answer in values(answer, 0)? {
                saved.push(value::<i64>(answer)? == 1);
            }
        }
        Ok(saved)
    }

    /// Gives checkpoints that are where version 2 had them the place that they have now, unless somebody else is faster.
    pub(super) async fn move_checkpoints(&self, execution: &Execution, was: Was, written: &mut Written) -> Done<()> {
        let all = Parts::without_payload(execution).checkpoints.unwrap_or_default();
        let all = Parts::split_checkpoints(&all).unwrap_or_default();
        for some in chunks(all, |(key, value)| (1, key.len() + value.len())) {
            let head = [hex(execution.id).into_bytes(), was.mark.clone()];
            let some = some.into_iter().flat_map(|(key, value)| [key.into_bytes(), value.into_bytes()]);
            let answer = self.call(&script::MOVE, head.into_iter().chain(some)).await.map_err(Problem::Write)?;
            if value::<i64>(answer)? == 0 {
                return Ok(());
            }
        }
        self.save(vec![Element::change(execution, was, BTreeMap::new())?], written).await.map(drop)
    }

    /// Changes executions, in the order of `elements` for each of them: reads, lets `change` change, and writes, again where
    /// somebody else has written in between. Whoever comes in the way has got on, so that this ends.
    pub(super) async fn change<E, T>(
        &self,
        operation: &'static str,
        elements: &[E],
        id: impl Fn(&E) -> ExecutionId + Send + Sync,
        depth: Depth,
        change: impl Fn(&E, Option<&mut Execution>, Timestamp) -> Outcome<T> + Send + Sync,
    ) -> Result<Vec<T>, StoreError>
    where
        E: Sync,
        T: Send,
    {
        let mut written = Written::Nothing;
        let mut answers: Vec<Option<T>> = elements.iter().map(|_| None).collect();
        let mut places: BTreeMap<ExecutionId, Vec<usize>> = BTreeMap::new();
        for (place, element) in elements.iter().enumerate() {
            places.entry(id(element)).or_default().push(place);
        }
        let mut left: Vec<ExecutionId> = places.keys().copied().collect();
        while !left.is_empty() {
            let round = async {
                let (now, found) = self.find(&mut left, depth).await?;
                let mut changes = Vec::new();
                let mut changed = Vec::new();
                for Found { id, was, mut execution, is_remembered } in found {
                    if let Some(execution) = execution.as_ref().filter(|_| was.is_old) {
                        self.move_checkpoints(execution, was, &mut written).await?;
                        left.push(id);
                        continue;
                    }
                    let (mut is_any, mut is_every) = (false, true);
                    let mut kept = BTreeMap::new();
                    // What is written at once has to be bounded.
                    let some = places[&id].len().min(CALL_LEN_MAX);
                    for &place in &places[&id][..some] {
                        let outcome = change(&elements[place], execution.as_mut(), now);
                        answers[place] = Some(outcome.answer);
                        kept.extend(outcome.kept);
                        is_any |= outcome.applied == Applied::Changed;
                        is_every &= outcome.applied == Applied::Changed;
                    }
                    // Somebody may have changed it since: only what is written over it is sure to be right.
                    if is_remembered && !is_every {
                        left.push(id);
                    } else if let Some(execution) = execution.filter(|_| is_any) {
                        changes.push(Element::change(&execution, was, kept)?);
                        changed.push((id, some, hint::is_worth(&execution)));
                    } else {
                        places.get_mut(&id).map(|places| places.drain(..some));
                        left.extend(Some(id).filter(|id| !places[id].is_empty()));
                    }
                }
                let saved = self.save(changes, &mut written).await?;
                let mut is_any_due = false;
                for ((id, some, is_due), saved) in changed.into_iter().zip(saved) {
                    is_any_due |= saved && is_due;
                    if let Some(places) = places.get_mut(&id) {
                        places.drain(..if saved { some } else { 0 });
                        left.extend(Some(id).filter(|_| !places.is_empty()));
                    }
                }
                if is_any_due {
                    self.say_due().await;
                }
                Ok(())
            };
            let done: Done<()> = round.await;
            done.map_err(|problem| problem.into_store(operation, written))?;
        }
        Ok(answers.into_iter().flatten().collect())
    }
}
