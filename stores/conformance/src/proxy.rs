//! A connection that fails as networks do.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{self as passing, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// It arrives.
    Fine,
    /// Requests arrive, and the connection is cut before the answer does.
    AnswersLost,
    /// Requests arrive, answers do not, and nobody says so; a connection of which an answer was kept never recovers.
    AnswersKept,
    /// Nothing arrives, and nobody says so; a connection that has seen that never recovers.
    Silent,
}

/// Where the server is.
#[derive(Debug, Clone)]
pub enum Target {
    /// At a port of this machine.
    Port(u16),
    /// At the port of this machine that this file names when somebody connects: a server that is started again may have
    /// another one.
    PortIn(PathBuf),
    /// At a socket in the file system.
    Socket(PathBuf),
}

/// Listens at a port of its own, and passes on what is sent, as the weather is.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    weather: watch::Sender<Weather>,
    cut: Arc<AtomicU32>,
    listening: JoinHandle<()>,
}

impl Proxy {
    /// In fine weather.
    ///
    /// # Errors
    ///
    /// If there is no port.
    pub async fn to(target: Target) -> io::Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let port = listener.local_addr()?.port();
        let (weather, _) = watch::channel(Weather::Fine);
        let cut = Arc::new(AtomicU32::new(0));
        let listening = tokio::spawn(listen(listener, target, weather.clone(), cut.clone()));
        Ok(Self { port, weather, cut, listening })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes what happens from now on.
    pub fn weather(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// How many connections were cut, or fell silent.
    pub fn cut(&self) -> u32 {
        self.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn listen(listener: TcpListener, target: Target, weather: watch::Sender<Weather>, cut: Arc<AtomicU32>) {
    while let Ok((client, _)) = listener.accept().await {
        let (target, weather, cut) = (target.clone(), weather.subscribe(), cut.clone());
        tokio::spawn(async move {
            // What cannot be reached is cut, too.
            let passed = match target {
                Target::Port(port) => match TcpStream::connect(("127.0.0.1", port)).await {
                    Ok(server) => pass(client, server, weather, &cut).await,
                    Err(error) => Err(error),
                },
                Target::PortIn(file) => match connect(&file).await {
                    Ok(server) => pass(client, server, weather, &cut).await,
                    Err(error) => Err(error),
                },
                Target::Socket(path) => match UnixStream::connect(path).await {
                    Ok(server) => pass(client, server, weather, &cut).await,
                    Err(error) => Err(error),
                },
            };
            drop(passed);
        });
    }
}

async fn connect(file: &Path) -> io::Result<TcpStream> {
    let port = std::fs::read_to_string(file)?.parse().map_err(io::Error::other)?;
    let address: (_, u16) = ("127.0.0.1", port);
    TcpStream::connect(address).await
}

async fn pass<S: AsyncRead + AsyncWrite + Unpin>(
    mut client: TcpStream,
    mut server: S,
    weather: watch::Receiver<Weather>,
    cut: &AtomicU32,
) -> io::Result<()> {
    let (mut request, mut answer) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let (is_request, len) = tokio::select! {
            len = client.read(&mut request) => (true, len?),
            len = server.read(&mut answer) => (false, len?),
        };
        let now = *weather.borrow();
        match (now, is_request) {
            _ if len == 0 => return Ok(()),
            (Weather::AnswersKept, false) => {
                cut.fetch_add(1, Ordering::Relaxed);
                passing::copy(&mut client, &mut server).await?;
                return Ok(());
            }
            (Weather::Silent, _) => {
                cut.fetch_add(1, Ordering::Relaxed);
                // Open for as long as the client wants.
                while client.read(&mut request).await? > 0 {}
                return Ok(());
            }
            (Weather::AnswersLost, false) => {
                cut.fetch_add(1, Ordering::Relaxed);
                return Ok(());
            }
            (_, true) => server.write_all(&request[..len]).await?,
            (Weather::Fine, false) => client.write_all(&answer[..len]).await?,
        }
    }
}
