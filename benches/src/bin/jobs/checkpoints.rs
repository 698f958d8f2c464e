//! What one more checkpoint costs an execution that has kept many.

use std::time::Duration;

use tracer::execution::{Claim, Command, NewExecution};
use tracer_benches::table::{Column, Row, Table};

use crate::drain::{Manager, now, told};

/// Of how many, one after the other, the mean is taken.
const MEASURED: usize = 200;

/// As a node in a handler keeps them, of some hundred bytes each, once so many of `sizes` are there.
pub(crate) async fn measure(
    group: &str,
    manager: &Manager,
    sizes: &[usize],
    rows: &mut Vec<Row>,
) -> Result<(), String> {
    eprintln!("   checkpoints: {group}");
    manager.create(NewExecution::new("import")).await.map_err(told)?;
    let worker = "bench".to_owned();
    let claim = Claim { types: Vec::new(), only: None, limit: 1, worker, lease: Duration::from_secs(3600) };
    let claimed = manager.claim(claim).await.map_err(told)?;
    let lease = claimed.first().ok_or("nothing was claimed")?.token();
    let keep = async |row: usize| {
        let value = serde_json::json!({ "row": row, "text": "a customer, an order, or what else is in a file" });
        let command = Command::checkpoint(&format!("import/{row}"), value).map_err(|error| error.to_string())?;
        manager.under(&lease).settle(&lease.id, command).await.map_err(told)
    };
    let mut len = 0;
    let mut figures = Vec::with_capacity(sizes.len());
    for &size in sizes {
        while len < size {
            keep(len).await?;
            len += 1;
        }
        let begin = now();
        for row in len..len + MEASURED {
            keep(row).await?;
        }
        len += MEASURED;
        figures.push(Some(begin.elapsed().as_secs_f64() * 1e6 / MEASURED as f64));
    }
    let kept = manager.get(&lease.id).await.map_err(told)?.checkpoints.len();
    if kept != len {
        return Err(format!("{group}: {len} were kept, {kept} are there"));
    }
    rows.push(Row { group: group.to_owned(), name: "one more".to_owned(), figures });
    Ok(())
}

/// The table of such rows.
pub(crate) fn table(rows: Vec<Row>, columns: Vec<Column>) -> Table {
    Table {
        title: "One more checkpoint, beside so many of the same execution, in µs".to_owned(),
        columns,
        rows,
        notes: vec![format!("Means of {MEASURED}, one after the other, from the call to the answer.")],
    }
}
