//! The only reader of time.
//!
//! A step stores *ticks*, whatever the clock counts; they become Unix time when records are read. So writing costs
//! one reading of a counter, starting costs no calibration, and a manual clock makes a test repeat to the letter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where ticks come from and what they mean.
pub trait Clock: Send + Sync + 'static {
    /// The current tick. Never falls within one thread, nor across threads that synchronise.
    fn ticks(&self) -> u64;

    /// The Unix time of a tick of this clock, in nanoseconds. The same answer whenever it is asked.
    fn unix_ns(&self, ticks: u64) -> u64;
}

/// The machine's clock.
///
/// Reads the time stamp counter where the system itself trusts it (Linux on `x86_64` with clock source `tsc`, Linux
/// on `aarch64`), else [`std::time::Instant`]. On `wasm32-unknown-unknown`, which has neither, every tick is zero:
/// give the tracer a clock of the host's.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// A clock that stands still until it is told to move.
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// Starts at `unix`, counted from 1970.
    pub fn new(unix: Duration) -> Self {
        let clock = Self::default();
        clock.advance(unix);
        clock
    }

    /// Moves forward.
    pub fn advance(&self, by: Duration) {
        let ns = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(ns, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn ticks(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn unix_ns(&self, ticks: u64) -> u64 {
        ticks
    }
}

impl Clock for SystemClock {
    #[inline]
    fn ticks(&self) -> u64 {
        system::ticks()
    }

    fn unix_ns(&self, ticks: u64) -> u64 {
        system::unix_ns(ticks)
    }
}

/// A tracer's clock. The system's is known by its variant, so that the hot path reads the counter in line.
#[derive(Clone)]
pub(crate) enum AnyClock {
    System,
    Other(Arc<dyn Clock>),
}

/// The time stamp counter, for who knows that it is trusted.
#[inline]
pub(crate) fn counter() -> u64 {
    system::counter()
}

/// The ticks of the machine's clock.
#[cold]
pub(crate) fn system_ticks() -> u64 {
    system::ticks()
}

/// Reads a clock with as little ado as it allows.
#[derive(Clone)]
pub(crate) enum Ticks {
    /// The time stamp counter.
    Counter,
    System,
    Other(Arc<dyn Clock>),
}

impl Ticks {
    #[inline]
    pub(crate) fn now(&self) -> u64 {
        if let Self::Counter = self { system::counter() } else { self.now_otherwise() }
    }

    /// Out of line: the counter is one instruction, in the midst of every step.
    #[cold]
    #[inline(never)]
    fn now_otherwise(&self) -> u64 {
        match self {
            Self::Counter | Self::System => system::ticks(),
            Self::Other(clock) => clock.ticks(),
        }
    }
}

impl AnyClock {
    pub(crate) fn ticker(&self) -> Ticks {
        match self {
            Self::System if system::is_counter() => Ticks::Counter,
            Self::System => Ticks::System,
            Self::Other(clock) => Ticks::Other(clock.clone()),
        }
    }

    pub(crate) fn unix_ns(&self, ticks: u64) -> u64 {
        match self {
            Self::System => system::unix_ns(ticks),
            Self::Other(clock) => clock.unix_ns(ticks),
        }
    }

    /// The current tick and its Unix time, without a lock.
    pub(crate) fn now(&self) -> (u64, u64) {
        match self {
            Self::System => system::now(),
            Self::Other(clock) => {
                let ticks = clock.ticks();
                (ticks, clock.unix_ns(ticks))
            }
        }
    }
}

#[cfg(all(target_family = "wasm", target_os = "unknown"))]
mod system {
    pub(super) fn is_counter() -> bool {
        false
    }

    pub(super) fn counter() -> u64 {
        0
    }

    pub(super) fn ticks() -> u64 {
        0
    }

    pub(super) fn unix_ns(_ticks: u64) -> u64 {
        0
    }

    pub(super) fn now() -> (u64, u64) {
        (0, 0)
    }
}

#[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
mod system {
    //! Anchors pair a tick with a time. A tick between two anchors is interpolated, so the error stays at that of
    //! two clock readings (some 100 ns) however long the process runs and however the counter's rate was guessed.

    use std::sync::atomic::{AtomicU8, Ordering};
    use std::sync::{Mutex, OnceLock, PoisonError};
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    /// Whether ticks are readings of the time stamp counter.
    pub(super) fn is_counter() -> bool {
        ticks();
        COUNTER.load(Ordering::Relaxed) == TRUSTED
    }

    #[inline]
    pub(super) fn ticks() -> u64 {
        match COUNTER.load(Ordering::Relaxed) {
            TRUSTED => counter(),
            UNTRUSTED => instant_ns(),
            _ => first_ticks(),
        }
    }

    const UNKNOWN: u8 = 0;
    const TRUSTED: u8 = 1;
    const UNTRUSTED: u8 = 2;
    static COUNTER: AtomicU8 = AtomicU8::new(UNKNOWN);

    #[cold]
    fn first_ticks() -> u64 {
        let mode = if counter_is_trusted() { TRUSTED } else { UNTRUSTED };
        COUNTER.store(mode, Ordering::Relaxed);
        let first = anchors().lock().unwrap_or_else(PoisonError::into_inner)[0];
        ticks().max(first.ticks)
    }

    /// The kernel watches the counter and drops it from the clock sources when it drifts or differs by core.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    fn counter_is_trusted() -> bool {
        use std::io::Read;
        let mut source = [0; 4];
        // No more than that: every program that starts waits for it.
        std::fs::File::open("/sys/devices/system/clocksource/clocksource0/current_clocksource")
            .and_then(|mut file| file.read_exact(&mut source))
            .is_ok_and(|()| source == *b"tsc\n")
    }

    #[cfg(all(target_arch = "aarch64", target_os = "linux"))]
    fn counter_is_trusted() -> bool {
        true
    }

    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_os = "linux")))]
    fn counter_is_trusted() -> bool {
        false
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(super) fn counter() -> u64 {
        tick_counter::x86_64_tick_counter()
    }

    #[cfg(target_arch = "aarch64")]
    #[inline]
    pub(super) fn counter() -> u64 {
        tick_counter::aarch64_tick_counter()
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub(super) fn counter() -> u64 {
        instant_ns()
    }

    /// Nanoseconds since the first call, plus one: a monotonic clock in the form of a counter.
    #[expect(clippy::disallowed_methods, reason = "this module is the clock")]
    fn instant_ns() -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        let elapsed = START.get_or_init(Instant::now).elapsed();
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
    }

    #[derive(Clone, Copy)]
    struct Anchor {
        ticks: u64,
        unix_ns: u64,
    }

    /// Two clocks that are read this close to each other, in nanoseconds, say the same moment.
    const AT_ONCE_NS: u64 = 2_000;

    /// What is read, and the instant of that. Between the two the thread may have been away: then once more, some times, and
    /// those count that were closest.
    fn with_instant<T>(read: impl Fn() -> T) -> (T, u64) {
        let pair = || {
            let before = instant_ns();
            let value = read();
            let after = instant_ns();
            (after - before, value, after)
        };
        let mut closest = pair();
        for _ in 1..8 {
            if closest.0 <= AT_ONCE_NS {
                break;
            }
            let next = pair();
            if next.0 < closest.0 {
                closest = next;
            }
        }
        (closest.1, closest.2)
    }

    /// The wall clock is read once; from then on time is monotonic, whatever happens to the wall clock.
    #[expect(clippy::disallowed_methods, reason = "this module is the clock")]
    fn anchor_now() -> Anchor {
        static START: OnceLock<(u64, u64)> = OnceLock::new();
        let &(unix_ns, start) = START.get_or_init(|| {
            let (unix, instant) = with_instant(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
            (u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX), instant)
        });
        let is_counter = COUNTER.load(Ordering::Relaxed) == TRUSTED;
        let (ticks, instant) = with_instant(|| if is_counter { counter() } else { instant_ns() });
        Anchor { ticks, unix_ns: unix_ns + (instant - start) }
    }

    pub(super) fn now() -> (u64, u64) {
        ticks();
        let now = anchor_now();
        (now.ticks, now.unix_ns)
    }

    fn anchors() -> &'static Mutex<Vec<Anchor>> {
        static ANCHORS: OnceLock<Mutex<Vec<Anchor>>> = OnceLock::new();
        ANCHORS.get_or_init(|| Mutex::new(vec![anchor_now()]))
    }

    /// Past this many anchors, every other one is dropped.
    const ANCHORS_MAX: usize = 4096;

    pub(super) fn unix_ns(ticks: u64) -> u64 {
        let mut anchors = anchors().lock().unwrap_or_else(PoisonError::into_inner);
        if anchors.last().is_none_or(|last| ticks >= last.ticks || anchors.len() == 1) {
            let now = anchor_now();
            if anchors.last().is_none_or(|last| now.ticks > last.ticks && now.unix_ns > last.unix_ns) {
                if anchors.len() >= ANCHORS_MAX {
                    let mut nth = 0_usize;
                    anchors.retain(|_| {
                        nth += 1;
                        nth % 2 == 1
                    });
                }
                anchors.push(now);
            }
        }
        let after = anchors.partition_point(|anchor| anchor.ticks <= ticks).clamp(1, anchors.len().max(2) - 1);
        match (anchors.get(after - 1), anchors.get(after)) {
            (Some(a), Some(b)) => interpolate(*a, *b, ticks),
            (Some(a), None) => a.unix_ns,
            _ => 0,
        }
    }

    fn interpolate(a: Anchor, b: Anchor, ticks: u64) -> u64 {
        let along = i128::from(ticks) - i128::from(a.ticks);
        let span = i128::from(b.ticks - a.ticks).max(1);
        let ns = i128::from(a.unix_ns) + along * i128::from(b.unix_ns - a.unix_ns) / span;
        u64::try_from(ns).unwrap_or(0)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_tick_always_has_the_same_time() {
            let early = ticks();
            let first = unix_ns(early);
            let later = ticks();
            let second = unix_ns(later);
            assert!(second >= first);
            for _ in 0..100 {
                unix_ns(ticks());
            }
            assert_eq!((unix_ns(early), unix_ns(later)), (first, second));
        }

        #[test]
        fn two_clocks_between_which_the_thread_was_away_are_read_once_more() {
            let reads = std::cell::Cell::new(0);
            let (value, _) = with_instant(|| {
                reads.set(reads.get() + 1);
                let away_until = instant_ns() + if reads.get() == 1 { 10 * AT_ONCE_NS } else { 0 };
                while instant_ns() < away_until {}
                reads.get()
            });
            assert!(value > 1, "the first was not at once");
        }

        #[test]
        fn ticks_are_close_to_the_wall_clock() {
            let tick = ticks();
            #[expect(clippy::disallowed_methods, reason = "the clock is compared with it")]
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
            let error = i128::from(unix_ns(tick)) - i128::try_from(wall).unwrap();
            assert!(error.abs() < 1_000_000_000, "{error} ns off");
        }
    }
}
