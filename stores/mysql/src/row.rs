//! Executions as rows: read, and written many at once.

use mysql_async::prelude::FromValue;
use mysql_async::{Row, Value};
use tracer::execution::{Cursor, Execution, ExecutionId, ListOptions, Listed, Parts, Timestamp};

use crate::trouble::Problem;

/// What [`read`] reads of a whole execution, where nothing is locked.
pub(crate) const COLUMNS: &str = "id, body, payload, result, IF(kept_len > 0, (
        SELECT CONCAT('{', GROUP_CONCAT(CONCAT(c.name, ':', c.value) SEPARATOR ','), '}')
        FROM tracer_checkpoints c WHERE c.id = e.id
    ), NULL), kept_len";
/// The same of what is locked, without the checkpoints: what a statement sees of another table may be older than its locks.
pub(crate) const LOCKED: &str = "id, body, payload, result, NULL, kept_len";
/// The same of what a change depends on: no rule looks at the payload or the checkpoints.
pub(crate) const TO_CHANGE: &str = "id, body, NULL, result, NULL, kept_len";

/// How many rows one statement writes. Few sizes, so that few statements are prepared.
const SIZES: [usize; 3] = [100, 10, 1];

pub(crate) fn ms(at: Timestamp) -> i64 {
    i64::try_from(at.unix_ms()).unwrap_or(i64::MAX)
}

pub(crate) fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(u64::try_from(ms).unwrap_or(0))
}

#[expect(clippy::big_endian_bytes, reason = "in this order ids sort in MySQL as they do here")]
pub(crate) fn bytes(id: ExecutionId) -> Vec<u8> {
    id.get().to_be_bytes().to_vec()
}

/// An execution, and how many bytes of checkpoints it has, whether they were read or not.
pub(crate) struct Found {
    pub(crate) execution: Execution,
    pub(crate) kept_len: u64,
}

/// The execution in a row that begins with [`COLUMNS`].
pub(crate) fn read(mut row: Row) -> Result<Found, Problem> {
    let id = id(&row).ok_or_else(|| Problem::Corrupt("the id of a row is none".into()))?;
    let body: Vec<u8> = column(&mut row, 1)?;
    let mut text = |at| column::<Option<Vec<u8>>>(&mut row, at);
    let (payload, result, checkpoints) = (text(2)?, text(3)?, text(4)?);
    let execution = Parts { body, payload, result, checkpoints }.join(id);
    let execution = execution.map_err(|error| Problem::Corrupt(error.into()))?;
    Ok(Found { execution, kept_len: column(&mut row, 5)? })
}

pub(crate) fn execution(row: Row) -> Result<Execution, Problem> {
    Ok(read(row)?.execution)
}

/// What is in a row of [`list`].
pub(crate) fn listed(row: Row) -> Result<Listed, Problem> {
    let place = id(&row).zip(row.get_opt(6).and_then(Result::ok));
    match (read(row), place) {
        (Ok(found), _) => Ok(found.execution.into()),
        (Err(Problem::Corrupt(_)), Some((id, created_at))) => {
            Ok(Listed::Unreadable(Cursor::new(timestamp(created_at), id)))
        }
        (Err(problem), _) => Err(problem),
    }
}

pub(crate) fn column<T: FromValue>(row: &mut Row, at: usize) -> Result<T, Problem> {
    let value = row.take_opt(at).ok_or_else(|| Problem::Corrupt(format!("a row has no column {at}").into()))?;
    value.map_err(|error| Problem::Corrupt(error.into()))
}

/// The id of a row, if it is one.
pub(crate) fn id(row: &Row) -> Option<ExecutionId> {
    let bytes: Vec<u8> = row.get_opt(0)?.ok()?;
    bytes.try_into().ok().map(u128::from_be_bytes).and_then(ExecutionId::new)
}

/// The id of a row, whatever it is.
pub(crate) fn raw_id(row: &Row) -> Value {
    row.as_ref(0).cloned().unwrap_or(Value::NULL)
}

/// The values of one row.
pub(crate) type Values = Vec<Value>;

/// When it may be claimed, if it waits.
fn due_at(execution: &Execution) -> Option<i64> {
    execution.status.is_waiting().then(|| ms(execution.run_at))
}

fn due_type(execution: &Execution) -> Option<&str> {
    execution.status.is_waiting().then_some(&*execution.type_)
}

/// The values of a new row, for [`insert`].
pub(crate) fn new(execution: &Execution, limit: usize) -> Result<Values, Problem> {
    let Parts { body, payload, .. } = Parts::of(execution);
    check([Some(&body), payload.as_ref()], limit)?;
    Ok(vec![
        bytes(execution.id).into(),
        (&*execution.type_).into(),
        execution.status.as_str().into(),
        (-i32::from(execution.priority)).into(),
        ms(execution.created_at).into(),
        due_type(execution).into(),
        due_at(execution).into(),
        execution.idempotency_key.as_deref().into(),
        execution.parent_id.map(bytes).into(),
        body.into(),
        payload.into(),
    ])
}

/// A statement that inserts so many rows.
pub(crate) fn insert(count: usize) -> String {
    format!(
        "INSERT INTO tracer_executions
             (id, type, status, urgency, created_at, due_type, due_at, idempotency_key, parent_id, body, payload)
         VALUES {}",
        rows(count, 11)
    )
}

/// The values of a changed row, for [`update`].
pub(crate) fn changed(found: &Found, limit: usize) -> Result<Values, Problem> {
    let execution = &found.execution;
    let Parts { body, result, .. } = Parts::without_payload(execution);
    check([Some(&body), result.as_ref()], limit)?;
    Ok(vec![
        bytes(execution.id).into(),
        (&*execution.type_).into(),
        execution.status.as_str().into(),
        (-i32::from(execution.priority)).into(),
        ms(execution.created_at).into(),
        due_type(execution).into(),
        due_at(execution).into(),
        execution.sweep_at().map(ms).into(),
        body.into(),
        result.into(),
        found.kept_len.into(),
    ])
}

/// A statement that writes so many rows, which are there, and locked. Written so that the server takes each value for what
/// its column is: as a table of its own, which would be joined, bytes become texts that they are not.
pub(crate) fn update(count: usize) -> String {
    format!(
        "INSERT INTO tracer_executions
             (id, type, status, urgency, created_at, due_type, due_at, sweep_at, body, result, kept_len)
         VALUES {}
         ON DUPLICATE KEY UPDATE status = VALUES(status), due_type = VALUES(due_type), due_at = VALUES(due_at),
             sweep_at = VALUES(sweep_at), body = VALUES(body), result = VALUES(result),
             kept_len = VALUES(kept_len)",
        rows(count, 11)
    )
}

/// The values of a checkpoint, for [`keep`]; its texts are as [`Parts::of_checkpoint`] has them.
pub(crate) fn checkpoint(id: ExecutionId, name: String, value: String) -> Values {
    vec![bytes(id).into(), name.into(), value.into()]
}

/// A statement that keeps so many checkpoints.
pub(crate) fn keep(count: usize) -> String {
    let rows = rows(count, 3);
    format!("INSERT INTO tracer_checkpoints VALUES {rows} ON DUPLICATE KEY UPDATE value = VALUES(value)")
}

/// Placeholders for so many rows of so many values.
fn rows(count: usize, values: usize) -> String {
    vec![format!("({})", marks(values)); count].join(", ")
}

fn check<const N: usize>(texts: [Option<&String>; N], limit: usize) -> Result<(), Problem> {
    match texts.into_iter().flatten().map(String::len).find(|len| *len > limit) {
        Some(found) => Err(Problem::TooLarge { found, limit }),
        None => Ok(()),
    }
}

/// The rows, as many together as one statement writes: it may have so many bytes.
pub(crate) fn statements(rows: Vec<Values>, bytes: usize) -> Vec<Vec<Values>> {
    let mut statements = Vec::new();
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let mut some: Vec<Values> = Vec::new();
        let mut len = 0;
        while some.len() < SIZES[0] {
            let fits = |row: &Values| some.is_empty() || len + size(row) <= bytes;
            let Some(row) = rows.next_if(fits) else { break };
            len += size(&row);
            some.push(row);
        }
        for size in SIZES {
            while some.len() >= size {
                statements.push(some.drain(..size).collect());
            }
        }
    }
    statements
}

fn size(row: &Values) -> usize {
    let value = |value: &Value| if let Value::Bytes(bytes) = value { bytes.len() + 9 } else { 9 };
    row.iter().map(value).sum()
}

/// The query of a list, and its values.
pub(crate) fn list(options: &ListOptions) -> (String, Values) {
    let mut values = Vec::new();
    let mut conditions = vec!["TRUE".to_owned()];
    let mut is = |condition: &str, new: &mut dyn Iterator<Item = Value>| {
        values.extend(new);
        conditions.push(condition.to_owned());
    };
    if !options.statuses.is_empty() {
        let statuses = options.statuses.iter().map(|status| status.as_str().into());
        is(&format!("status IN ({})", marks(options.statuses.len())), &mut { statuses });
    }
    if !options.types.is_empty() {
        let types = options.types.iter().map(|type_| type_.as_str().into());
        is(&format!("type IN ({})", marks(options.types.len())), &mut { types });
    }
    let index = match options.parent {
        _ if options.selects_by_ids() => "PRIMARY",
        None if options.is_of_dead_letters() => "tracer_executions_dead",
        Some(_) => "tracer_executions_parent",
        None => "tracer_executions_created",
    };
    if let Some(parent) = options.parent {
        is("parent_id = ?", &mut [bytes(parent).into()].into_iter());
    }
    if let Some((from, to)) = options.ids {
        is("id BETWEEN ? AND ?", &mut [from, to].map(|id| bytes(id).into()).into_iter());
    }
    let created_at = if index == "tracer_executions_dead" { "dead_at" } else { "created_at" };
    if let Some(from) = options.created_from {
        is(&format!("{created_at} >= ?"), &mut [ms(from).into()].into_iter());
    }
    if let Some(before) = options.created_before {
        is(&format!("{created_at} < ?"), &mut [ms(before).into()].into_iter());
    }
    if created_at == "dead_at" {
        is("dead_at IS NOT NULL", &mut std::iter::empty());
    }
    let (sign, order) = if options.newest_first { ("<", " DESC") } else { (">", "") };
    if let Some(after) = options.after {
        let at: Value = ms(after.created_at()).into();
        // Not `(created_at, id) > (?, ?)`, for which no index is used.
        let condition = format!("{created_at} {sign}= ? AND ({created_at} {sign} ? OR id {sign} ?)");
        is(&condition, &mut [at.clone(), at, bytes(after.id()).into()].into_iter());
    }
    let (conditions, limit) = (conditions.join(" AND "), options.page_len() + 1);
    let query = format!(
        "SELECT {COLUMNS}, created_at FROM tracer_executions e FORCE INDEX ({index})
         WHERE {conditions} ORDER BY {created_at}{order}, id{order} LIMIT {limit}"
    );
    (query, values)
}

/// So many question marks.
pub(crate) fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}
