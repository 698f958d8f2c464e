//! Whether what is there already makes the rest slower.

use tracer::execution::{Command, Write};
use tracer_benches::measure::median;
use tracer_benches::table::{Column, Row, Table};

use crate::drain::{Case, Manager, create, told};
use crate::{POSTGRES, REDIS};

/// Turns at each size.
const TURNS: usize = 7;

/// What is there before a turn.
#[derive(Clone, Copy)]
pub(crate) enum There {
    /// Executions that have ended.
    Ended,
    /// Executions that wait.
    Waiting,
}

/// With so many executions, ended or not, a Redis begins to double its tables, and goes on with that at each command.
const DOUBLES: usize = 1 << 20;
/// As many jobs as that takes: of the table of keys, of which each job has four, a bucket with each.
const DOUBLING: usize = 300_000;

/// Costs at each of these sizes; the case ends with the last.
pub(crate) async fn grow(
    case: &mut Case,
    there: There,
    sizes: &[usize],
    jobs: usize,
    rows: &mut Vec<Row>,
) -> Result<(), String> {
    // Those of the size, and all.
    let (mut len, mut made) = (0, 0);
    let mut first = None;
    for &size in sizes {
        eprintln!("   {}: {} {size}", case.group, case.name);
        if case.group == REDIS && made < DOUBLES && made + size.saturating_sub(len) > DOUBLES {
            let more = DOUBLES - made;
            fill(&case.manager()?, there, more).await?;
            len += more;
            tidied(case).await?;
            rows.push(cost(case, jobs, &mut first, format!("{len} {}, tables being doubled", case.name)).await?);
            case.turn(DOUBLING).await?;
            let done = jobs * (TURNS + 1) + DOUBLING;
            made += more + done;
            if matches!(there, There::Ended) {
                len += done;
            }
        }
        let more = size.saturating_sub(len);
        fill(&case.manager()?, there, more).await?;
        len += more;
        // Not what filling has left behind.
        tidied(case).await?;
        rows.push(cost(case, jobs, &mut first, format!("{size} {}", case.name)).await?);
        made += more + jobs * (TURNS + 1);
        if matches!(there, There::Ended) {
            len += jobs * (TURNS + 1);
        }
    }
    Ok(())
}

/// The first turn warms up.
async fn cost(case: &mut Case, jobs: usize, first: &mut Option<f64>, name: String) -> Result<Row, String> {
    case.turn(jobs).await?;
    let (mut cpu, mut wall) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let cost = case.turn(jobs).await?;
        cpu.push(cost.client + cost.server);
        wall.push(cost.wall);
    }
    let cpu = median(&mut cpu);
    let ratio = cpu / *first.get_or_insert(cpu);
    let figures = vec![Some(cpu), Some(ratio), Some(1e6 / median(&mut wall))];
    Ok(Row { group: case.group.to_owned(), name, figures })
}

pub(crate) async fn tidied(case: &Case) -> Result<(), String> {
    match (&case.server, case.group) {
        (Some(server), POSTGRES) => server.tidied_postgres().await,
        (Some(server), REDIS) => server.tidied_redis().await,
        _ => Ok(()),
    }
}

/// In large batches: that is not what is measured.
pub(crate) async fn fill(manager: &Manager, there: There, mut more: usize) -> Result<(), String> {
    const BATCH: u32 = 1000;
    while more > 0 {
        let now = more.min(BATCH as usize).next_multiple_of(crate::drain::BATCH);
        create(manager, now).await.map_err(told)?;
        if let There::Ended = there {
            let claim = tracer::execution::Claim {
                types: Vec::new(),
                only: None,
                limit: BATCH,
                worker: "fill".to_owned(),
                lease: std::time::Duration::from_secs(30),
            };
            let claimed = manager.claim(claim).await.map_err(told)?;
            let complete = |token| Write::under(token, Command::Complete { result: serde_json::Value::Null });
            let writes = claimed.iter().map(|execution| complete(execution.token())).collect();
            manager.settle(writes).await.map_err(told)?;
        }
        more = more.saturating_sub(now);
    }
    Ok(())
}

/// The table of such rows.
pub(crate) fn table(rows: Vec<Row>, jobs: usize) -> Table {
    Table {
        title: "Beside so many executions".to_owned(),
        columns: vec![
            Column { heading: "CPU µs/job", digits: 1 },
            Column { heading: "× the first", digits: 2 },
            Column { heading: "jobs/s", digits: 0 },
        ],
        rows,
        notes: vec![
            format!("Medians of {TURNS} turns with {jobs} jobs each, by calls of the store, 100 at a time."),
            "What filling leaves to do is done before: PostgreSQL's vacuum, the rewriting of Redis's log.".to_owned(),
            format!(
                "With {DOUBLES} in all Redis begins to move its tables to ones twice as large, a bit with each command, for some {DOUBLING} jobs."
            ),
        ],
    }
}
