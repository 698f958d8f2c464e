//! How do I find the rows that failed in a batch job?
//!
//! Imports the orders in `data/orders.csv` on four threads. A row that is wrong is counted and left out; its branch of
//! the trace says what was wrong with it. `cargo run -p tracer-examples --example batch`

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use csv::StringRecord;
use serde::Deserialize;
use thiserror::Error;
use tracer::tree::{Span, SpanOutcome, Tree};
use tracer::{carry_fn, traced_node};

const THREADS: usize = 4;

#[derive(Deserialize)]
struct Order {
    email: String,
    article: String,
    quantity: u32,
    unit_price: f64,
    currency: String,
}

#[derive(Debug, Error)]
enum RowError {
    #[error("cannot be read")]
    Unreadable(#[source] csv::DeserializeError),
    #[error("is no row: {0}")]
    NoRow(String),
    #[error("`{0}` is no address")]
    NoAddress(String),
    #[error("there is no article `{0}`")]
    NoArticle(String),
    #[error("{quantity} at {price} is no price")]
    NoPrice { quantity: u32, price: f64 },
    #[error("no rate for `{0}`")]
    NoRate(String),
}

#[derive(Debug, Default, PartialEq)]
struct Summary {
    imported: usize,
    cents: u64,
    failed: usize,
}

#[traced_node(source = "nightly import", record(ret))]
fn import_all(text: &str) -> Result<String, csv::Error> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let header = reader.headers()?.clone();
    let rows: Vec<StringRecord> = reader.into_records().collect::<Result<_, _>>()?;

    // Each call is a branch of this trace, on whatever thread it runs.
    let import = carry_fn(|number: usize| import(number, &rows, &header));
    let next = AtomicUsize::new(0);
    let numbers = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < rows.len());
    let work = || {
        let mut sum = Summary::default();
        for number in std::iter::from_fn(numbers) {
            match import(number) {
                Ok(cents) => (sum.imported, sum.cents) = (sum.imported + 1, sum.cents + cents),
                Err(_) => sum.failed += 1,
            }
        }
        sum
    };
    let mut total = Summary::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        for part in threads.into_iter().filter_map(|thread| thread.join().ok()) {
            total.imported += part.imported;
            total.cents += part.cents;
            total.failed += part.failed;
        }
    });
    let Summary { imported, cents, failed } = total;
    Ok(format!("{imported} orders of {}.{:02} EUR, {failed} left out", cents / 100, cents % 100))
}

#[traced_node(record(number))]
fn import(number: usize, rows: &[StringRecord], header: &StringRecord) -> Result<u64, RowError> {
    let order = read(&rows[number], header)?;
    check(&order)?;
    price(&order)
}

#[traced_node]
fn read(row: &StringRecord, header: &StringRecord) -> Result<Order, RowError> {
    row.deserialize(Some(header)).map_err(|error| match error.into_kind() {
        csv::ErrorKind::Deserialize { err, .. } => RowError::Unreadable(err),
        kind => RowError::NoRow(format!("{kind:?}")),
    })
}

#[traced_node]
fn check(order: &Order) -> Result<(), RowError> {
    if !order.email.contains('@') {
        return Err(RowError::NoAddress(order.email.clone()));
    }
    match order.article.as_str() {
        "lamp" | "desk" | "chair" | "shelf" | "rug" | "mirror" | "stool" | "clock" => Ok(()),
        other => Err(RowError::NoArticle(other.to_owned())),
    }
}

#[traced_node]
fn price(order: &Order) -> Result<u64, RowError> {
    if order.currency != "EUR" {
        return Err(RowError::NoRate(order.currency.clone()));
    }
    let cents = (order.unit_price * 100.0).round();
    if cents < 1.0 || order.quantity == 0 {
        return Err(RowError::NoPrice { quantity: order.quantity, price: order.unit_price });
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number of cents, above zero")]
    let cents = cents as u64;
    Ok(cents * u64::from(order.quantity))
}

fn main() -> Result<(), Box<dyn Error>> {
    println!("{}\n", import_all(include_str!("data/orders.csv"))?);

    let trees = Tree::of(&tracer::all_traces(), &tracer::active_traces());
    let [tree] = &trees[..] else { return Err("expected one trace".into()) };
    let [job] = &tree.spans[..] else { return Err("expected one job".into()) };

    println!("rows that were left out");
    let mut rows: Vec<&Span> = job.children.iter().filter(|row| row.outcome != SpanOutcome::Ok).collect();
    // Threads take rows as they come.
    rows.sort_by_key(|row| row.arguments["number"].as_u64());
    for row in rows {
        print!("{row}");
    }

    let mut nodes: BTreeMap<&str, usize> = BTreeMap::new();
    for span in job.walk() {
        *nodes.entry(&span.node).or_default() += 1;
    }
    println!("\ncalls: {nodes:?}");
    println!("the trace is {} with {} records", tree.state, tracer::stats().total_records);
    Ok(())
}

// 192 orders of 51228.00 EUR, 8 left out
//
// rows that were left out
// import(number=22) ↑
// └─ read ✗ RowError: cannot be read: field 6: invalid digit found in string
// import(number=57) ↑
// ├─ read
// ├─ check
// └─ price ✗ RowError: 4 at -89 is no price
// import(number=76) ↑
// ├─ read
// └─ check ✗ RowError: `ines.costa(at)mail.example` is no address
// import(number=103) ↑
// ├─ read
// ├─ check
// └─ price ✗ RowError: no rate for `XXX`
// import(number=130) ↑
// └─ read ✗ RowError: cannot be read: expected field, but got end of row
// import(number=148) ↑
// ├─ read
// └─ check ✗ RowError: there is no article `lampp`
// import(number=175) ↑
// └─ read ✗ RowError: cannot be read: field 7: invalid float literal
// import(number=191) ↑
// ├─ read
// ├─ check
// └─ price ✗ RowError: 0 at 49 is no price
//
// calls: {"check": 197, "import": 200, "import_all": 1, "price": 195, "read": 200}
// the trace is ok with 1787 records
