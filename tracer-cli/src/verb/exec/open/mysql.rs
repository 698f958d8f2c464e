//! Executions in MySQL or MariaDB. The URL demands TLS as `mysql_async` has it: `require_ssl=true`.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, DriverError, Error, Opts, OptsBuilder, SslOpts};
use rustls::crypto::ring;
use tracer::execution::DynStore;
use tracer_mysql::MysqlStore;

use super::{ExecError, Trust, in_time, no_url, unreachable};
use crate::verb::exec::tls::TlsError;

pub(super) async fn open(url: &str, trust: &Trust) -> Result<DynStore, ExecError> {
    let options = with_tls(Opts::from_url(url).map_err(no_url)?, trust)?;
    let tables = in_time(async {
        let mut connection = Conn::new(options.clone()).await.map_err(not_connected)?;
        let query = "SELECT count(*) FROM information_schema.tables
            WHERE table_schema = database() AND table_name = 'tracer_executions'";
        connection.query_first::<u64, _>(query).await.map_err(unreachable)
    });
    if tables.await? != Some(1) {
        return Err(ExecError::NoTables("tracer-mysql"));
    }
    Ok(DynStore::new(MysqlStore::connect(options).await?))
}

fn not_connected(error: Error) -> ExecError {
    match error {
        Error::Driver(DriverError::NoClientSslFlagFromServer) => TlsError::Absent.into(),
        error => unreachable(error),
    }
}

/// TLS as the URL demands it, with the system's CAs instead of those that the driver brings.
fn with_tls(options: Opts, trust: &Trust) -> Result<Opts, TlsError> {
    let Some(demanded) = options.ssl_opts().cloned() else {
        trust.not_demanded()?;
        return Ok(options);
    };
    // Where there is a second provider in the program, the driver does not know which to take.
    let _ = ring::default_provider().install_default();
    let tls = match (trust, demanded.accept_invalid_certs()) {
        (Trust::File(_), true) => return Err(TlsError::NotLookedAt("verify_ca=false")),
        (Trust::Anybody, _) | (_, true) => demanded.with_danger_accept_invalid_certs(true),
        (_, false) => {
            let trusted = trust.certificates()?.into_iter().map(|certificate| certificate.to_vec().into());
            let trusting = demanded.with_root_certs(trusted.collect()).with_disable_built_in_roots(true);
            trusting.with_danger_skip_domain_validation(false)
        }
    };
    // Sockets of this machine have none; and what was reached by TLS stays there.
    let tls: Option<SslOpts> = options.socket().is_none().then_some(tls);
    Ok(OptsBuilder::from_opts(options).ssl_opts(tls).prefer_socket(false).into())
}
