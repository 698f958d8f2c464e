//! What is due: claims and sweeps. Both look into an index, and write each item that they find under its condition.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use futures_util::future::join_all;
use tracer::execution::{
    Applied, Claim, Command, Execution, ExecutionId, StoreError, Swept, Timestamp, Write, Written,
};

use super::{Depth, Done, DynamoStore, END, ITEMS_MAX, Query, REQUESTS};
use crate::item::{GONE, Read, URGENCY_LEN, instant, pk, text};
use crate::table::{DUE, SWEEP};
use crate::trouble::{Failed, writing};

impl DynamoStore {
    /// Does this to each that is due.
    pub(super) async fn take(&self, claim: &Claim, command: &Command) -> Result<Vec<Execution>, StoreError> {
        claim.check_for(self)?;
        let mut claimed = Vec::new();
        match self.claim_all(claim, command, &mut claimed).await {
            // What was claimed before is not to wait for the end of its lease.
            Err(problem) if claimed.is_empty() => Err(problem.into_store("claim executions", Written::Nothing)),
            _ => Ok(claimed),
        }
    }

    async fn claim_all(&self, claim: &Claim, command: &Command, claimed: &mut Vec<Execution>) -> Done<()> {
        let limit = claim.limit as usize;
        let mut failed = Failed::default();
        if let Some(id) = claim.only {
            if limit > 0 {
                self.claim_these(claim, command, &[id], claimed, &mut failed).await?;
            }
            return failed.unless(!claimed.is_empty());
        }
        let mut types = if claim.types.is_empty() { self.types().await? } else { claim.types.clone() };
        types.sort_unstable();
        types.dedup();
        // Each with where in the index it goes on.
        let mut left: Vec<(String, String)> = types.into_iter().map(|type_| (type_, "0".to_owned())).collect();
        while claimed.len() < limit && !left.is_empty() {
            let due = self.next_due(&mut left, limit - claimed.len()).await?;
            self.claim_these(claim, command, &due, claimed, &mut failed).await?;
        }
        failed.unless(!claimed.is_empty())
    }

    /// Of what is due of all these types the next in order, `limit` at most; `left` goes on behind them.
    async fn next_due(&self, left: &mut Vec<(String, String)>, limit: usize) -> Done<Vec<ExecutionId>> {
        let now = instant(self.now());
        let mut parts = Vec::with_capacity(left.len());
        for some in left.chunks(REQUESTS) {
            let queries = some.iter().map(|(type_, from)| async {
                let (from, to) = (from.clone(), END.to_owned());
                let query = Query { index: DUE, of: type_, from, to, limit, newest_first: false };
                let (found, next) = self.query(&query, None).await?;
                let next = next.as_ref().and_then(|next| text(next, DUE.order)).map(|last| format!("{last}{END}"));
                Ok(due_part(found, next, &now))
            });
            parts.extend(join_all(queries).await.into_iter().collect::<Done<Vec<Part>>>()?);
        }
        // Up to where all of them are known.
        let mut known = parts.iter().filter_map(|part| part.next.clone()).min().unwrap_or_else(|| END.to_owned());
        let mut due: Vec<&(ExecutionId, String)> = parts.iter().flat_map(|part| &part.due).collect();
        due.retain(|(_, order)| *order < known);
        due.sort_unstable_by_key(|(_, order)| order);
        if due.len() > limit {
            known = format!("{}{END}", due[limit - 1].1);
            due.truncate(limit);
        }
        let due = due.into_iter().map(|(id, _)| *id).collect();
        let behind = std::mem::take(left).into_iter().zip(parts).filter_map(|((type_, _), part)| {
            let is_more_known = part.due.last().is_some_and(|(_, order)| *order > known);
            let next = if is_more_known { Some(known.clone()) } else { part.next };
            next.map(|next| (type_, next))
        });
        *left = behind.collect();
        Ok(due)
    }

    /// Claims those of these that are due, in order, up to the limit. Who was faster has it; there is no second try.
    async fn claim_these(
        &self,
        claim: &Claim,
        command: &Command,
        ids: &[ExecutionId],
        claimed: &mut Vec<Execution>,
        failed: &mut Failed,
    ) -> Done<()> {
        let limit = claim.limit as usize;
        let mut reads = self.read(ids, Depth::Whole).await?;
        let mut ids = ids.iter();
        loop {
            let mut started = Vec::new();
            for id in ids.by_ref() {
                let now = self.now();
                let Some(read) = reads.remove(id) else { continue };
                let Some(mut execution) = self.readable(&read).await? else { continue };
                let start = Write::new(execution.id, command.clone());
                // When it was written has passed, whatever the time is taken for here.
                let now = now.max(execution.updated_at);
                let is_wanted = execution.is_due(now) && claim.wants(&execution.type_);
                if is_wanted && start.apply(&mut execution, now) == Ok(Applied::Changed) {
                    started.push((read, execution));
                }
                if started.len() == REQUESTS.min(limit - claimed.len()) {
                    break;
                }
            }
            if started.is_empty() {
                return Ok(());
            }
            let saves = started.iter().map(|(read, execution)| self.save(read, execution, &[]));
            let saves = join_all(saves).await;
            for ((_, execution), saved) in started.into_iter().zip(saves) {
                match saved {
                    Ok(Ok(())) => claimed.push(execution),
                    Ok(Err(_)) => {}
                    Err(problem) => failed.keep(problem),
                }
            }
            failed.check()?;
            if claimed.len() >= limit {
                return Ok(());
            }
        }
    }

    /// The execution that was read. One that cannot be is set aside, so that it keeps nobody from the others; it is still
    /// found, and said to be corrupt, by its id.
    async fn readable(&self, read: &Read) -> Done<Option<Execution>> {
        if let Ok(execution) = &read.execution {
            return Ok(Some(execution.clone()));
        }
        let update = self.client.update_item().table_name(&*self.table).key("pk", pk(read.id));
        let update = update.update_expression("REMOVE due_type, due_at, running, sweep_at");
        let update = update.condition_expression("attribute_exists(pk)");
        match update.send().await {
            Ok(_) => Ok(None),
            Err(error)
                if error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(None)
            }
            Err(error) => Err(writing(error)),
        }
    }

    pub(super) async fn sweep_some(&self, limit: u32, written: &mut Written) -> Done<Swept> {
        let now = self.now();
        let mut swept = Swept::default();
        let mut failed = Failed::default();
        let mut start = None;
        while swept.total() < limit {
            let query = Query {
                index: SWEEP,
                of: "running",
                from: "0".to_owned(),
                to: format!("{}{END}", instant(now)),
                limit: ((limit - swept.total()) as usize).min(ITEMS_MAX),
                newest_first: false,
            };
            let (found, next) = self.query(&query, start).await?;
            let ids: Vec<ExecutionId> = found.into_iter().map(|(id, _)| id).collect();
            let mut reads = self.read(&ids, Depth::ToChange).await?;
            let mut changed = Vec::new();
            for id in &ids {
                let Some(read) = reads.remove(id) else { continue };
                let Some(mut execution) = self.readable(&read).await? else { continue };
                if execution.sweep(now.max(execution.updated_at)) == Applied::Changed {
                    changed.push((read, execution));
                }
            }
            for some in changed.chunks(REQUESTS) {
                let saves = some.iter().map(|(read, execution)| self.save(read, execution, &[]));
                let saves = join_all(saves).await;
                for ((_, execution), saved) in some.iter().zip(saves) {
                    match saved {
                        Ok(Ok(())) => {
                            *written = Written::Unknown;
                            swept.count(execution);
                        }
                        Ok(Err(_)) => {}
                        Err(problem) => failed.keep(problem),
                    }
                }
                failed.check()?;
            }
            start = next;
            if start.is_none() {
                break;
            }
        }
        if let Err(problem) = self.forget_gone().await {
            failed.keep(problem);
        }
        failed.unless(swept.total() > 0)?;
        let next =
            Query { index: SWEEP, of: "running", from: "0".into(), to: END.into(), limit: 1, newest_first: false };
        let (next, _) = self.query(&next, None).await?;
        let at = next.first().and_then(|(_, order)| u64::from_str_radix(order.get(..16)?, 16).ok());
        swept.next_due = at.map(|at| Timestamp::from_unix_ms(at).since(now));
        Ok(swept)
    }

    /// Deletes some of what a deletion that was cut off has left.
    async fn forget_gone(&self) -> Done<()> {
        let query = Query { index: SWEEP, of: GONE, from: "0".into(), to: END.into(), limit: 1, newest_first: false };
        let (items, _) = self.query_items(&query, None).await?;
        if let Some(kept) = items.first().and_then(|item| text(item, SWEEP.order)) {
            self.forget(kept).await?;
        }
        Ok(())
    }
}

/// What is known of one type after a look at the index.
struct Part {
    /// In order.
    due: Vec<(ExecutionId, String)>,
    /// Where there may be more that is due. None: nowhere.
    next: Option<String>,
}

/// The first that are due of what was found; `next` is behind all of that.
fn due_part(mut found: Vec<(ExecutionId, String)>, mut next: Option<String>, now: &str) -> Part {
    let waits =
        found.iter().position(|(_, order)| order.get(URGENCY_LEN..).is_some_and(|at| at > now && !at.starts_with(now)));
    if let Some(waits) = waits {
        // So does what comes behind it of the same priority.
        next = found[waits].1.get(..URGENCY_LEN).map(|level| format!("{level}{END}"));
        found.truncate(waits);
    }
    Part { due: found, next }
}
