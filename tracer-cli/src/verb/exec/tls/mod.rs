//! TLS on the way to a database: whose certificates are believed, and why there is none.

mod trust;
mod verify;

use std::error::Error;
use std::io;
use std::iter::successors;
use std::path::PathBuf;

use rustls::{CertificateError, InvalidMessage};

use crate::exit::Exit;
use crate::output::text;
pub(super) use trust::{Look, Trust};

/// Why there is no TLS as it was asked for. Nothing but the handshake was sent, so nothing was written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("expected a server with TLS, found one without it; nothing was written")]
    Absent,
    #[error(
        "expected a certificate signed by a CA that is trusted, found one that none of them has signed; nothing was written"
    )]
    Issuer,
    #[error("expected a certificate for `{expected}`, found one for {}; nothing was written", found(.presented))]
    Name { expected: String, presented: Vec<String> },
    #[error("expected a certificate that is valid, found one that is not; nothing was written")]
    Certificate(#[source] rustls::Error),
    #[error("the TLS handshake has failed; nothing was written")]
    Handshake(#[source] rustls::Error),
    #[error("expected certificates of CAs as PEM in `{}`, found none", text::path(.path))]
    File { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("expected certificates of CAs in this system, or where SSL_CERT_FILE and SSL_CERT_DIR say, found none")]
    NoneInSystem(#[source] Option<rustls_native_certs::Error>),
    #[error("expected a URL that demands TLS beside `{0}`, found one that does not")]
    NotDemanded(&'static str),
    #[error("expected a URL that has certificates looked at beside `--ca`, found `{0}`")]
    NotLookedAt(&'static str),
    #[cfg(feature = "dynamodb")]
    #[error("expected no `{0}` beside `dynamodb://`, found it")]
    NotHere(&'static str),
    #[error("expected `sslmode` to be `disable`, `prefer`, `require`, `verify-ca` or `verify-full`, found `{0}`")]
    Mode(String),
}

impl TlsError {
    /// What the TLS of a connection has to do with an error of it, if it has.
    pub(super) fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        successors(Some(error), |&error| error.source()).find_map(of_rustls).map(Self::of)
    }

    fn of(error: &rustls::Error) -> Self {
        use rustls::Error::{InvalidCertificate, InvalidMessage as Message};
        match error {
            InvalidCertificate(CertificateError::UnknownIssuer) => Self::Issuer,
            InvalidCertificate(CertificateError::NotValidForNameContext { expected, presented }) => {
                Self::Name { expected: expected.to_str().into_owned(), presented: presented.clone() }
            }
            InvalidCertificate(_) => Self::Certificate(error.clone()),
            // It speaks, but something else.
            Message(InvalidMessage::InvalidContentType) => Self::Absent,
            _ => Self::Handshake(error.clone()),
        }
    }

    /// What to do about it.
    pub(super) fn help(&self) -> &'static str {
        match self {
            Self::Absent => "turn TLS on in the server, or do not demand it in the URL: `tracer exec --help` says how",
            Self::Issuer => "`--ca FILE` names a CA to trust, `--insecure` believes any certificate",
            Self::Name { .. } => "connect to a name that the certificate has; `--insecure` believes any certificate",
            Self::Certificate(_) => "give the server another one; `--insecure` believes any certificate",
            Self::Handshake(_) => "here TLS 1.2 and 1.3 are spoken, and no certificate of a client is shown",
            Self::File { .. } => "a certificate as PEM begins with `-----BEGIN CERTIFICATE-----`",
            Self::NoneInSystem(_) => "install them (Debian: ca-certificates), or name a CA to trust: `--ca FILE`",
            Self::NotDemanded(_) => {
                "`postgres://…?sslmode=require`, `mysql://…?require_ssl=true` and `rediss://…` demand it"
            }
            Self::NotLookedAt(_) => "leave it out, or `--ca`",
            #[cfg(feature = "dynamodb")]
            Self::NotHere(_) => "the variable SSL_CERT_FILE names CAs to trust",
            Self::Mode(_) => "`tracer exec --help` says what they do",
        }
    }

    /// How the program ends.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::NotDemanded(_) | Self::NotLookedAt(_) | Self::Mode(_) => Exit::Usage,
            #[cfg(feature = "dynamodb")]
            Self::NotHere(_) => Exit::Usage,
            _ => Exit::Unreadable,
        }
    }
}

/// An [`io::Error`] passes over what it holds when it is asked for its source.
fn of_rustls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    held.map_or_else(|| error.downcast_ref(), |held| held.downcast_ref())
}

/// The names of a certificate: of somebody's, who may have given it any number of them.
fn found(presented: &[String]) -> String {
    const LEN_MAX: usize = 200;
    let bare = |name: &String| name.strip_prefix("DnsName(\"")?.strip_suffix("\")").map(str::to_owned);
    let names: Vec<_> = presented.iter().map(|name| bare(name).unwrap_or_else(|| name.clone())).collect();
    if names.is_empty() { "no name at all".to_owned() } else { text::cut(&names.join(", "), LEN_MAX) }
}
