//! Changes: what was read is changed by the rules, and written if nobody else has written in between.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update};
use futures_util::future::join_all;
use tracer::execution::{Applied, Execution, ExecutionId, StoreError, Timestamp, Written};

use super::{Depth, Done, DynamoStore, REQUESTS, is_condition};
use crate::again::{ATTEMPTS, wait};
use crate::checkpoints::Checkpoint;
use crate::item::{self, Item, Read, n, pk, s, text};
use crate::trouble::{Failed, Problem, writing};

/// How many elements of a batch are written at once to one execution: if each keeps a checkpoint as large as an item can
/// be, these and the execution are just below the 4 MB of a transaction.
const ELEMENTS_MAX: usize = 9;

/// What comes of one element of a batch.
pub(super) struct Outcome<T> {
    pub(super) answer: T,
    pub(super) applied: Applied,
    /// The checkpoint that it keeps.
    pub(super) kept: Option<Checkpoint>,
}

impl<T> Outcome<T> {
    pub(super) fn unchanged(answer: T) -> Self {
        Self { answer, applied: Applied::Unchanged, kept: None }
    }
}

impl DynamoStore {
    /// Writes what was changed, with the checkpoints that have come to it, if nobody else has written since it was read.
    /// Else what there is now, if anything.
    pub(super) async fn save(
        &self,
        read: &Read,
        execution: &Execution,
        kept: &[Checkpoint],
    ) -> Done<Result<(), Option<Item>>> {
        let mut changing = item::changing(execution);
        item::check_changed(read, execution, &changing)?;
        let mark = item::mark();
        let place = read.kept.clone().unwrap_or_else(|| format!("{:x}#{mark}", read.id));
        if !kept.is_empty() {
            changing.push(("kept", Some(s(&*place))));
        }
        let (mut sets, mut removes) = (Vec::new(), Vec::new());
        let mut names = HashMap::new();
        let mut values = HashMap::from([
            (":mark".to_owned(), s(&*mark)),
            (":one".to_owned(), n("1")),
            (":revision".to_owned(), n(&read.revision)),
        ]);
        for (name, value) in changing {
            names.insert(format!("#{name}"), name.to_owned());
            match value {
                Some(value) => {
                    sets.push(format!("#{name} = :{name}"));
                    values.insert(format!(":{name}"), value);
                }
                None => removes.push(format!("#{name}")),
            }
        }
        let mut expression = format!("SET mark = :mark, revision = revision + :one, {}", sets.join(", "));
        if !removes.is_empty() {
            expression = format!("{expression} REMOVE {}", removes.join(", "));
        }
        let update = Update::builder()
            .table_name(&*self.table)
            .key("pk", pk(read.id))
            .update_expression(expression)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values))
            .condition_expression("revision = :revision")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .expect("it has a table, a key and an expression");
        let updated = if kept.is_empty() {
            self.update_item(update).await?
        } else {
            let puts = kept.iter().map(|checkpoint| self.checkpoints.put(&place, checkpoint.clone()));
            self.update_with(update, puts.collect::<Done<_>>()?).await?
        };
        // The client has sent it twice, since no answer to the first came: it was this one.
        let is_own = |found: &Item| text(found, "mark") == Some(&*mark);
        Ok(updated.or_else(|found| if found.as_ref().is_some_and(is_own) { Ok(()) } else { Err(found) }))
    }

    async fn update_item(&self, update: Update) -> Done<Result<(), Option<Item>>> {
        let request = self
            .client
            .update_item()
            .table_name(update.table_name)
            .set_key(Some(update.key))
            .update_expression(update.update_expression)
            .set_condition_expression(update.condition_expression)
            .set_expression_attribute_names(update.expression_attribute_names)
            .set_expression_attribute_values(update.expression_attribute_values)
            .set_return_values_on_condition_check_failure(update.return_values_on_condition_check_failure);
        let Err(error) = request.send().await else { return Ok(Ok(())) };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(lost)) => {
                Ok(Err(lost.item().filter(|item| !item.is_empty()).cloned()))
            }
            _ => Err(writing(error)),
        }
    }

    /// All of it or nothing.
    async fn update_with(&self, update: Update, mut items: Vec<TransactWriteItem>) -> Done<Result<(), Option<Item>>> {
        items.insert(0, TransactWriteItem::builder().update(update).build());
        for attempt in 1..=ATTEMPTS {
            let Err(reasons) = self.transact(items.clone()).await? else { return Ok(Ok(())) };
            if let Some(lost) = reasons.first().filter(|reason| is_condition(reason)) {
                return Ok(Err(lost.item().filter(|item| !item.is_empty()).cloned()));
            }
            wait(&self.client, attempt).await;
        }
        Err(Problem::busy("others were in the way of a change, again and again"))
    }

    /// Changes one execution by some elements, again for as long as somebody else is faster, who has got on then.
    async fn change_once<T>(
        &self,
        mut read: Option<Read>,
        depth: Depth,
        change: impl Fn(Option<&mut Execution>, Timestamp) -> Vec<Outcome<T>>,
    ) -> Done<(Vec<Outcome<T>>, bool)> {
        loop {
            let now = self.now();
            let Some(found) = read else { return Ok((change(None, now), false)) };
            let mut execution = match &found.execution {
                Ok(execution) => execution.clone(),
                Err(error) => return Err(Problem::corrupt(error.to_string())),
            };
            let outcomes = change(Some(&mut execution), now);
            if outcomes.iter().all(|outcome| outcome.applied == Applied::Unchanged) {
                return Ok((outcomes, false));
            }
            // Of each key the last: no transaction takes one item twice.
            let kept = outcomes.iter().filter_map(|outcome| outcome.kept.clone());
            let kept: BTreeMap<String, Checkpoint> = kept.map(|kept| (kept.key.clone(), kept)).collect();
            let kept: Vec<Checkpoint> = kept.into_values().collect();
            match self.save(&found, &execution, &kept).await? {
                Ok(()) => return Ok((outcomes, true)),
                Err(now_there) => read = self.with_checkpoints(now_there.as_ref(), depth).await?,
            }
        }
    }

    /// Changes one execution by all of these elements, a bounded number of them at once.
    async fn change_one<E: Sync, T: Send>(
        &self,
        elements: Vec<&E>,
        id: ExecutionId,
        mut read: Option<Read>,
        depth: Depth,
        change: &(impl Fn(&E, Option<&mut Execution>, Timestamp) -> Outcome<T> + Send + Sync),
    ) -> Done<(Vec<T>, bool)> {
        let mut answers = Vec::with_capacity(elements.len());
        let mut is_written = false;
        for (number, some) in elements.chunks(ELEMENTS_MAX).enumerate() {
            let done = async {
                if number > 0 {
                    read = self.find(id, depth).await?;
                }
                let change = |mut execution: Option<&mut Execution>, now| {
                    some.iter().map(|element| change(element, execution.as_deref_mut(), now)).collect()
                };
                self.change_once(read.take(), depth, change).await
            };
            let done: Done<_> = done.await;
            let (outcomes, is_changed) = done.map_err(|problem| problem.behind_others(is_written))?;
            is_written |= is_changed;
            answers.extend(outcomes.into_iter().map(|outcome| outcome.answer));
        }
        Ok((answers, is_written))
    }

    /// Changes executions, in the order of `elements` for each of them, several at once.
    pub(super) async fn change<E: Sync, T: Send>(
        &self,
        operation: &'static str,
        elements: &[E],
        id: impl Fn(&E) -> ExecutionId + Send + Sync,
        depth: Depth,
        change: impl Fn(&E, Option<&mut Execution>, Timestamp) -> Outcome<T> + Send + Sync,
    ) -> Result<Vec<T>, StoreError> {
        let mut places: BTreeMap<ExecutionId, Vec<usize>> = BTreeMap::new();
        for (place, element) in elements.iter().enumerate() {
            places.entry(id(element)).or_default().push(place);
        }
        let ids: Vec<ExecutionId> = places.keys().copied().collect();
        let reads = self.read(&ids, depth).await;
        let mut reads = reads.map_err(|problem| problem.into_store(operation, Written::Nothing))?;
        let mut answers: Vec<Option<T>> = elements.iter().map(|_| None).collect();
        let mut written = Written::Nothing;
        for ids in ids.chunks(REQUESTS) {
            let changes = ids.iter().map(|id| {
                let of_one = places[id].iter().map(|place| &elements[*place]).collect();
                self.change_one(of_one, *id, reads.remove(id), depth, &change)
            });
            let mut failed = Failed::default();
            for (id, done) in ids.iter().zip(join_all(changes).await) {
                match done {
                    Ok((some, is_written)) => {
                        if is_written {
                            written = Written::Unknown;
                        }
                        for (place, answer) in places[id].iter().zip(some) {
                            answers[*place] = Some(answer);
                        }
                    }
                    Err(problem) => failed.keep(problem),
                }
            }
            failed.told().map_err(|problem| problem.into_store(operation, written))?;
        }
        Ok(answers.into_iter().flatten().collect())
    }
}
