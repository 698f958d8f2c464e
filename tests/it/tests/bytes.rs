//! What the bounded memory really takes, as the allocator sees it: in a process of its own.

use std::alloc::System;

use cap::Cap;
use tracer::__private::{Outcome, Recorded, Site, enter, values};
use tracer::test::record_with;
use tracer::{Status, Tracer};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

static OUTER: Site = Site::new("outer", "bytes", file!(), line!());
static INNER: Site = Site::new("inner", "bytes", file!(), line!());

const BOUND: usize = 2 << 20;

fn call(site: &'static Site, recorded: Recorded, body: impl FnOnce()) {
    let mut frame = enter(site, None, recorded);
    body();
    frame.end(Outcome::ok());
}

fn value(bytes: usize) -> Recorded {
    let text = "x".repeat(bytes);
    values(&INNER, |values| values.field("text", &text))
}

/// Runs `work` with a tracer of `BOUND` and gives the most that was allocated after each round.
fn most(rounds: usize, mut work: impl FnMut(&Tracer, usize)) -> usize {
    let tracer = Tracer::builder().max_bytes(BOUND).build();
    let before = ALLOCATOR.allocated();
    let mut most = 0;
    for round in 0..rounds {
        record_with(tracer.clone(), || work(&tracer, round));
        most = most.max(ALLOCATOR.allocated().saturating_sub(before));
    }
    assert!(tracer.stats().dropped > 0, "more was made than fits");
    most
}

/// A quarter more than the bound: tables that grow by doubling, chunks kept for reuse, what an allocation rounds up.
#[track_caller]
fn kept(most: usize) {
    assert!(most < BOUND + BOUND / 4, "{most} bytes taken of {BOUND}");
    assert!(most > BOUND / 2, "{most} bytes taken of {BOUND}: no more goes than must");
}

/// All in one function: the allocator is one.
#[test]
fn the_bound_is_kept_in_bytes() {
    // Plain steps, in small traces and in one that goes on.
    kept(most(100, |_, _| (0..500).for_each(|_| call(&OUTER, Recorded::none(), || ()))));
    kept(most(3, |_, _| {
        call(&OUTER, Recorded::none(), || (0..200_000).for_each(|_| call(&INNER, Recorded::none(), || ())));
    }));
    // Values, small and as large as they may be.
    kept(most(60, |_, _| (0..100).for_each(|_| call(&INNER, value(200), || ()))));
    kept(most(60, |_, _| call(&OUTER, Recorded::none(), || (0..5).for_each(|_| call(&INNER, value(60_000), || ())))));
    // Payloads and meta of the manual API, larger yet.
    kept(most(40, |tracer, round| {
        let meta = "x".repeat(200_000);
        let ctx = tracer.create_env(&meta, "manual");
        let ctx = ctx.step("a", Status::Enter, &meta).unwrap();
        if round % 2 == 0 {
            ctx.step("a", Status::Exit, &meta).unwrap();
        }
    }));
}
