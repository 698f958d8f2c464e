//! Executions in PostgreSQL.

use std::error::Error as _;

use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::{Config, Error};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracer::execution::DynStore;
use tracer_postgres::PostgresStore;

use super::sslmode::{Demanded, Mode};
use super::{ExecError, Trust, in_time, no_url, unreachable};
use crate::verb::exec::tls::{Look, TlsError};

pub(super) async fn open(url: &str, trust: Trust) -> Result<DynStore, ExecError> {
    let (url, demanded) = Demanded::of(url)?;
    let mut config: Config = url.parse().map_err(no_url)?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(no_url("it names no host"));
    }
    let tls = demand(&mut config, &demanded, trust)?;
    let has_tables = in_time(async {
        let (client, connection) = config.connect(tls.clone()).await.map_err(not_connected)?;
        tokio::spawn(connection);
        let query = "SELECT to_regclass('tracer_executions') IS NOT NULL";
        client.query_one(query, &[]).await.and_then(|row| row.try_get(0)).map_err(unreachable)
    });
    if !has_tables.await? {
        return Err(ExecError::NoTables("tracer-postgres"));
    }
    Ok(DynStore::new(PostgresStore::connect(config, tls).await?))
}

fn not_connected(error: Error) -> ExecError {
    // The driver has no other name for it.
    match error.source() {
        Some(cause) if cause.to_string() == "server does not support TLS" => TlsError::Absent.into(),
        _ => unreachable(error),
    }
}

/// Has the driver do what is demanded, and gives what does it.
fn demand(config: &mut Config, demanded: &Demanded, trust: Trust) -> Result<MakeRustlsConnect, TlsError> {
    if config.get_hosts().is_empty() {
        // The driver wants a name to look for in the certificate, which may have addresses, too.
        for address in config.get_hostaddrs().to_vec() {
            config.host(address.to_string());
        }
    }
    // As with libpq, sockets of this machine have no TLS.
    let is_local =
        config.get_hostaddrs().is_empty() && !config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(_)));
    let (mode, trust, look) = match demanded.mode {
        Mode::Require(look) => (SslMode::Require, trust.or_in(demanded.ca.as_deref()), look),
        Mode::Disable | Mode::Prefer => {
            trust.not_demanded()?;
            if demanded.ca.is_some() {
                return Err(TlsError::NotDemanded("sslrootcert"));
            }
            // Whoever could show a wrong certificate could as well say that there is no TLS.
            let mode = if demanded.mode == Mode::Prefer { SslMode::Prefer } else { SslMode::Disable };
            (mode, Trust::Anybody, Look::IssuerAndName)
        }
    };
    config.ssl_mode(if is_local { SslMode::Disable } else { mode });
    let mut tls = trust.config(look)?;
    // Without it servers refuse `sslnegotiation=direct`: documentation of PostgreSQL 17, "Protocol Flow".
    tls.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(tls))
}
