//! A DynamoDB for tests, in a process of its own: it brings another SQLite than the workspace has, and no program may have
//! two. Writes the port at which it listens to the file `port`. With an argument, keeps its tables in that file.

use dynoxide::Database;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tables = match std::env::args().nth(1) {
        Some(file) => Database::new(&file)?,
        None => Database::memory()?,
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    std::fs::write("port", listener.local_addr()?.port().to_string())?;
    dynoxide::server::serve_on(listener, tables).await;
    Ok(())
}
