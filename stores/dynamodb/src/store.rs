//! The store: calls become requests, each conditional.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::types::{
    AttributeValue, CancellationReason, Delete, KeysAndAttributes, Put, ReturnValuesOnConditionCheckFailure,
    TransactWriteItem,
};
use futures_util::future::join_all;
use tracer::Clock;
use tracer::execution::{
    Applied, Beat, Capabilities, Claim, Create, Created, Cursor, Deleted, Execution, ExecutionId, ExecutionStatus,
    ExecutionStore, Lease, ListOptions, Listed, Page, Refusal, Retention, StoreError, Survives, Swept, Timestamp,
    Write, Written,
};

use crate::again::{ATTEMPTS, wait};
use crate::checkpoints::{Checkpoint, Checkpoints};
use crate::clock::Dates;
use crate::item::{self, Item, Read, VALUE_LEN_BYTES_MAX, cursor, instant, key_pk, pk, place, s, text};
use crate::table::{self, ALL, Index, PARTS};
use crate::trouble::{Failed, NAME, Problem, reading, writing};

/// How long a request may take, and each try of it, unless the client's configuration says something.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_OF_A_TRY: Duration = Duration::from_secs(3);
/// How many requests a call makes at once.
const REQUESTS: usize = 16;
/// How many items one request reads: DynamoDB's limit.
const ITEMS_MAX: usize = 100;
/// So many ids an index is asked for.
const IDS_MAX: usize = 1000;
/// Sorts behind every instant.
const END: &str = "~";

mod change;
mod due;
mod old;

use change::Outcome;

type Done<T> = Result<T, Problem>;

/// Executions in DynamoDB. Clones share the client.
#[derive(Clone)]
pub struct DynamoStore {
    client: Client,
    table: Arc<str>,
    checkpoints: Checkpoints,
    dates: Dates,
    /// Another clock than the service's.
    clock: Option<Arc<dyn Clock>>,
    /// The types that the table is known to know.
    types: Arc<Mutex<HashSet<String>>>,
}

impl DynamoStore {
    /// Uses a table, and makes it if there is none. A client whose configuration says nothing of timeouts gets some.
    ///
    /// # Errors
    ///
    /// `STORE` if the service cannot be reached or refuses, or the table is not there within two minutes, `SCHEMA` if it is
    /// none of this version.
    pub async fn open(client: Client, table: &str) -> Result<Self, StoreError> {
        let is_bounded = client.config().timeout_config().is_some_and(|config| config.operation_timeout().is_some());
        let dates = Dates::new();
        let mut config = client.config().to_builder().interceptor(dates.clone());
        if !is_bounded {
            let timeouts = TimeoutConfig::builder().operation_timeout(PATIENCE);
            config = config.timeout_config(timeouts.operation_attempt_timeout(PATIENCE_OF_A_TRY).build());
        }
        let client = Client::from_conf(config.build());
        table::open(&client, table).await.map_err(|problem| problem.into_store("open the table", Written::Nothing))?;
        let checkpoints = Checkpoints { client: client.clone(), table: Checkpoints::table_beside(table).into() };
        Ok(Self { client, table: table.into(), checkpoints, dates, clock: None, types: Arc::default() })
    }

    /// Whether there is a table of executions of that name, of whatever version. [`open`](DynamoStore::open) would make it.
    ///
    /// # Errors
    ///
    /// `STORE` if the service cannot be reached or refuses.
    pub async fn is_there(client: &Client, table: &str) -> Result<bool, StoreError> {
        table::is_ours(client, table)
            .await
            .map_err(|problem| problem.into_store("look for the table", Written::Nothing))
    }

    /// Takes the time from `clock` instead of from the service: for tests. All that use the table need the same.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    fn now(&self) -> Timestamp {
        self.clock.as_ref().map_or_else(|| self.dates.now(), |clock| Timestamp::now(&**clock))
    }

    fn known_types(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        // Nothing can go wrong under the lock.
        self.types.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down that there are executions of a type, before there is one.
    async fn know(&self, type_: &str) -> Done<()> {
        if self.known_types().contains(type_) {
            return Ok(());
        }
        let update = self.client.update_item().table_name(&*self.table).key("pk", s("types"));
        let update = update.update_expression("ADD #names :type").expression_attribute_names("#names", "names");
        let type_set = AttributeValue::Ss(vec![type_.to_owned()]);
        update.expression_attribute_values(":type", type_set).send().await.map_err(writing)?;
        self.known_types().insert(type_.to_owned());
        Ok(())
    }

    /// The types of which there are or were executions.
    async fn types(&self) -> Done<Vec<String>> {
        let get = self.client.get_item().table_name(&*self.table).key("pk", s("types")).consistent_read(true);
        let item = get.send().await.map_err(reading)?.item.unwrap_or_default();
        Ok(item.get("names").and_then(|names| names.as_ss().ok()).cloned().unwrap_or_default())
    }

    async fn get(&self, pk: AttributeValue) -> Done<Option<Item>> {
        let get = self.client.get_item().table_name(&*self.table).key("pk", pk).consistent_read(true);
        Ok(get.send().await.map_err(reading)?.item)
    }

    async fn find(&self, id: ExecutionId, depth: Depth) -> Done<Option<Read>> {
        let item = self.get(pk(id)).await?;
        self.with_checkpoints(item.as_ref(), depth).await
    }

    /// What is in an item, if there is one, and, if it is to be whole, all that it has kept.
    async fn with_checkpoints(&self, item: Option<&Item>, depth: Depth) -> Done<Option<Read>> {
        let Some(item) = item else { return Ok(None) };
        let kept = match text(item, "kept").filter(|_| depth == Depth::Whole) {
            Some(kept) => self.checkpoints.read(kept).await?,
            None => Vec::new(),
        };
        Read::of(item, &kept).map(Some)
    }

    /// Reads executions consistently, many at once.
    async fn read(&self, ids: &[ExecutionId], depth: Depth) -> Done<HashMap<ExecutionId, Read>> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let mut reads = HashMap::with_capacity(ids.len());
        for ids in ids.chunks(ITEMS_MAX) {
            let mut left: Vec<Item> = ids.iter().map(|id| Item::from([("pk".to_owned(), pk(*id))])).collect();
            let mut attempt = 0;
            while !left.is_empty() {
                let keys = KeysAndAttributes::builder().set_keys(Some(left)).consistent_read(true).build();
                let keys = keys.expect("it has keys");
                let answer = self.client.batch_get_item().request_items(&*self.table, keys).send().await;
                let answer = answer.map_err(reading)?;
                let items: Vec<Item> = answer.responses.unwrap_or_default().into_values().flatten().collect();
                for items in items.chunks(REQUESTS) {
                    for read in join_all(items.iter().map(|item| self.with_checkpoints(Some(item), depth))).await {
                        reads.extend(read?.map(|read| (read.id, read)));
                    }
                }
                // What was too much for one answer, or for the moment.
                left = answer.unprocessed_keys.unwrap_or_default().into_values().flat_map(|keys| keys.keys).collect();
                attempt += 1;
                if !left.is_empty() {
                    if attempt == ATTEMPTS {
                        return Err(Problem::busy("items were not read, again and again"));
                    }
                    wait(&self.client, attempt).await;
                }
            }
        }
        Ok(reads)
    }

    async fn create_one(&self, new: &Create, now: Timestamp) -> Done<Created> {
        let execution = new.clone().at(now);
        self.know(&execution.type_).await?;
        for attempt in 1..=ATTEMPTS {
            let mark = item::mark();
            let item = item::new(&execution, &mark)?;
            let existing = match new.idempotency_key() {
                None => self.put(item).await?,
                Some(key) => self.put_with_key(item, key, new.id()).await?,
            };
            match existing {
                Placed::Done => return Ok(Created::New(execution)),
                Placed::Existing(read) if read.mark == mark => return Ok(Created::New(execution)),
                Placed::Existing(read) => {
                    let found = read.execution.map_err(Problem::corrupt)?;
                    return Ok(Created::Existing(found));
                }
                Placed::Again => wait(&self.client, attempt).await,
            }
        }
        Err(Problem::busy("others were in the way of a creation, again and again"))
    }

    async fn put(&self, item: Item) -> Done<Placed> {
        let put = self.client.put_item().table_name(&*self.table).set_item(Some(item));
        let put = put.condition_expression("attribute_not_exists(pk)");
        let put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = put.send().await else { return Ok(Placed::Done) };
        match error.as_service_error() {
            Some(aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(lost)) => {
                let found = self.with_checkpoints(lost.item(), Depth::Whole).await?;
                Ok(found.map_or(Placed::Again, |found| Placed::Existing(Box::new(found))))
            }
            _ => Err(writing(error)),
        }
    }

    async fn put_with_key(&self, item: Item, key: &str, id: ExecutionId) -> Done<Placed> {
        let put = |item| {
            let put = Put::builder().table_name(&*self.table).set_item(Some(item));
            let put = put.condition_expression("attribute_not_exists(pk)").build().expect("it has a table and an item");
            TransactWriteItem::builder().put(put).build()
        };
        let key_item = Item::from([("pk".to_owned(), key_pk(key)), ("id".to_owned(), s(format!("{id:x}")))]);
        match self.transact([put(key_item), put(item)]).await? {
            Ok(()) => Ok(Placed::Done),
            Err(reasons) if reasons.iter().any(is_condition) => {
                let found = self.find_by_key(key).await?;
                let found = if found.is_none() { self.find(id, Depth::Whole).await? } else { found };
                Ok(found.map_or(Placed::Again, |found| Placed::Existing(Box::new(found))))
            }
            Err(_) => Ok(Placed::Again),
        }
    }

    /// Writes all of these or nothing. If nothing, why.
    async fn transact(
        &self,
        items: impl IntoIterator<Item = TransactWriteItem>,
    ) -> Done<Result<(), Vec<CancellationReason>>> {
        use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError as E;
        let items = items.into_iter().collect();
        let Err(error) = self.client.transact_write_items().set_transact_items(Some(items)).send().await else {
            return Ok(Ok(()));
        };
        match error.as_service_error() {
            Some(E::TransactionCanceledException(cancelled)) => {
                let reasons = cancelled.cancellation_reasons();
                let is_final = |reason: &CancellationReason| {
                    matches!(reason.code(), Some("ValidationError" | "ItemCollectionSizeLimitExceeded"))
                };
                if reasons.iter().any(is_final) { Err(writing(error)) } else { Ok(Err(reasons.to_vec())) }
            }
            _ => Err(writing(error)),
        }
    }

    async fn find_by_key(&self, key: &str) -> Done<Option<Read>> {
        let Some(item) = self.get(key_pk(key)).await? else { return Ok(None) };
        match text(&item, "id").and_then(|id| id.parse().ok()) {
            Some(id) => self.find(id, Depth::Whole).await,
            None => Err(Problem::corrupt(format!("the item of the key `{key}` names no execution"))),
        }
    }

    async fn create_all(&self, new: &[Create], written: &mut Written) -> Done<Vec<Created>> {
        let now = self.now();
        let mut created = Vec::with_capacity(new.len());
        let mut left = new;
        while !left.is_empty() {
            // Those before the first that has to see one of them.
            let (mut ids, mut keys) = (HashSet::new(), HashSet::new());
            let mut count = 0;
            for new in left.iter().take(REQUESTS) {
                let is_first = ids.insert(new.id()) && new.idempotency_key().is_none_or(|key| keys.insert(key));
                if !is_first {
                    break;
                }
                count += 1;
            }
            let (some, rest) = left.split_at(count);
            left = rest;
            let mut failed = Failed::default();
            for done in join_all(some.iter().map(|new| self.create_one(new, now))).await {
                match done {
                    Ok(done) => {
                        if matches!(done, Created::New(_)) {
                            *written = Written::Unknown;
                        }
                        created.push(done);
                    }
                    Err(problem) => failed.keep(problem),
                }
            }
            failed.told()?;
        }
        Ok(created)
    }

    /// A page of an index: ids, with what says their order, and where the next page begins.
    async fn query(&self, query: &Query<'_>, start: Option<Item>) -> Done<(Vec<(ExecutionId, String)>, Option<Item>)> {
        let (items, next) = self.query_items(query, start).await?;
        let entry = |item: &Item| {
            let id = text(item, "pk")?.strip_prefix("execution#")?.parse().ok()?;
            Some((id, text(item, query.index.order)?.to_owned()))
        };
        Ok((items.iter().filter_map(entry).collect(), next))
    }

    async fn query_items(&self, query: &Query<'_>, start: Option<Item>) -> Done<(Vec<Item>, Option<Item>)> {
        let Query { index, of, from, to, limit, newest_first } = query;
        let answer = self.client.query().table_name(&*self.table).index_name(index.name);
        let answer = answer
            .key_condition_expression("#of = :of AND #order BETWEEN :from AND :to")
            .expression_attribute_names("#of", index.of)
            .expression_attribute_names("#order", index.order)
            .expression_attribute_values(":of", s(*of))
            .expression_attribute_values(":from", s(from))
            .expression_attribute_values(":to", s(to))
            .scan_index_forward(!newest_first)
            .limit(i32::try_from(*limit).unwrap_or(i32::MAX).max(1))
            .set_exclusive_start_key(start);
        let answer = answer.send().await.map_err(reading)?;
        Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key))
    }

    async fn list_page(&self, options: &ListOptions) -> Done<Page> {
        let wanted = options.page_len() + 1;
        let parent = options.parent.map(|parent| format!("{parent:x}"));
        let mut query = Query {
            index: if parent.is_some() { PARTS } else { ALL },
            of: parent.as_deref().unwrap_or("all"),
            from: options.created_from.map_or_else(|| "0".to_owned(), instant),
            to: options.created_before.map_or_else(|| END.to_owned(), instant),
            limit: match options {
                // Read are only those that have one of the ids.
                ListOptions { ids: Some(_), .. } => IDS_MAX,
                ListOptions { statuses, types, .. } if statuses.len() + types.len() > 0 => ITEMS_MAX,
                _ => wanted.min(ITEMS_MAX),
            },
            newest_first: options.newest_first,
        };
        if let Some(after) = options.after {
            let after = place(after);
            if options.newest_first {
                query.to = query.to.min(after);
            } else {
                query.from = query.from.max(after);
            }
        }
        let mut found: Vec<Listed> = Vec::new();
        let mut start = None;
        // A range of which the end is before the beginning is an error there.
        while query.from <= query.to && found.len() < wanted {
            let (some, next) = self.query(&query, start).await?;
            let some: Vec<_> = some.into_iter().filter(|(id, _)| options.has_id(*id)).collect();
            let ids: Vec<ExecutionId> = some.iter().map(|(id, _)| *id).collect();
            let mut reads = self.read(&ids, Depth::Whole).await?;
            for (id, place) in some {
                let Some(read) = reads.remove(&id) else { continue };
                match read.execution {
                    Ok(execution) if options.matches(&execution) && options.is_behind(&execution) => {
                        found.push(execution.into());
                    }
                    Ok(_) => {}
                    Err(problem) => {
                        let place = cursor(&place).ok_or_else(|| Problem::corrupt(problem))?;
                        let has_status = |status: &ExecutionStatus| status.as_str() == read.status;
                        let may_match = options.statuses.is_empty() || options.statuses.iter().any(has_status);
                        // Of which type it is nobody knows.
                        if may_match && options.after != Some(place) {
                            found.push(Listed::Unreadable(place));
                        }
                    }
                }
            }
            start = next;
            if start.is_none() {
                break;
            }
        }
        found.truncate(wanted);
        Ok(options.page_in_order(found))
    }

    async fn delete_one(&self, id: ExecutionId) -> Done<Result<(), Refusal>> {
        for attempt in 1..=ATTEMPTS {
            let Some(read) = self.find(id, Depth::ToChange).await? else { return Ok(Err(Refusal::NotFound)) };
            if read.status == ExecutionStatus::Running.as_str() {
                return Ok(Err(Refusal::Transition { command: "delete", status: ExecutionStatus::Running }));
            }
            if self.delete_as_read(&read).await? {
                return Ok(Ok(()));
            }
            wait(&self.client, attempt).await;
        }
        Err(Problem::busy("others were in the way of a deletion, again and again"))
    }

    /// Deletes an execution, with its key and what it has kept, if nobody has written since it was read; whether it did.
    async fn delete_as_read(&self, read: &Read) -> Done<bool> {
        let delete = Delete::builder().table_name(&*self.table).key("pk", pk(read.id));
        let delete = delete.condition_expression("mark = :mark").expression_attribute_values(":mark", s(&*read.mark));
        let key = read.key.as_deref().map(|key| {
            let delete = Delete::builder().table_name(&*self.table).key("pk", key_pk(key));
            let delete = delete.condition_expression("id = :id");
            delete.expression_attribute_values(":id", s(format!("{:x}", read.id)))
        });
        let deletes = [Some(delete), key].into_iter().flatten().map(|delete| {
            let delete = delete.build().expect("it has a table and a key");
            TransactWriteItem::builder().delete(delete).build()
        });
        let gone = read.kept.as_deref().map(|kept| {
            let put = Put::builder().table_name(&*self.table).set_item(Some(item::gone(kept)));
            TransactWriteItem::builder().put(put.build().expect("it has a table and an item")).build()
        });
        let is_deleted = self.transact(deletes.chain(gone)).await?.is_ok();
        if let Some(kept) = read.kept.as_deref().filter(|_| is_deleted) {
            // What is not done now is done by a sweep.
            while let Ok(true) = self.forget(kept).await {}
        }
        Ok(is_deleted)
    }

    /// Deletes some of what an execution has kept that is gone; whether there may be more. What tells of it goes last.
    async fn forget(&self, kept: &str) -> Done<bool> {
        if self.checkpoints.delete_some(kept).await? {
            return Ok(true);
        }
        let delete = self.client.delete_item().table_name(&*self.table).key("pk", item::gone_pk(kept));
        delete.send().await.map_err(writing)?;
        Ok(false)
    }
}

/// What is read of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    Whole,
    /// What a change depends on: no rule looks at checkpoints.
    ToChange,
}

/// How putting a new item went.
enum Placed {
    Done,
    Existing(Box<Read>),
    /// Somebody was in the way who has gone.
    Again,
}

/// A part of an index, in its order.
struct Query<'a> {
    index: Index,
    of: &'a str,
    from: String,
    to: String,
    limit: usize,
    newest_first: bool,
}

fn is_condition(reason: &CancellationReason) -> bool {
    reason.code() == Some("ConditionalCheckFailed")
}

/// Applies a write to what was read; the answer is what `answer` makes of that.
fn apply<T>(
    write: &Write,
    execution: Option<&mut Execution>,
    now: Timestamp,
    answer: impl FnOnce(&Execution) -> T,
) -> Outcome<Result<T, Refusal>> {
    let Some(execution) = execution else { return Outcome::unchanged(Err(Refusal::NotFound)) };
    match write.apply(execution, now.max(execution.updated_at)) {
        Ok(applied) => Outcome { answer: Ok(answer(execution)), applied, kept: Checkpoint::of(&write.command) },
        Err(refusal) => Outcome::unchanged(Err(refusal)),
    }
}

impl fmt::Debug for DynamoStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DynamoStore").field("table", &self.table).finish_non_exhaustive()
    }
}

impl ExecutionStore for DynamoStore {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: NAME,
            consistent_list: false,
            survives: Survives::PowerLoss,
            value_len_bytes_max: Some(VALUE_LEN_BYTES_MAX as u64),
        }
    }

    async fn create(&self, new: Vec<Create>) -> Result<Vec<Created>, StoreError> {
        let mut written = Written::Nothing;
        let created = self.create_all(&new, &mut written).await;
        created.map_err(|problem| problem.into_store("create executions", written))
    }

    async fn find_by_id(&self, id: &ExecutionId) -> Result<Option<Execution>, StoreError> {
        let found = self.find(*id, Depth::Whole).await;
        let found = found.and_then(|read| read.map(|read| read.execution.map_err(Problem::corrupt)).transpose());
        found.map_err(|problem| problem.into_store("read an execution", Written::Nothing))
    }

    async fn find_by_idempotency_key(&self, key: &str) -> Result<Option<Execution>, StoreError> {
        let found = self.find_by_key(key).await;
        let found = found.and_then(|read| read.map(|read| read.execution.map_err(Problem::corrupt)).transpose());
        found.map_err(|problem| problem.into_store("read an execution", Written::Nothing))
    }

    async fn update(&self, writes: Vec<Write>) -> Result<Vec<Result<Execution, Refusal>>, StoreError> {
        let apply = |write: &Write, execution: Option<&mut Execution>, now| apply(write, execution, now, Clone::clone);
        self.change("update executions", &writes, |write| write.id, Depth::Whole, apply).await
    }

    async fn settle(&self, writes: Vec<Write>) -> Result<Vec<Result<(), Refusal>>, StoreError> {
        let apply = |write: &Write, execution: Option<&mut Execution>, now| apply(write, execution, now, |_| ());
        self.change("end attempts", &writes, |write| write.id, Depth::ToChange, apply).await
    }

    async fn list(&self, options: &ListOptions) -> Result<Page, StoreError> {
        let page = self.list_page(options).await;
        page.map_err(|problem| problem.into_store("list executions", Written::Nothing))
    }

    async fn delete(&self, id: &ExecutionId) -> Result<Result<(), Refusal>, StoreError> {
        let deleted = self.delete_one(*id).await;
        deleted.map_err(|problem| problem.into_store("delete an execution", Written::Nothing))
    }

    async fn delete_ended(
        &self,
        retention: &Retention,
        after: Option<Cursor>,
        limit: u32,
    ) -> Result<Deleted, StoreError> {
        let mut written = Written::Nothing;
        let deleted = self.delete_old(retention, after, limit, &mut written).await;
        deleted.map_err(|problem| problem.into_store("delete what has ended", written))
    }

    async fn claim(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        self.take(claim, &claim.start()).await
    }

    async fn reserve(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        self.take(claim, &claim.reservation()).await
    }

    async fn heartbeat(&self, leases: &[Lease], extend: Duration) -> Result<Vec<Beat>, StoreError> {
        let renew = |lease: &Lease, execution: Option<&mut Execution>, now: Timestamp| {
            let beat = execution.map_or(Beat::Lost, |execution| execution.renew(lease.epoch, extend, now));
            let applied = if beat == Beat::Lost { Applied::Unchanged } else { Applied::Changed };
            Outcome { answer: beat, applied, kept: None }
        };
        self.change("extend leases", leases, |lease| lease.id, Depth::ToChange, renew).await
    }

    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(Some(self.now()))
    }

    async fn sweep(&self, limit: u32) -> Result<Swept, StoreError> {
        let mut written = Written::Nothing;
        let swept = self.sweep_some(limit, &mut written).await;
        swept.map_err(|problem| problem.into_store("look for lost leases", written))
    }
}
