//! Whose certificates are believed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::{ClientConfig, RootCertStore};

use super::TlsError;
use super::verify::AnyName;
use crate::args::Exec;

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::verb::exec) enum Trust {
    /// Those of the CAs that the system trusts.
    System,
    /// Those of the CAs in this file, and of no others.
    File(PathBuf),
    /// Everybody's: what is sent cannot be read on the way, but who reads it at its end is not known.
    Anybody,
}

/// What a certificate has to be, for those who do not believe everybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::verb::exec) enum Look {
    /// By a CA that is trusted, for whatever name.
    Issuer,
    /// Likewise, and for the name in the URL.
    IssuerAndName,
}

impl Trust {
    /// What the command line says.
    pub(in crate::verb::exec) fn of(args: &Exec) -> Self {
        match &args.ca {
            _ if args.insecure => Self::Anybody,
            Some(file) => Self::File(file.clone()),
            None => Self::System,
        }
    }

    /// The CAs that a URL names, as libpq has it: a file, or `system`. The command line goes before.
    pub(in crate::verb::exec) fn or_in(self, ca: Option<&str>) -> Self {
        match ca {
            Some(file) if self == Self::System && file != "system" => Self::File(file.into()),
            _ => self,
        }
    }

    /// Refuses what would have no effect: who names a CA relies on it.
    pub(in crate::verb::exec) fn not_demanded(&self) -> Result<(), TlsError> {
        match self {
            Self::System => Ok(()),
            Self::File(_) => Err(TlsError::NotDemanded("--ca")),
            Self::Anybody => Err(TlsError::NotDemanded("--insecure")),
        }
    }

    /// Refuses what a client with TLS of its own cannot be told.
    #[cfg(feature = "dynamodb")]
    pub(in crate::verb::exec) fn not_here(&self) -> Result<(), TlsError> {
        match self {
            Self::System => Ok(()),
            Self::File(_) => Err(TlsError::NotHere("--ca")),
            Self::Anybody => Err(TlsError::NotHere("--insecure")),
        }
    }

    /// For connections whose server shows what this believes.
    pub(in crate::verb::exec) fn config(&self, look: Look) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let verifier = self.verifier(look, &provider)?;
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("the provider knows ciphers of both versions");
        Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
    }

    fn verifier(&self, look: Look, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        let algorithms = provider.signature_verification_algorithms;
        if *self == Self::Anybody {
            return Ok(Arc::new(AnyName { issuer: None, algorithms }));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.certificates()?);
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
        let verifier = verifier.expect("there are CAs, and no lists of what they have revoked");
        Ok(match look {
            Look::IssuerAndName => verifier,
            Look::Issuer => Arc::new(AnyName { issuer: Some(verifier), algorithms }),
        })
    }

    /// The CAs that are trusted, one at least; none, if everybody is.
    pub(in crate::verb::exec) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        match self {
            Self::Anybody => Ok(Vec::new()),
            Self::File(path) => in_file(path).map_err(|source| TlsError::File { path: path.clone(), source }),
            Self::System => {
                // What cannot be read vouches for nobody.
                let read = rustls_native_certs::load_native_certs();
                let found: Vec<_> = read.certs.into_iter().filter(is_usable).collect();
                let why = || TlsError::NoneInSystem(read.errors.into_iter().next());
                if found.is_empty() { Err(why()) } else { Ok(found) }
            }
        }
    }
}

fn in_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
    let found: Vec<_> = found.into_iter().filter(is_usable).collect();
    if found.is_empty() { Err(PemError::NoItemsFound) } else { Ok(found) }
}

fn is_usable(certificate: &CertificateDer<'static>) -> bool {
    RootCertStore::empty().add(certificate.clone()).is_ok()
}
