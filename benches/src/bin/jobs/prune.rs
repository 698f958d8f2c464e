//! What it costs that what ended long ago goes.

use std::time::Duration;

use tracer_benches::table::{Column, Row, Table};

use crate::drain::{Case, measured, told};
use crate::rows::{There, fill, tidied};

/// Prunes once, so many being there: all of them go if they have ended, and none if they wait.
pub(crate) async fn measure(case: &mut Case, there: There, count: usize, rows: &mut Vec<Row>) -> Result<(), String> {
    eprintln!("   prune: {} {count} {}", case.group, case.name);
    let manager = case.manager()?;
    fill(&manager, there, count).await?;
    tidied(case).await?;
    // Not what filling has cost.
    case.cost(0.0, 0.0, count)?;
    let mut deleted = 0;
    let (client, wall) = measured(async {
        deleted = manager.prune(Duration::ZERO).await?.deleted;
        Ok(())
    })
    .await?;
    let cost = case.cost(client, wall, count)?;
    let expected = if let There::Ended = there { count as u64 } else { 0 };
    if deleted != expected {
        return Err(format!("{}: {expected} were to go, {deleted} went", case.group));
    }
    let others = manager.list(Default::default()).await.map_err(told)?;
    if others.is_empty() == matches!(there, There::Waiting) {
        return Err(format!("{}: what waits went, or what has ended stayed", case.group));
    }
    let figures = vec![Some(cost.client + cost.server), Some(1e6 / cost.wall)];
    rows.push(Row { group: case.group.to_owned(), name: format!("{count} {}", case.name), figures });
    Ok(())
}

/// The table of such rows.
pub(crate) fn table(rows: Vec<Row>) -> Table {
    Table {
        title: "What ended long ago goes".to_owned(),
        columns: vec![Column { heading: "CPU µs each", digits: 1 }, Column { heading: "each second", digits: 0 }],
        rows,
        notes: vec!["One call of `prune`, without PostgreSQL's vacuum after it.".to_owned()],
    }
}
