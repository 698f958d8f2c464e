//! Executions in Redis. `rediss://` demands TLS.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracer::execution::DynStore;
use tracer_redis::RedisStore;

use super::{ExecError, PATIENCE, Trust, in_time, no_url, unreachable};
use crate::verb::exec::tls::{Look, TlsError};

/// How long a server may take for a handshake, and then to say that it speaks without one: less than [`PATIENCE`].
const HANDSHAKE: Duration = Duration::from_secs(6);
const PING: Duration = Duration::from_secs(2);

pub(super) async fn open(url: &str, trust: &Trust) -> Result<DynStore, ExecError> {
    let (url, namespace) = url.split_once('#').ok_or(ExecError::NoNamespace)?;
    if let Some(rest) = url.strip_prefix("rediss://") {
        return open_over_tls(&format!("redis://{rest}"), namespace, trust).await;
    }
    trust.not_demanded()?;
    let client = Client::open(url).map_err(no_url)?;
    let is_there = in_time(async {
        let mut connection = client.get_multiplexed_async_connection().await.map_err(unreachable)?;
        Ok(RedisStore::is_there(&mut connection, namespace).await?)
    });
    if !is_there.await? {
        return Err(ExecError::NoSuchNamespace(namespace.to_owned()));
    }
    Ok(DynStore::new(RedisStore::connect(client, namespace).await?))
}

/// The client's own TLS says of a certificate only in words what is wrong with it.
async fn open_over_tls(url: &str, namespace: &str, trust: &Trust) -> Result<DynStore, ExecError> {
    let client = Client::open(url).map_err(no_url)?;
    let info = client.get_connection_info();
    let ConnectionAddr::Tcp(host, port) = info.addr() else { return Err(TlsError::Absent.into()) };
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    let (connection, is_there) = in_time(async {
        let stream = connect(host, *port, trust).await?;
        let connecting = MultiplexedConnection::new_with_config(info.redis_settings(), stream, config);
        let (mut connection, driver) = connecting.await.map_err(unreachable)?;
        tokio::spawn(driver);
        let is_there = RedisStore::is_there(&mut connection, namespace).await?;
        Ok((connection, is_there))
    })
    .await?;
    if !is_there {
        return Err(ExecError::NoSuchNamespace(namespace.to_owned()));
    }
    Ok(DynStore::new(RedisStore::with_connection(connection, namespace).await?))
}

async fn connect(host: &str, port: u16, trust: &Trust) -> Result<TlsStream<TcpStream>, ExecError> {
    let connector = TlsConnector::from(Arc::new(trust.config(Look::IssuerAndName)?));
    let name = ServerName::try_from(host.to_owned()).map_err(unreachable)?;
    let stream = TcpStream::connect((host, port)).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    match timeout(HANDSHAKE, connector.connect(name, stream)).await {
        Ok(connected) => connected.map_err(unreachable),
        Err(_) if speaks_without(host, port).await => Err(TlsError::Absent.into()),
        Err(_) => Err(ExecError::NoAnswer),
    }
}

/// A Redis without TLS takes a handshake for a command, and waits for the rest of it.
async fn speaks_without(host: &str, port: u16) -> bool {
    let asking = async {
        let mut stream = TcpStream::connect((host, port)).await?;
        stream.write_all(b"PING\r\n").await?;
        stream.read_u8().await
    };
    matches!(timeout(PING, asking).await, Ok(Ok(b'+' | b'-')))
}
