//! Executions that are created again and again, at times that a cron expression says.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{Timestamp as Instant, Zoned};
use tracer::execution::{
    ExecutionManager, ExecutionStore, InvalidInput, NewExecution, Retention, StoreError, Timestamp, check_name,
};
use tracer::{Clock, SystemClock};

use crate::run::text_of;
use crate::worker::OnError;

/// The longest that is slept: a clock may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// How long after a failed call of the store the next one is made.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How many missed times are made up for.
const MISSED_MAX: usize = 1000;

/// What is created, and when: a cron expression of five fields, or of six with seconds first, in UTC unless said.
///
/// Any number of workers may have the same schedule: the execution of each time has the idempotency key
/// `schedule/name/time`, so there is one. The time is the store's; that of the worker where a store tells none.
///
/// ```
/// # use std::time::Duration;
/// use tracer::execution::NewExecution;
/// use tracer_workers::Schedule;
///
/// let nightly = Schedule::new("nightly-report", "30 2 * * *", |at| {
///     NewExecution::new("report").payload(serde_json::json!({ "at": at })).max_attempts(3)
/// })?
/// .zone("Europe/Berlin")?
/// .catch_up(Duration::from_secs(6 * 3600));
/// # Ok::<(), tracer_workers::InvalidSchedule>(())
/// ```
#[derive(Clone)]
pub struct Schedule {
    name: String,
    cron: Cron,
    zone: TimeZone,
    make: Arc<dyn Fn(Timestamp) -> NewExecution + Send + Sync>,
    within: Duration,
    latest_only: bool,
    /// Instead of the store's.
    clock: Option<Arc<dyn Clock>>,
}

/// A cron expression, a time zone or a name that is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSchedule(String);

impl fmt::Display for InvalidSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidSchedule {}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule")
            .field("name", &self.name)
            .field("cron", &self.cron.as_str())
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}

impl Schedule {
    /// Creates what `make` says for each time that `cron` does. Times that were missed by more than a minute are left out,
    /// and so is one at which `make` panics: [`on_error`](crate::Worker::on_error) is told.
    ///
    /// # Errors
    ///
    /// If `cron` is no cron expression, or no idempotency key can be made of `name`: it is longer than 221 bytes, or has control
    /// characters.
    pub fn new(
        name: impl Into<String>,
        cron: &str,
        make: impl Fn(Timestamp) -> NewExecution + Send + Sync + 'static,
    ) -> Result<Self, InvalidSchedule> {
        let name = name.into();
        check_name("a schedule's idempotency key", &key(&name, Timestamp::default())).map_err(|error| {
            InvalidSchedule(format!("expected a name that keys can be made of, found {name:?}: {error}"))
        })?;
        let parsed = Cron::from_str(cron);
        let cron =
            parsed.map_err(|error| InvalidSchedule(format!("expected a cron expression, found `{cron}`: {error}")))?;
        Ok(Self {
            name,
            cron,
            zone: TimeZone::UTC,
            make: Arc::new(make),
            within: Duration::from_secs(60),
            latest_only: false,
            clock: None,
        })
    }

    /// Reads the expression in a time zone, by its name in the machine's database of them.
    ///
    /// # Errors
    ///
    /// If there is none of this name.
    pub fn zone(mut self, name: &str) -> Result<Self, InvalidSchedule> {
        let zone = TimeZone::get(name);
        self.zone = zone.map_err(|error| InvalidSchedule(format!("expected a time zone, found `{name}`: {error}")))?;
        Ok(self)
    }

    /// Makes up for every time that was missed within so long, because no worker ran: up to 1000 of them, the latest.
    ///
    /// What was not missed is told by its idempotency key, which goes with the execution when that is deleted. So what has
    /// ended has to be kept for as long: a worker with a shorter [`retain`](crate::Worker::retain) does not start, and whoever
    /// prunes otherwise has to see to it. Times before the first worker had the schedule were missed, too.
    #[must_use]
    pub fn catch_up(mut self, within: Duration) -> Self {
        (self.within, self.latest_only) = (within, false);
        self
    }

    /// Makes up for the latest time that was missed within so long, and for no other.
    #[must_use]
    pub fn catch_up_latest(mut self, within: Duration) -> Self {
        (self.within, self.latest_only) = (within, true);
        self
    }

    /// Tells the time by `clock`, not by the store's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// What has ended is kept for so long.
    #[track_caller]
    pub(crate) fn check(&self, retention: Option<Retention>) {
        let Self { name, within, .. } = self;
        if let Some(kept) = retention.map(|retention| retention.shortest()).filter(|kept| kept < within) {
            panic!(
                "schedule {name:?} makes up for what was missed within {within:?}: expected what has ended to be kept for \
                 as long, found {kept:?}, after which its times would run again"
            );
        }
    }

    /// The times after `since` and not after `now` that something is to be created for, in order.
    fn due(&self, since: Timestamp, now: Timestamp) -> Vec<Timestamp> {
        let mut due = Vec::new();
        let mut before = now;
        let mut inclusive = true;
        while due.len() < MISSED_MAX {
            let Some(time) = self.previous(before, inclusive).filter(|time| *time > since) else { break };
            due.push(time);
            if self.latest_only {
                break;
            }
            (before, inclusive) = (time, false);
        }
        due.reverse();
        due
    }

    fn previous(&self, before: Timestamp, inclusive: bool) -> Option<Timestamp> {
        let found = self.cron.find_previous_occurrence(&self.zoned(before)?, inclusive).ok()?;
        Some(Timestamp::from_unix_ms(u64::try_from(found.timestamp().as_millisecond()).ok()?))
    }

    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let found = self.cron.find_next_occurrence(&self.zoned(after)?, false).ok()?;
        Some(Timestamp::from_unix_ms(u64::try_from(found.timestamp().as_millisecond()).ok()?))
    }

    fn zoned(&self, at: Timestamp) -> Option<Zoned> {
        let instant = Instant::from_millisecond(i64::try_from(at.unix_ms()).ok()?).ok()?;
        Some(instant.to_zoned(self.zone.clone()))
    }

    /// What is to be created for a time. `make` is code of the user's.
    fn make(&self, time: Timestamp) -> Result<NewExecution, InvalidInput> {
        let made = catch_unwind(AssertUnwindSafe(|| (self.make)(time)));
        let made = made.map_err(|panic| InvalidInput::Panicked {
            what: format!("what makes an execution of schedule `{}`", self.name).into(),
            message: text_of(&panic).into(),
        })?;
        Ok(made.idempotency_key(key(&self.name, time)))
    }

    /// The time by which it goes.
    async fn now<S: ExecutionStore>(&self, store: &S) -> Result<Timestamp, StoreError> {
        match &self.clock {
            Some(clock) => Ok(Timestamp::now(&**clock)),
            None => Ok(store.time().await?.unwrap_or_else(|| Timestamp::now(&SystemClock))),
        }
    }

    /// Creates what is due, for as long as it is polled.
    pub(crate) async fn run<S: ExecutionStore>(self, manager: ExecutionManager<S>, on_error: OnError) {
        let mut since = Timestamp::default();
        loop {
            let wait = match self.now(manager.store()).await {
                Ok(now) => self.create_due(&manager, &on_error, &mut since, now).await,
                Err(error) => {
                    on_error(&error.into());
                    RETRY_AFTER
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// Creates what is due after `since`, which then is the last that was created. Gives how long to wait.
    async fn create_due<S: ExecutionStore>(
        &self,
        manager: &ExecutionManager<S>,
        on_error: &OnError,
        since: &mut Timestamp,
        now: Timestamp,
    ) -> Duration {
        let within = u64::try_from(self.within.as_millis()).unwrap_or(u64::MAX);
        // What was missed long ago is not made up for, whatever kept the worker.
        *since = (*since).max(Timestamp::from_unix_ms(now.unix_ms().saturating_sub(within)));
        for time in self.due(*since, now) {
            let created = match self.make(time) {
                Ok(new) => manager.create(new).await,
                Err(panicked) => Err(panicked.into()),
            };
            match created {
                Err(error) if error.is_retryable() => {
                    on_error(&error);
                    return RETRY_AFTER;
                }
                // Another version of the program has made it otherwise, or this one cannot make it at all.
                Err(error) => on_error(&error),
                Ok(_) => {}
            }
            *since = time;
        }
        self.next(now).map_or(SLEEP_MAX, |next| next.since(now)).min(SLEEP_MAX)
    }
}

/// The idempotency key of what is created for a time.
fn key(schedule: &str, time: Timestamp) -> String {
    format!("schedule/{schedule}/{time}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(cron: &str) -> Schedule {
        Schedule::new("test", cron, |_| NewExecution::new("work")).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        format!("{text}:00.000Z").parse().unwrap()
    }

    fn due(schedule: &Schedule, since: &str, now: &str) -> Vec<String> {
        schedule.due(at(since), at(now)).iter().map(|time| time.to_string()[..16].to_owned()).collect()
    }

    #[test]
    fn times_are_those_of_the_expression_each_once() {
        let hourly = schedule("15 * * * *");
        assert_eq!(
            due(&hourly, "2026-01-01T00:00", "2026-01-01T02:15"),
            ["2026-01-01T00:15", "2026-01-01T01:15", "2026-01-01T02:15"]
        );
        assert!(due(&hourly, "2026-01-01T02:15", "2026-01-01T03:14").is_empty());
        assert_eq!(hourly.next(at("2026-01-01T02:15")), Some(at("2026-01-01T03:15")));
        let latest = hourly.catch_up_latest(Duration::from_secs(60));
        assert_eq!(due(&latest, "2026-01-01T00:00", "2026-01-01T02:15"), ["2026-01-01T02:15"]);
    }

    #[test]
    fn a_night_in_which_the_clock_is_set_has_the_time_once() {
        let nightly = schedule("30 2 * * *").zone("Europe/Berlin").unwrap();
        // 2026-03-29 has no 2:30 there, 2026-10-25 has it twice.
        assert_eq!(due(&nightly, "2026-03-27T12:00", "2026-03-30T12:00").len(), 3);
        assert_eq!(due(&nightly, "2026-10-24T12:00", "2026-10-25T12:00").len(), 1);
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        let error = Schedule::new("test", "61 * * * *", |_| NewExecution::new("work")).unwrap_err();
        assert!(error.to_string().starts_with("expected a cron expression, found `61 * * * *`: "), "{error}");
        let named = |len| Schedule::new("n".repeat(len), "* * * * *", |_| NewExecution::new("work"));
        let latest = at("9999-12-31T23:59");
        assert_eq!(key(&named(221).unwrap().name, latest).len(), 255);
        let error = named(222).unwrap_err().to_string();
        assert!(error.ends_with("expected a schedule's idempotency key of 1 to 255 bytes, found 256"), "{error}");
        let error = schedule("* * * * *").zone("Mars/Olympus").unwrap_err();
        assert!(error.to_string().starts_with("expected a time zone, found `Mars/Olympus`: "), "{error}");
    }
}
