//! How do workers on several machines share work that is in PostgreSQL?
//!
//! Two workers, each with connections of its own, as if they were on two machines, and a program that creates what they
//! do. `DATABASE_URL=postgres://user@host/database cargo run -p tracer-examples --example worker_postgres` uses that
//! database; without the variable a PostgreSQL is started, in a directory that is gone afterwards.

use std::error::Error;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_postgres::{Config, NoTls};
use tracer::execution::{ExecutionManager, Failure, NewExecution, RetryPolicy};
use tracer_postgres::PostgresStore;
use tracer_store_conformance::server::{self, Place, Server};
use tracer_workers::{Attempt, Running, Worker};

#[derive(Serialize, Deserialize)]
struct Invoice {
    number: u32,
    cents: Vec<u32>,
}

/// What is called with each invoice, on whichever machine.
fn total(attempt: &Attempt, invoice: &Invoice) -> Result<u32, Failure> {
    if invoice.number == 3 && attempt.execution().attempts == 1 {
        return Err(Failure::new("the exchange rates are not there yet").code("NO_RATES").retryable(true));
    }
    Ok(invoice.cents.iter().sum())
}

/// A machine. Its worker is told by the database that there is something to do, and asks now and then in any case.
async fn machine(config: Config, done: mpsc::Sender<u32>) -> Result<Running, Box<dyn Error>> {
    let manager = ExecutionManager::new(PostgresStore::connect(config, NoTls).await?);
    let handle = move |attempt: Attempt, invoice: Invoice| {
        let done = done.clone();
        async move {
            let number = invoice.number;
            let total = total(&attempt, &invoice)?;
            // Nobody listens any more once all are done.
            let _gone = done.send(number).await;
            Ok::<_, Failure>(total)
        }
    };
    Ok(Worker::new(manager).handler("invoice", handle).concurrency(4).start())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (config, _server) = if let Ok(url) = std::env::var("DATABASE_URL") {
        (url.parse()?, None)
    } else {
        let (config, server) = own_server().await;
        (config, Some(server))
    };
    let (sender, mut done) = mpsc::channel(8);
    let machines = [machine(config.clone(), sender.clone()).await?, machine(config.clone(), sender).await?];

    let manager = ExecutionManager::new(PostgresStore::connect(config, NoTls).await?);
    let retry = RetryPolicy::new(Duration::from_millis(50), Duration::from_secs(1));
    let invoice = |number| Invoice { number, cents: (1..=number).map(|item| item * 100).collect() };
    let new = |number| NewExecution::new("invoice").payload(invoice(number)).max_attempts(3).retry(retry);
    let created = manager.create_all((1..=6).map(new).collect::<Vec<_>>()).await?;

    for _ in &created {
        done.recv().await.ok_or("the machines are gone")?;
    }
    for machine in machines {
        machine.shutdown(Duration::from_secs(10)).await;
    }
    for execution in created {
        let execution = manager.get(&execution?.id).await?;
        let total = execution.result.unwrap_or_default();
        println!(
            "invoice {}: {}, {total} cents, attempts: {}",
            execution.payload["number"], execution.status, execution.attempts
        );
        // The database may be somebody's: nothing is left in it but the tables.
        manager.delete(&execution.id).await?;
    }
    Ok(())
}

/// A PostgreSQL as the tests have it: on a socket in a directory, until this program ends.
async fn own_server() -> (Config, Server) {
    let server = server::postgres(Place::new(), &[]);
    let mut config = Config::new();
    config.host_path(server.path()).user("postgres").dbname("postgres");
    while config.connect(NoTls).await.is_err() {
        server.must_run();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (config, server)
}

// invoice 1: completed, 100 cents, attempts: 1
// invoice 2: completed, 300 cents, attempts: 1
// invoice 3: completed, 600 cents, attempts: 2
// invoice 4: completed, 1000 cents, attempts: 1
// invoice 5: completed, 1500 cents, attempts: 1
// invoice 6: completed, 2100 cents, attempts: 1
