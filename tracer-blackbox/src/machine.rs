//! What the machine says of processes: which live, when it was started, how much memory there is.
//!
//! Everything may be missing, and is then zero or `None`: a container without `/proc` is no reason not to record.

#![expect(unsafe_code, reason = "asks the system for random numbers, its threads' numbers, its raw clock")]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use tracer::{Clock, SystemClock};

/// What tells a process from all others, of this machine and, with the boot, of any.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) boot_id: [u8; 16],
    pub(crate) pid: u32,
    /// See [`start_time`]; zero if unknown.
    pub(crate) start_time: u64,
}

impl Identity {
    pub(crate) fn of_this_process() -> Self {
        let pid = std::process::id();
        Self { boot_id: boot_id(), pid, start_time: start_time(pid).unwrap_or(0) }
    }
}

/// How far the machine's clocks are ahead here of those that it has outside of any time namespace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Clocks {
    monotonic_ns: i128,
    since_boot_ns: i128,
}

impl Clocks {
    /// Of this process: no time at all, nearly everywhere.
    fn here() -> Self {
        static HERE: OnceLock<Clocks> = OnceLock::new();
        *HERE.get_or_init(|| Self::in_offsets(&text("/proc/self/timens_offsets").unwrap_or_default()))
    }

    /// A clock, seconds, nanoseconds in each line.
    fn in_offsets(offsets: &str) -> Self {
        let offset = |clock: &str| {
            let mut fields = offsets.lines().find_map(|line| line.strip_prefix(clock))?.split_ascii_whitespace();
            let (seconds, ns) = (fields.next()?.parse::<i64>().ok()?, fields.next()?.parse::<i64>().ok()?);
            Some(i128::from(seconds) * 1_000_000_000 + i128::from(ns))
        };
        Self { monotonic_ns: offset("monotonic").unwrap_or(0), since_boot_ns: offset("boottime").unwrap_or(0) }
    }

    /// How long the machine has slept, by what the clock of the time awake and that of all time since the boot show here.
    fn slept_ns(self, awake_ns: u64, all_ns: u64) -> i128 {
        (i128::from(all_ns) - self.since_boot_ns) - (i128::from(awake_ns) - self.monotonic_ns)
    }

    /// A start time in clock ticks, as it is outside.
    fn outside(self, start_time: u64) -> Option<u64> {
        u64::try_from(i128::from(start_time) - self.since_boot_ns.div_euclid(TICK_NS)).ok()
    }
}

/// Which boot of the machine this is.
pub(crate) fn boot_id() -> [u8; 16] {
    let text = text("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).map_or([0; 16], |id| {
        // As it is written, from the left.
        let mut bytes = id.to_le_bytes();
        bytes.reverse();
        bytes
    })
}

/// In which namespace the numbers of processes mean what they do here; zero if unknown.
pub(crate) fn pid_namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino())
}

/// Whether a process of that namespace has the number here that it has there, as far as that is known.
pub(crate) fn shares_pids_with(namespace: u64) -> bool {
    let here = pid_namespace();
    here == 0 || namespace == 0 || here == namespace
}

/// When a process was started, in clock ticks after boot: with its number it is one process of this boot. All who ask are
/// told the same, whatever their clocks show.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    let stat = text(&format!("/proc/{pid}/stat"))?;
    Clocks::here().outside(start_time_in(&stat)?)
}

/// Linux counts in hundredths of a second wherever it tells programs of them (`USER_HZ`).
const TICK_NS: i128 = 10_000_000;

/// What the system says in one of its small files.
fn text(path: &str) -> Option<String> {
    text_in(&mut File::open(path).ok()?)
}

fn text_in(file: &mut File) -> Option<String> {
    let mut bytes = vec![0; 4096];
    // The system gives them whole, if there is room: no second reading has to say that this was the end.
    let len = file.read(&mut bytes).ok()?;
    if len == bytes.len() {
        file.read_to_end(&mut bytes).ok()?;
    } else {
        bytes.truncate(len);
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The 22nd field. The second is a name in parentheses, which may have anything in it.
fn start_time_in(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    // A zombie has died; only its parent has not looked yet.
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The processes that live, by number and start time.
pub(crate) fn living() -> BTreeSet<(u32, u64)> {
    let Ok(directory) = fs::read_dir("/proc") else { return BTreeSet::new() };
    let numbers = directory.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers.filter_map(|pid| Some((pid, start_time(pid)?))).collect()
}

/// The number that the system knows this thread by.
pub(crate) fn thread() -> u64 {
    // SAFETY: takes nothing, and cannot fail.
    let id = unsafe { libc::gettid() };
    u64::try_from(id).unwrap_or(0)
}

/// 64 bits that nobody else has.
pub(crate) fn random() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: the pointer and the length are those of `bytes`.
    let taken = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    if taken == 8 {
        return u64::from_le_bytes(bytes);
    }
    std::hash::RandomState::new().hash_one((std::process::id(), raw_ns()))
}

/// What the cgroup of this process uses and may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct MemoryUse {
    pub(crate) used: u64,
    /// Zero: none.
    pub(crate) limit: u64,
    /// How often the kernel has killed in it for want of memory.
    pub(crate) kills: Option<u64>,
}

/// Where the cgroup keeps its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MemoryFiles {
    used: String,
    limit: String,
    events: String,
}

impl MemoryFiles {
    /// Those of the group that has a limit, else of one where kills are counted; and what they say.
    ///
    /// A program that starts waits for this: no file is read twice, and none that says nothing.
    pub(crate) fn find() -> Option<(Self, MemoryUse)> {
        let mut unlimited = None;
        for groups in Self::candidates(&text("/proc/self/cgroup").unwrap_or_default()) {
            // The first that is there.
            let found = groups.into_iter().find_map(|files| files.limit().map(|limit| (files, limit)));
            match found {
                Some((files, limit)) if limit > 0 => {
                    let read = MemoryUse { limit, ..files.read_but_limit() };
                    return Some((files, read));
                }
                Some((files, _)) if unlimited.is_none() => {
                    let kills = kills_in(&files.events);
                    unlimited = kills.is_some().then(|| (files, MemoryUse { kills, ..MemoryUse::default() }));
                }
                _ => {}
            }
        }
        unlimited
    }

    /// Where kills are counted.
    pub(crate) fn events(&self) -> &str {
        &self.events
    }

    /// Of each hierarchy, the places where the group may be.
    fn candidates(groups: &str) -> Vec<Vec<Self>> {
        let mut found = Vec::new();
        for line in groups.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            // Inside a container the path is often that of the host, and the group is mounted at the root.
            let mut paths = vec![path.trim_end_matches('/'), ""];
            // A process in the group at the root has it twice.
            paths.dedup();
            if controllers.is_empty() {
                let at = |path| Self::at(&format!("/sys/fs/cgroup{path}"), "current", "max", EVENTS_V2);
                found.push(paths.into_iter().map(at).collect());
            } else if controllers.split(',').any(|name| name == "memory") {
                let at = |path| format!("/sys/fs/cgroup/memory{path}");
                let at = |path| Self::at(&at(path), "usage_in_bytes", "limit_in_bytes", EVENTS_V1);
                found.push(paths.into_iter().map(at).collect());
            }
        }
        found
    }

    fn at(group: &str, used: &str, limit: &str, events: &str) -> Self {
        let file = |name: &str| format!("{group}/memory.{name}");
        Self { used: file(used), limit: file(limit), events: file(events) }
    }

    pub(crate) fn read(&self) -> MemoryUse {
        MemoryUse { limit: self.limit().unwrap_or(0), ..self.read_but_limit() }
    }

    fn read_but_limit(&self) -> MemoryUse {
        MemoryUse { used: number(&self.used).unwrap_or(0), limit: 0, kills: kills_in(&self.events) }
    }

    /// Zero: none. `None`: there is no such group.
    fn limit(&self) -> Option<u64> {
        let limit = text(&self.limit)?.trim().parse().unwrap_or(0);
        // More than any machine has means that there is none.
        Some(if limit < 1 << 60 { limit } else { 0 })
    }
}

fn number(path: &str) -> Option<u64> {
    text(path)?.trim().parse().ok()
}

fn kills_in(events: &str) -> Option<u64> {
    let events = text(events)?;
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// How often the system has killed for want of memory, where a process said that this is counted for it. `None`: there is
/// no such place any more, or another at the same path.
///
/// The path is from a file that anybody may have written: nothing else than such counts is looked at.
pub(crate) fn kills_at(events: &str, inode_then: u64) -> Option<u64> {
    let is_same = is_count_of_kills(events) && inode(events) == Some(inode_then);
    if is_same { kills_in(events) } else { None }
}

fn is_count_of_kills(path: &str) -> bool {
    let is_inside = path.starts_with("/sys/fs/cgroup/") && !path.split('/').any(|part| part == "..");
    is_inside && [EVENTS_V1, EVENTS_V2].iter().any(|name| path.ends_with(&format!("/memory.{name}")))
}

/// The number of a file. Of groups, the system gives each once while it runs.
pub(crate) fn inode(path: &str) -> Option<u64> {
    fs::metadata(path).ok().map(|file| file.ino())
}

const EVENTS_V1: &str = "oom_control";
const EVENTS_V2: &str = "events";

/// The machine's counter and its raw clock in nanoseconds, at the same time. Nobody sets or slews that one, so their rate is
/// the same as long as the machine runs, and the same in every time namespace.
pub(crate) fn raw_pair() -> Option<(u64, u64)> {
    // The closest of some: in between, anything may happen.
    let tries = (0..32).map(|_| {
        let before = SystemClock.ticks();
        let raw_ns = raw_ns();
        let took = SystemClock.ticks().saturating_sub(before);
        (took, before + took / 2, raw_ns)
    });
    let (_, ticks, raw_ns) = tries.min()?;
    let raw_ns = i128::from(raw_ns?) - Clocks::here().monotonic_ns;
    Some((ticks, u64::try_from(raw_ns).ok()?))
}

fn raw_ns() -> Option<u64> {
    clock_ns(libc::CLOCK_MONOTONIC_RAW)
}

fn clock_ns(clock: libc::clockid_t) -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the time to where it is told, which is a time.
    let done = unsafe { libc::clock_gettime(clock, &raw mut time) };
    let ns = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    u64::try_from(ns).ok().filter(|_| done == 0)
}

/// Whether the machine has slept since it was started. Then its counter may have run on, and the raw clock has not.
pub(crate) fn has_slept() -> bool {
    let (Some(awake), Some(all)) = (clock_ns(libc::CLOCK_MONOTONIC), clock_ns(libc::CLOCK_BOOTTIME)) else {
        return false;
    };
    Clocks::here().slept_ns(awake, all) > SLEEP_MIN_NS
}

/// More than passes between two readings of clocks, and less than anybody sleeps.
const SLEEP_MIN_NS: i128 = 100_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = "7 (a) (b c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 2 3";
        assert_eq!(start_time_in(stat), Some(4711));
        assert_eq!(start_time_in(&stat.replace(" S ", " Z ")), None);
        assert_eq!(start_time_in("7 (a"), None);
    }

    #[test]
    fn this_process_lives() {
        let pid = std::process::id();
        assert!(living().contains(&(pid, start_time(pid).unwrap())));
        assert_ne!(random(), random());
        assert_ne!(boot_id(), [0; 16]);
    }

    #[test]
    fn clocks_of_a_time_namespace_are_ahead_or_behind() {
        let offsets = "monotonic       86400     500000000\nboottime          -10             7\n";
        let clocks = Clocks { monotonic_ns: 86_400_500_000_000, since_boot_ns: -9_999_999_993 };
        assert_eq!(Clocks::in_offsets(offsets), clocks);
        assert_eq!(
            Clocks::in_offsets("monotonic           0         0\nboottime            0         0\n"),
            Clocks::default()
        );
        // A system without such namespaces has no such file.
        assert_eq!(Clocks::in_offsets(""), Clocks::default());
        assert_eq!((clocks.outside(5), Clocks::default().outside(5)), (Some(1005), Some(5)));
        assert_eq!(Clocks::default().slept_ns(5, 5), 0);
        assert_eq!(Clocks::default().slept_ns(5, 3_600_000_000_005), 3_600_000_000_000);
        assert_eq!(clocks.slept_ns(86_400_500_000_005, 10_000_000_007), 19_999_999_995);
    }

    #[test]
    fn only_counts_of_kills_are_looked_at() {
        assert!(is_count_of_kills("/sys/fs/cgroup/memory.events"));
        assert!(is_count_of_kills("/sys/fs/cgroup/memory/docker/x/memory.oom_control"));
        for elsewhere in [
            "/sys/fs/cgroup/../../etc/memory.events",
            "/sys/fs/cgroup/memory.high",
            "/home/me/memory.events",
            "memory.events",
            "",
        ] {
            assert!(!is_count_of_kills(elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn a_group_at_the_root_is_looked_at_once() {
        let found = MemoryFiles::candidates("0::/\n4:memory:/\n");
        assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn cgroups_of_both_versions_are_looked_for() {
        let found = MemoryFiles::candidates("0::/user/a\n4:cpu,memory:/docker/x\n3:cpuset:/\n");
        let used: Vec<_> = found.iter().flatten().map(|files| &*files.used).collect();
        assert_eq!(
            used,
            [
                "/sys/fs/cgroup/user/a/memory.current",
                "/sys/fs/cgroup/memory.current",
                "/sys/fs/cgroup/memory/docker/x/memory.usage_in_bytes",
                "/sys/fs/cgroup/memory/memory.usage_in_bytes",
            ]
        );
    }
}
