//! Executions as rows: read, and written many at once.

use std::collections::HashMap;

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tracer::execution::{Create, Execution, ExecutionId, ListOptions, Parts, Timestamp};

use crate::trouble::{Corrupt, Problem};

pub(crate) const COLUMNS: &str = "id, body, payload, result, checkpoints";

pub(crate) fn ms(at: Timestamp) -> i64 {
    i64::try_from(at.unix_ms()).unwrap_or(i64::MAX)
}

#[expect(clippy::big_endian_bytes, reason = "in this order ids sort in PostgreSQL as they do here")]
pub(crate) fn bytes(id: ExecutionId) -> Vec<u8> {
    id.get().to_be_bytes().to_vec()
}

/// The id in the first column.
#[expect(clippy::big_endian_bytes, reason = "as it is written")]
pub(crate) fn id(row: &Row) -> Option<ExecutionId> {
    let bytes: &[u8] = row.try_get(0).ok()?;
    ExecutionId::new(u128::from_be_bytes(bytes.try_into().ok()?))
}

/// The execution in a row with [`COLUMNS`].
pub(crate) fn read(row: &Row) -> Result<Execution, Problem> {
    let id = id(row);
    let corrupt = |problem| Problem::Corrupt(Corrupt { id, problem });
    let parts = Parts::<&str> {
        body: row.try_get(1)?,
        payload: row.try_get(2)?,
        result: row.try_get(3)?,
        checkpoints: row.try_get(4)?,
    };
    let named = id.ok_or_else(|| corrupt("its id is not one".into()))?;
    parts.join(named).map_err(|error| corrupt(error.into()))
}

/// When it may be claimed, if it waits.
fn due_at(execution: &Execution) -> Option<i64> {
    execution.status.is_waiting().then(|| ms(execution.run_at))
}

/// New executions, column by column: one statement inserts all of them.
#[derive(Default)]
pub(crate) struct Inserts {
    ids: Vec<Vec<u8>>,
    types: Vec<String>,
    statuses: Vec<&'static str>,
    priorities: Vec<i16>,
    created: Vec<i64>,
    due: Vec<Option<i64>>,
    keys: Vec<Option<String>>,
    parents: Vec<Option<Vec<u8>>>,
    bodies: Vec<String>,
    payloads: Vec<Option<String>>,
}

pub(crate) const INSERT: &str = "
    INSERT INTO tracer_executions
        (id, type, status, priority, created_at, due_at, idempotency_key, parent_id, body, payload)
    SELECT * FROM unnest($1::bytea[], $2::text[], $3::text[], $4::smallint[], $5::bigint[], $6::bigint[], $7::text[],
                         $8::bytea[], $9::text[], $10::text[])
    ON CONFLICT DO NOTHING RETURNING id";

impl Inserts {
    /// In the order of keys, then ids: two batches with the same keys wait for each other in one direction only.
    pub(crate) fn new(new: &[Create], now: Timestamp) -> (Self, HashMap<ExecutionId, Execution>) {
        let mut executions: Vec<Execution> = new.iter().map(|new| new.clone().at(now)).collect();
        executions.sort_by(|a, b| (&a.idempotency_key, a.id).cmp(&(&b.idempotency_key, b.id)));
        let mut inserts = Self::default();
        for execution in &mut executions {
            let Parts { body, payload, .. } = Parts::of(execution);
            inserts.ids.push(bytes(execution.id));
            inserts.types.push(execution.type_.clone());
            inserts.statuses.push(execution.status.as_str());
            inserts.priorities.push(execution.priority);
            inserts.created.push(ms(execution.created_at));
            inserts.due.push(due_at(execution));
            inserts.keys.push(execution.idempotency_key.clone());
            inserts.parents.push(execution.parent_id.map(bytes));
            inserts.bodies.push(body);
            inserts.payloads.push(payload);
        }
        (inserts, executions.into_iter().map(|execution| (execution.id, execution)).collect())
    }

    pub(crate) fn values(&self) -> [&(dyn ToSql + Sync); 10] {
        [
            &self.ids,
            &self.types,
            &self.statuses,
            &self.priorities,
            &self.created,
            &self.due,
            &self.keys,
            &self.parents,
            &self.bodies,
            &self.payloads,
        ]
    }
}

/// Changed executions, column by column: one statement writes all of them.
#[derive(Default)]
pub(crate) struct Updates {
    ids: Vec<Vec<u8>>,
    statuses: Vec<&'static str>,
    due: Vec<Option<i64>>,
    sweep: Vec<Option<i64>>,
    bodies: Vec<String>,
    results: Vec<Option<String>>,
    checkpoints: Vec<Option<String>>,
}

pub(crate) const UPDATE: &str = "
    UPDATE tracer_executions e
    SET status = n.status, due_at = n.due_at, sweep_at = n.sweep_at, body = n.body, result = n.result,
        checkpoints = n.checkpoints
    FROM unnest($1::bytea[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[])
        AS n (id, status, due_at, sweep_at, body, result, checkpoints)
    WHERE e.id = n.id";

impl Updates {
    pub(crate) fn new<'a>(executions: impl IntoIterator<Item = &'a mut Execution>) -> Self {
        let mut updates = Self::default();
        for execution in executions {
            let Parts { body, result, checkpoints, .. } = Parts::without_payload(execution);
            updates.ids.push(bytes(execution.id));
            updates.statuses.push(execution.status.as_str());
            updates.due.push(due_at(execution));
            updates.sweep.push(execution.sweep_at().map(ms));
            updates.bodies.push(body);
            updates.results.push(result);
            updates.checkpoints.push(checkpoints);
        }
        updates
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub(crate) fn values(&self) -> [&(dyn ToSql + Sync); 7] {
        [&self.ids, &self.statuses, &self.due, &self.sweep, &self.bodies, &self.results, &self.checkpoints]
    }
}

/// The query of a list, and its values.
pub(crate) fn list(options: &ListOptions) -> (String, Vec<Box<dyn ToSql + Sync + Send>>) {
    let mut values: Vec<Box<dyn ToSql + Sync + Send>> = Vec::new();
    let mut conditions = vec!["true".to_owned()];
    let mut is = |condition: &str, value: Box<dyn ToSql + Sync + Send>| {
        values.push(value);
        conditions.push(condition.replace('?', &format!("${}", values.len())));
    };
    if !options.statuses.is_empty() {
        let statuses: Vec<&str> = options.statuses.iter().map(|status| status.as_str()).collect();
        is("status = ANY(?)", Box::new(statuses));
    }
    if !options.types.is_empty() {
        is("type = ANY(?)", Box::new(options.types.clone()));
    }
    if let Some(parent) = options.parent {
        is("parent_id = ?", Box::new(bytes(parent)));
    }
    if let Some(from) = options.created_from {
        is("created_at >= ?", Box::new(ms(from)));
    }
    if let Some(before) = options.created_before {
        is("created_at < ?", Box::new(ms(before)));
    }
    let (sign, order) = if options.newest_first { ("<", " DESC") } else { (">", "") };
    if let Some(after) = options.after {
        values.push(Box::new(ms(after.created_at())));
        values.push(Box::new(bytes(after.id())));
        let last = values.len();
        conditions.push(format!("(created_at, id) {sign} (${}, ${last})", last - 1));
    }
    let (conditions, limit) = (conditions.join(" AND "), options.page_len() + 1);
    let query = format!(
        "SELECT {COLUMNS} FROM tracer_executions WHERE {conditions} ORDER BY created_at{order}, id{order} LIMIT {limit}"
    );
    (query, values)
}
