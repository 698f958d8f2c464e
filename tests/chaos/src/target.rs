//! Which store, and how a process opens it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use mysql_async::OptsBuilder;
use tokio_postgres::NoTls;
use tracer::execution::{DynStore, StoreError};
use tracer_dynamodb::DynamoStore;
use tracer_mysql::MysqlStore;
use tracer_postgres::PostgresStore;
use tracer_redis::RedisStore;
use tracer_sqlite::SqliteStore;

/// The kinds of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    Sqlite,
    /// A PostgreSQL.
    Postgres,
    /// A MariaDB, or MySQL.
    Mysql,
    /// A Redis.
    Redis,
    /// A DynamoDB, as much as there is one without Amazon.
    Dynamodb,
}

/// What the database, the keys or the table is called.
pub(crate) const DATABASE: &str = "chaos";

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Sqlite, Self::Postgres, Self::Mysql, Self::Redis, Self::Dynamodb];

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Redis => "redis",
            Self::Dynamodb => "dynamodb",
        }
    }

    /// Whether its time is that of a server, whatever the clocks of workers say.
    pub const fn has_clock(self) -> bool {
        !matches!(self, Self::Sqlite)
    }

    /// By how much what callers take for its time may differ, at one moment.
    pub const fn doubt(self) -> Duration {
        match self {
            // The dates of answers say which second it is, and answers take a while.
            Self::Dynamodb => Duration::from_millis(1500),
            // Milliseconds are counted, and rounded; the rest is to spare.
            _ => Duration::from_millis(50),
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or(format!("no store `{name}`; there are {names}"))
    }
}

/// A store: its kind, and where it is, a file or a port of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What it is.
    pub kind: Kind,
    /// The path or the port.
    pub place: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.place)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, place) = text.split_once(':').ok_or("expected STORE:PLACE")?;
        Ok(Self { kind: kind.parse()?, place: place.to_owned() })
    }
}

impl Target {
    fn port(&self) -> u16 {
        self.place.parse().expect("the place of a server is a port")
    }

    /// Opens it.
    ///
    /// # Errors
    ///
    /// As the store's.
    ///
    /// # Panics
    ///
    /// If it is the place of a server that is no port.
    pub async fn open(&self) -> Result<DynStore, StoreError> {
        Ok(match self.kind {
            Kind::Sqlite => DynStore::new(SqliteStore::open(&self.place)?),
            Kind::Postgres => {
                let mut config = tokio_postgres::Config::new();
                config.host("127.0.0.1").port(self.port()).user("postgres").dbname("postgres");
                DynStore::new(PostgresStore::connect(config, NoTls).await?)
            }
            Kind::Mysql => {
                let opts = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(self.port()).user(Some("root"));
                let opts = opts.prefer_socket(false).db_name(Some(DATABASE));
                DynStore::new(MysqlStore::connect(opts).await?)
            }
            Kind::Redis => {
                let client = redis::Client::open(("127.0.0.1", self.port())).expect("it is an address");
                DynStore::new(RedisStore::connect(client, DATABASE).await?)
            }
            Kind::Dynamodb => {
                let config = aws_sdk_dynamodb::Config::builder()
                    .behavior_version(BehaviorVersion::latest())
                    .region(Region::new("eu-central-1"))
                    .credentials_provider(Credentials::new("test", "test", None, None, "test"))
                    .endpoint_url(format!("http://127.0.0.1:{}", self.port()))
                    .http_client(aws_smithy_http_client::Builder::new().build_http());
                DynStore::new(DynamoStore::open(Client::from_conf(config.build()), DATABASE).await?)
            }
        })
    }
}
