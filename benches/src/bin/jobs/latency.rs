//! How long an idle worker takes to begin with what was created elsewhere.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tracer::execution::{Failure, NewExecution};
use tracer_benches::table::{Column, Row, Table};
use tracer_workers::{Attempt, Worker};

use crate::drain::{Manager, now, told};

/// The golden ratio: pauses that fall into all phases of a poll.
const RATIO: f64 = 0.618_033_988_749_895;

/// From before `creates` is called to the first line of the handler, of a worker with its settings as they come.
pub(crate) async fn measure(
    group: &str,
    name: &str,
    creates: &Manager,
    works: Manager,
    samples: u32,
    rows: &mut Vec<Row>,
) -> Result<(), String> {
    eprintln!("   latency: {group}, {name}");
    let (started, mut starts) = mpsc::unbounded_channel::<Instant>();
    let handle = move |_: Attempt, _: usize| {
        started.send(now()).expect("somebody waits");
        std::future::ready(Ok::<_, Failure>(()))
    };
    let running = Worker::new(works).handler("no-op", handle).start();
    let mut ms = Vec::new();
    for sample in 0..=samples {
        let phase = (f64::from(sample) * RATIO).fract();
        tokio::time::sleep(Duration::from_millis(50) + Duration::from_millis(250).mul_f64(phase)).await;
        let created = now();
        creates.create(NewExecution::new("no-op").payload(0)).await.map_err(told)?;
        let start = starts.recv().await.ok_or("the worker has ended")?;
        // The first is the one for which connections are made.
        if sample > 0 {
            ms.push(start.saturating_duration_since(created).as_secs_f64() * 1e3);
        }
    }
    running.shutdown(Duration::from_secs(10)).await;
    ms.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| ms.get(((ms.len() as f64 * share) as usize).min(ms.len() - 1)).copied();
    rows.push(Row { group: group.to_owned(), name: name.to_owned(), figures: vec![at(0.5), at(0.99)] });
    Ok(())
}

/// The table of such rows.
pub(crate) fn table(rows: Vec<Row>, samples: u32) -> Table {
    Table {
        title: "From the call that creates to the start of the handler".to_owned(),
        columns: vec![Column { heading: "p50 ms", digits: 2 }, Column { heading: "p99 ms", digits: 2 }],
        rows,
        notes: vec![format!(
            "{samples} each, one at a time; an idle worker, which asks every 250 ms unless it is woken."
        )],
    }
}
