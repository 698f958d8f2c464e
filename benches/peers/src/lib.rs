//! Job queues of others, each a program that `jobs` talks to: a line with how many jobs comes in, a line with what they
//! cost goes out.

use std::future::Future;
use std::io::{BufRead, Write};
use std::time::Instant;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// How many jobs one call enqueues: as many as with ours.
pub const BATCH: usize = 100;

/// A queue on the PostgreSQL behind a URL.
pub trait Peer: Sized {
    /// Connects, and makes its tables.
    fn connect(url: &str) -> impl Future<Output = Self>;

    /// Enqueues so many jobs that do nothing, and works them off until the database knows that they are done.
    fn drain(&mut self, jobs: usize) -> impl Future<Output = ()>;
}

/// Obeys until nobody asks any more.
///
/// # Panics
///
/// If anything goes wrong: then there are no figures.
pub fn obey<P: Peer>() {
    let url = std::env::args().nth(1).expect("usage: peer-… URL");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("there are threads");
    let mut peer = runtime.block_on(P::connect(&url));
    say("ready");
    for line in std::io::stdin().lock().lines() {
        let jobs = line.expect("it is text").parse().expect("a number was given");
        let (cpu, wall) = (cpu_us(), now());
        runtime.block_on(peer.drain(jobs));
        say(&format!("{} {}", cpu_us() - cpu, wall.elapsed().as_micros()));
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody reads");
}

/// Of this process, all threads together.
fn cpu_us() -> i64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("it is our own");
    let us = |time: TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    us(usage.user_time()) + us(usage.system_time())
}

#[expect(clippy::disallowed_methods, reason = "a stopwatch")]
fn now() -> Instant {
    Instant::now()
}
