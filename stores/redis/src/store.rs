//! The store: calls become scripts.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::ConnectionLike;
use redis::{Client, RedisResult, Script, Value};
use tracer::Clock;
use tracer::execution::{
    Applied, Beat, Capabilities, Claim, Create, Created, Cursor, Deleted, Execution, ExecutionId, ExecutionStatus,
    ExecutionStore, Lease, ListOptions, Listed, Page, Parts, Refusal, Retention, StoreError, Survives, Swept,
    Timestamp, Trouble, Write, Written,
};

use crate::claimed::Claimed;
use crate::hint::{self, Listener, Said};
use crate::line::{PATIENCE, Reconnecting};
use crate::record::{Depth, RESERVED, Read, Was, hex};
use crate::row::{self, Element, value, values};
use crate::script;
use crate::trouble::{NAME, Problem, foreign};

/// The largest payload or result of an execution, and all of its checkpoints, in bytes of JSON. Redis itself takes eight times as much, but
/// does nothing else meanwhile.
pub const VALUE_LEN_BYTES_MAX: usize = 64 << 20;

/// Of the forms of what is stored. Written by the first that opens a namespace.
const VERSION: &str = "3";
/// How many executions one script may be about, and about how many bytes of them.
const CALL_LEN_MAX: usize = 500;
const CALL_LEN_BYTES_MAX: usize = 8 << 20;
/// How many executions one script looks at for a list.
const LOOKS_MAX: usize = 2000;
/// The end of the year 9999, in milliseconds: no lease is longer.
const LEASE_MS_MAX: u128 = 253_402_300_799_999;

fn lease_ms(claim: &Claim) -> u128 {
    claim.lease.as_millis().min(LEASE_MS_MAX)
}

mod change;
mod old;

use change::Outcome;

type Done<T> = Result<T, Problem>;

/// Executions in Redis. Clones share the connection.
#[derive(Clone)]
pub struct RedisStore<C = Reconnecting> {
    connection: C,
    prefix: Arc<str>,
    claimed: Arc<Claimed>,
    clock: Option<Arc<dyn Clock>>,
    survives: Survives,
    said: Arc<Said>,
    /// Only for a connection of its own making: another's may be to anything.
    listener: Option<Arc<Listener>>,
}

impl RedisStore {
    /// Connects, and makes the namespace if there is none of that name: all executions of a store have one namespace.
    ///
    /// # Errors
    ///
    /// `STORE` if the server cannot be reached or refuses, `SCHEMA` if a newer version has been here.
    pub async fn connect(client: Client, namespace: &str) -> Result<Self, StoreError> {
        let mut store = Self::with_connection(Reconnecting::new(client.clone(), PATIENCE), namespace).await?;
        store.listener = Some(Arc::new(Listener::new(client, hint::channel(&store.prefix))));
        Ok(store)
    }
}

impl<C: ConnectionLike + Clone + Send + Sync> RedisStore<C> {
    /// Whether there is a namespace of that name, of whatever version. [`connect`](RedisStore::connect) would make it.
    ///
    /// # Errors
    ///
    /// `STORE` if the server cannot be reached or refuses.
    pub async fn is_there(connection: &mut C, namespace: &str) -> Result<bool, StoreError> {
        let version = format!("{}:version", prefix(namespace)?);
        let answer = redis::cmd("EXISTS").arg(version).query_async(connection).await;
        answer.map_err(|error| Problem::Read(error).into_store("look for the namespace", Written::Nothing))
    }

    /// Uses a connection that is there already: to a cluster, or with other settings. It has to time out, and to go to those
    /// that can be written to. Workers ask for work by and by; nothing wakes them.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub async fn with_connection(connection: C, namespace: &str) -> Result<Self, StoreError> {
        let prefix = prefix(namespace)?.into();
        let (claimed, said) = Default::default();
        let mut store =
            Self { connection, prefix, claimed, clock: None, survives: Survives::Kill, said, listener: None };
        store.look_at_settings().await?;
        let failed = |problem: Problem| problem.into_store("open the namespace", Written::Nothing);
        let answer = store.call(&script::OPEN, [VERSION]).await.map_err(Problem::Write).map_err(failed)?;
        let version: String = value(answer).map_err(failed)?;
        if version != VERSION {
            return Err(foreign(format!(
                "expected version {VERSION}, found {version}: use another namespace, or another version of this program"
            )));
        }
        Ok(store)
    }

    /// Takes the time from `clock` instead of from the server: for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// What the server keeps, if it tells: many that are run by others do not.
    async fn look_at_settings(&mut self) -> Result<(), StoreError> {
        let mut ask = redis::cmd("CONFIG");
        ask.arg("GET").arg("appendonly").arg("appendfsync").arg("maxmemory-policy");
        let answer: RedisResult<HashMap<String, String>> = ask.query_async(&mut self.connection.clone()).await;
        let settings = match answer {
            Ok(settings) => settings,
            Err(error) if error.is_io_error() => {
                return Err(Problem::Read(error).into_store("open the namespace", Written::Nothing));
            }
            Err(_) => return Ok(()),
        };
        let is = |name: &str, expected: &str| settings.get(name).is_some_and(|found| found == expected);
        if is("appendonly", "yes") && is("appendfsync", "always") {
            self.survives = Survives::PowerLoss;
        }
        match settings.get("maxmemory-policy") {
            Some(policy) if policy.starts_with("allkeys") => Err(refused(format!(
                "expected maxmemory-policy noeviction, found {policy}: the server would throw executions away"
            ))),
            _ => Ok(()),
        }
    }

    async fn call<T: AsRef<[u8]>>(
        &self,
        script: &Script,
        arguments: impl IntoIterator<Item = T>,
    ) -> RedisResult<Value> {
        let mut invocation = script.prepare_invoke();
        invocation.key(&*self.prefix);
        for argument in arguments {
            invocation.arg(argument.as_ref());
        }
        invocation.invoke_async(&mut self.connection.clone()).await
    }

    /// Says that something is due, unless that was said just now.
    async fn say_due(&self) {
        if self.said.is_time() {
            let mut publish = redis::cmd("PUBLISH");
            publish.arg(hint::channel(&self.prefix)).arg("");
            // What was to be written is written: that nobody hears of it is no error.
            if publish.exec_async(&mut self.connection.clone()).await.is_err() {
                self.said.nothing();
            }
        }
    }

    /// The time for a script; nothing, so that it asks the server, unless a test says it.
    fn now(&self) -> String {
        self.clock.as_ref().map(|clock| row::ms(Timestamp::now(&**clock))).unwrap_or_default()
    }

    /// Reads some of these, at least the first: as many as are no load for the server. And says what time it is there.
    async fn read(&self, ids: &[ExecutionId], depth: Depth) -> Done<(Timestamp, Vec<Option<Read>>)> {
        let what = if depth == Depth::ToChange { "change" } else { "" };
        let head = [self.now(), CALL_LEN_BYTES_MAX.to_string(), what.to_owned()];
        let arguments = head.into_iter().chain(ids.iter().copied().map(hex));
        let answer = self.call(&script::READ, arguments).await.map_err(Problem::Read)?;
        let mut answers = values(answer, 1)?.into_iter();
        let now = time(&mut answers)?;
        let reads = ids.iter().zip(answers).map(|(id, answer)| row::read(*id, answer, depth));
        Ok((now, reads.collect::<Done<_>>()?))
    }

    async fn create_all(&self, new: &[Create], written: &mut Written) -> Done<Vec<Created>> {
        let (now, _) = self.read(&[], Depth::Whole).await?;
        let mut created: Vec<Option<Created>> = new.iter().map(|_| None).collect();
        let mut left: Vec<usize> = (0..new.len()).collect();
        while !left.is_empty() {
            let mut executions = Vec::with_capacity(left.len());
            let mut elements = Vec::with_capacity(left.len());
            for &place in &left {
                let (execution, element) = Element::new(&new[place], now)?;
                executions.push((place, execution));
                elements.push(element);
            }
            let mut executions = executions.into_iter();
            let mut unread = Vec::new();
            for chunk in chunks(elements, Element::size) {
                let bytes = CALL_LEN_BYTES_MAX.to_string().into_bytes();
                let arguments = [bytes].into_iter().chain(row::arguments(chunk));
                let answer = self.call(&script::CREATE, arguments).await.map_err(Problem::Write)?;
                for (answer, (place, execution)) in values(answer, 0)?.into_iter().zip(&mut executions) {
                    match row::pairs(values(answer, 0)?.into_iter(), Depth::Whole).next().transpose()? {
                        None => {
                            *written = Written::Unknown;
                            created[place] = Some(Created::New(execution));
                        }
                        Some((_, Some(existing))) => created[place] = Some(Created::Existing(existing.execution()?)),
                        Some((id, None)) => unread.push((place, id)),
                    }
                }
            }
            // One that somebody has deleted meanwhile is to be created.
            left = self.read_existing(unread, &mut created).await?;
        }
        let created: Vec<Created> = created.into_iter().flatten().collect();
        if created.iter().any(|created| matches!(created, Created::New(execution) if hint::is_worth(execution))) {
            self.say_due().await;
        }
        Ok(created)
    }

    /// Reads what was there before and did not fit into an answer. Gives the places of those that are gone.
    async fn read_existing(
        &self,
        mut unread: Vec<(usize, ExecutionId)>,
        created: &mut [Option<Created>],
    ) -> Done<Vec<usize>> {
        let mut gone = Vec::new();
        while !unread.is_empty() {
            let ids: Vec<ExecutionId> = unread.iter().take(CALL_LEN_MAX).map(|(_, id)| *id).collect();
            let (_, reads) = self.read(&ids, Depth::Whole).await?;
            let places: Vec<usize> = unread.drain(..reads.len()).map(|(place, _)| place).collect();
            for (place, read) in places.into_iter().zip(reads) {
                match read {
                    Some(read) => created[place] = Some(Created::Existing(read.execution()?)),
                    None => gone.push(place),
                }
            }
        }
        Ok(gone)
    }

    /// Claims what is due, with a lease that is written so.
    async fn take(&self, claim: &Claim, lease: String) -> Result<Vec<Execution>, StoreError> {
        claim.check_for(self)?;
        let (mut written, mut claimed) = (Written::Nothing, Vec::new());
        match self.claim_all(claim, &lease, &mut written, &mut claimed).await {
            // What was claimed before is not to wait for the end of its lease.
            Err(problem) if claimed.is_empty() => Err(problem.into_store("claim executions", written)),
            _ => Ok(claimed),
        }
    }

    async fn claim_all(
        &self,
        claim: &Claim,
        lease: &str,
        written: &mut Written,
        claimed: &mut Vec<Execution>,
    ) -> Done<()> {
        let mut types = claim.types.clone();
        types.sort_unstable();
        types.dedup();
        let only = claim.only.map(hex).unwrap_or_default();
        let mut left = claim.limit as usize;
        while left > 0 {
            let limit = left.min(CALL_LEN_MAX).to_string();
            let bytes = CALL_LEN_BYTES_MAX.to_string();
            let head = [self.now(), bytes, limit, lease.to_owned(), claim.worker.clone(), only.clone()];
            let arguments = head.into_iter().chain(types.iter().cloned());
            let answer = self.call(&script::CLAIM, arguments).await.map_err(Problem::Write)?;
            *written = Written::Unknown;
            let mut answers = values(answer, 1)?.into_iter();
            let has_more: i64 = value(answers.next().unwrap_or(Value::Nil))?;
            let started = self.readable(row::pairs(answers, Depth::Whole).collect::<Done<_>>()?).await?;
            left -= started.len().min(left);
            claimed.extend(started.iter().map(|(_, _, execution)| execution.clone()));
            let small = started.into_iter().filter(|(_, is_small, _)| *is_small);
            self.claimed.keep(small.map(|(was, _, execution)| (was, execution)));
            if has_more == 0 {
                break;
            }
        }
        Ok(())
    }

    /// The executions among these. Those that cannot be read are set aside, so that they keep nobody from the others; they
    /// are still found, and said to be corrupt, by their ids.
    async fn readable(&self, pairs: Vec<(ExecutionId, Option<Read>)>) -> Done<Vec<(Was, bool, Execution)>> {
        let mut executions = Vec::with_capacity(pairs.len());
        let mut aside = Vec::new();
        for (id, read) in pairs {
            match read {
                Some(Read { was, is_small, execution: Ok(execution) }) => executions.push((was, is_small, execution)),
                Some(Read { was, execution: Err(_), .. }) => aside.push((id, was.mark)),
                None => aside.push((id, Vec::new())),
            }
        }
        self.set_aside(aside).await?;
        Ok(executions)
    }

    /// Takes executions out of all that is looked through for work.
    async fn set_aside(&self, aside: Vec<(ExecutionId, Vec<u8>)>) -> Done<()> {
        if !aside.is_empty() {
            let arguments = aside.into_iter().flat_map(|(id, mark)| [hex(id).into_bytes(), mark]);
            self.call(&script::ASIDE, arguments).await.map_err(Problem::Write)?;
        }
        Ok(())
    }

    async fn sweep_some(&self, limit: u32, written: &mut Written) -> Done<Swept> {
        let mut swept = Swept::default();
        loop {
            let left = limit.saturating_sub(swept.total()).min(100);
            let arguments = [self.now(), CALL_LEN_BYTES_MAX.to_string(), left.to_string()];
            let answer = self.call(&script::SWEEP, arguments).await.map_err(Problem::Read)?;
            let mut answers = values(answer, 2)?.into_iter();
            let now = time(&mut answers)?;
            let next: String = value(answers.next().unwrap_or(Value::Nil))?;
            let due = next.parse().ok().map(|next| Timestamp::from_unix_ms(next).since(now));
            let pairs = row::pairs(answers, Depth::ToChange).collect::<Done<Vec<_>>>()?;
            if pairs.is_empty() {
                swept.next_due = due;
                return Ok(swept);
            }
            let mut changes = Vec::new();
            let mut executions = Vec::new();
            let mut aside = Vec::new();
            for (was, _, mut execution) in self.readable(pairs).await? {
                if was.is_old {
                    // It will be found again.
                    self.move_checkpoints(&execution, was, written).await?;
                    continue;
                }
                let applied = execution.sweep(now.max(execution.updated_at));
                if applied == Applied::Unchanged && execution.sweep_at().is_some_and(|at| at <= now) {
                    // The rules have no end for it.
                    aside.push((execution.id, was.mark));
                    continue;
                }
                // What has not changed is in the wrong place there; writing it puts that right.
                changes.push(Element::change(&execution, was, BTreeMap::new())?);
                executions.push((applied, execution));
            }
            self.set_aside(aside).await?;
            let mut is_due = false;
            for ((applied, execution), saved) in executions.iter().zip(self.save(changes, written).await?) {
                if saved && *applied == Applied::Changed {
                    swept.count(execution);
                    is_due |= hint::is_worth(execution);
                }
            }
            if is_due {
                self.say_due().await;
            }
        }
    }

    async fn list_page(&self, options: &ListOptions) -> Done<Page> {
        let wanted = options.page_len() + 1;
        let mut found = Vec::new();
        let (mut from, mut to) = row::range(options);
        loop {
            let statuses = options.statuses.iter().map(|status| status.as_str().to_owned());
            let head = [
                options.parent.map(hex).unwrap_or_default(),
                from.clone(),
                to.clone(),
                if options.newest_first { "REV" } else { "" }.to_owned(),
                (wanted - found.len()).to_string(),
                LOOKS_MAX.to_string(),
                CALL_LEN_BYTES_MAX.to_string(),
                options.ids.map(|(from, _)| hex(from)).unwrap_or_default(),
                options.ids.map(|(_, to)| hex(to)).unwrap_or_default(),
                options.statuses.len().to_string(),
            ];
            let arguments = head.into_iter().chain(statuses).chain(options.types.iter().cloned());
            let answer = self.call(&script::LIST, arguments).await.map_err(Problem::Read)?;
            let mut answers = values(answer, 1)?.into_iter();
            let come_to: String = value(answers.next().unwrap_or(Value::Nil))?;
            for answer in row::placed(answers, Depth::Whole) {
                let (place, read) = answer?;
                let execution = read.and_then(|read| read.execution.ok());
                found.push(execution.map_or(Listed::Unreadable(place), Listed::from));
            }
            if come_to.is_empty() {
                return Ok(options.page_in_order(found));
            }
            *(if options.newest_first { &mut to } else { &mut from }) = format!("({come_to}");
        }
    }
}

/// What all keys of a namespace begin with.
fn prefix(namespace: &str) -> Result<String, StoreError> {
    if namespace.is_empty() || namespace.contains(['{', '}']) {
        return Err(refused(format!("expected a namespace with neither `{{` nor `}}`, found `{namespace}`")));
    }
    Ok(format!("tracer:{{{namespace}}}"))
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
        Ok(applied) => Outcome { answer: Ok(answer(execution)), applied, kept: Parts::of_checkpoint(&write.command) },
        Err(refusal) => Outcome::unchanged(Err(refusal)),
    }
}

fn refused(message: String) -> StoreError {
    let (trouble, written) = (Trouble::Refused, Written::Nothing);
    StoreError { store: NAME, operation: "open the namespace", trouble, written, source: message.into() }
}

/// The first answer of a script that tells the time.
fn time(answers: &mut impl Iterator<Item = Value>) -> Done<Timestamp> {
    let now: String = value(answers.next().unwrap_or(Value::Nil))?;
    now.parse().map(Timestamp::from_unix_ms).map_err(|_| Problem::Corrupt(format!("`{now}` is no time").into()))
}

/// The execution of an answer that has one at most.
fn first(answer: Value) -> Done<Option<Read>> {
    let pair = row::pairs(values(answer, 0)?.into_iter(), Depth::Whole).next().transpose()?;
    Ok(pair.and_then(|(_, read)| read))
}

/// The elements of a batch, as many together as one script may be about; `size` is how many texts one is, and bytes.
fn chunks<T>(elements: Vec<T>, size: impl Fn(&T) -> (usize, usize)) -> Vec<Vec<T>> {
    let mut chunks: Vec<Vec<T>> = Vec::new();
    let (mut len, mut bytes) = (0, 0);
    for element in elements {
        let (more_len, more_bytes) = size(&element);
        if chunks.is_empty() || len + more_len > CALL_LEN_MAX || bytes + more_bytes > CALL_LEN_BYTES_MAX {
            chunks.push(Vec::new());
            (len, bytes) = (0, 0);
        }
        (len, bytes) = (len + more_len, bytes + more_bytes);
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(element);
        }
    }
    chunks
}

impl<C> fmt::Debug for RedisStore<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("prefix", &self.prefix)
            .field("survives", &self.survives)
            .finish_non_exhaustive()
    }
}

impl<C: ConnectionLike + Clone + Send + Sync> ExecutionStore for RedisStore<C> {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: NAME,
            consistent_list: true,
            survives: self.survives,
            value_len_bytes_max: Some(VALUE_LEN_BYTES_MAX as u64),
        }
    }

    async fn create(&self, new: Vec<Create>) -> Result<Vec<Created>, StoreError> {
        if new.is_empty() {
            return Ok(Vec::new());
        }
        let mut written = Written::Nothing;
        let created = self.create_all(&new, &mut written).await;
        created.map_err(|problem| problem.into_store("create executions", written))
    }

    async fn find_by_id(&self, id: &ExecutionId) -> Result<Option<Execution>, StoreError> {
        let find = async {
            let read = self.read(&[*id], Depth::Whole).await?.1.pop().flatten();
            read.map(Read::execution).transpose()
        };
        find.await.map_err(|problem: Problem| problem.into_store("read an execution", Written::Nothing))
    }

    async fn find_by_idempotency_key(&self, key: &str) -> Result<Option<Execution>, StoreError> {
        let find = async {
            let answer = self.call(&script::FIND, [key]).await.map_err(Problem::Read)?;
            first(answer)?.map(Read::execution).transpose()
        };
        find.await.map_err(|problem: Problem| problem.into_store("read an execution", Written::Nothing))
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
        let delete = async {
            let answer = self.call(&script::DELETE, [hex(*id), String::new()]).await.map_err(Problem::Write)?;
            Ok(match value::<i64>(answer)? {
                0 => Err(Refusal::NotFound),
                1 => Ok(()),
                _ => Err(Refusal::Transition { command: "delete", status: ExecutionStatus::Running }),
            })
        };
        delete.await.map_err(|problem: Problem| problem.into_store("delete an execution", Written::Nothing))
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
        self.take(claim, lease_ms(claim).to_string()).await
    }

    async fn reserve(&self, claim: &Claim) -> Result<Vec<Execution>, StoreError> {
        self.take(claim, format!("{RESERVED}{}", lease_ms(claim))).await
    }

    async fn heartbeat(&self, leases: &[Lease], extend: Duration) -> Result<Vec<Beat>, StoreError> {
        let renew = |lease: &Lease, execution: Option<&mut Execution>, now: Timestamp| {
            let beat = execution.map_or(Beat::Lost, |execution| execution.renew(lease.epoch, extend, now));
            let applied = if beat == Beat::Lost { Applied::Unchanged } else { Applied::Changed };
            Outcome { answer: beat, applied, kept: None }
        };
        self.change("extend leases", leases, |lease| lease.id, Depth::ToChange, renew).await
    }

    async fn sweep(&self, limit: u32) -> Result<Swept, StoreError> {
        let mut written = Written::Nothing;
        let swept = self.sweep_some(limit, &mut written).await;
        swept.map_err(|problem| problem.into_store("look for lost leases", written))
    }

    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        let read = self.read(&[], Depth::Whole).await;
        read.map(|(now, _)| Some(now)).map_err(|problem| problem.into_store("read the time", Written::Nothing))
    }

    fn wake(&self) -> impl Future<Output = ()> + Send {
        let listening = self.listener.as_ref().map(|listener| (listener, listener.subscribe()));
        async move {
            match listening {
                Some((listener, mut heard)) => {
                    listener.start();
                    // The other end is the listener's.
                    drop(heard.changed().await);
                }
                None => std::future::pending().await,
            }
        }
    }
}
