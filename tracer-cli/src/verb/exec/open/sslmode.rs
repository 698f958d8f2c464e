//! What the URL of a PostgreSQL says of TLS: `sslmode` and `sslrootcert`, as libpq has them.

use percent_encoding::percent_decode_str;

use crate::verb::exec::tls::{Look, TlsError};

/// What `sslmode` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Disable,
    /// TLS where the server has it.
    Prefer,
    Require(Look),
}

/// What a URL demands. The driver knows neither all of the modes nor the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Demanded {
    pub(super) mode: Mode,
    /// The file of `sslrootcert`, or `system`.
    pub(super) ca: Option<String>,
}

impl Mode {
    fn of(value: &str) -> Result<Self, TlsError> {
        Ok(match value {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" | "verify-full" => Self::Require(Look::IssuerAndName),
            "verify-ca" => Self::Require(Look::Issuer),
            other => return Err(TlsError::Mode(other.to_owned())),
        })
    }
}

impl Demanded {
    /// What a URL demands, and what is left of it for the driver. Of several, the last one counts.
    pub(super) fn of(url: &str) -> Result<(String, Self), TlsError> {
        let (mut demanded, mut rest) = (Self { mode: Mode::Prefer, ca: None }, Vec::new());
        // A user and a password may have a question mark: the driver goes by what is in front of the first `@`, too.
        let host = url.find('@').unwrap_or_default();
        let Some((host, parameters)) = url[host..].split_once('?').map(|(name, rest)| (host + name.len(), rest)) else {
            return Ok((url.to_owned(), demanded));
        };
        for parameter in parameters.split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = percent_decode_str(value).decode_utf8_lossy();
            match &*percent_decode_str(name).decode_utf8_lossy() {
                "sslmode" => demanded.mode = Mode::of(&value)?,
                "sslrootcert" => demanded.ca = Some(value.into_owned()),
                _ => rest.push(parameter),
            }
        }
        let mark = if rest.is_empty() { "" } else { "?" };
        Ok((format!("{}{mark}{}", &url[..host], rest.join("&")), demanded))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, rest: &str, mode: Mode, ca: Option<&str>) {
        let demanded = Demanded { mode, ca: ca.map(str::to_owned) };
        assert_eq!(Demanded::of(url).unwrap(), (rest.to_owned(), demanded), "{url}");
    }

    #[test]
    fn what_the_driver_does_not_know_is_taken_out() {
        let full = Mode::Require(Look::IssuerAndName);
        check("postgres://me@db/jobs", "postgres://me@db/jobs", Mode::Prefer, None);
        check("postgres://db?sslmode=disable", "postgres://db", Mode::Disable, None);
        check("postgres://db/?sslmode=verify-ca&port=1", "postgres://db/?port=1", Mode::Require(Look::Issuer), None);
        check("postgres://db?port=1&sslmode=require", "postgres://db?port=1", full, None);
        check("postgres://db?sslmode=disable&sslmode=verify%2Dfull", "postgres://db", full, None);
        let named = "postgres://db/jobs?sslrootcert=%2Fetc%2Fa%20b.pem&sslmode=require&host=%2Ftmp";
        check(named, "postgres://db/jobs?host=%2Ftmp", full, Some("/etc/a b.pem"));
    }

    #[test]
    fn what_looks_like_a_parameter_in_a_password_is_none() {
        let url = "postgres://me:a?sslmode=disable@db/jobs?sslmode=require";
        let rest = "postgres://me:a?sslmode=disable@db/jobs";
        check(url, rest, Mode::Require(Look::IssuerAndName), None);
    }

    #[test]
    fn a_mode_that_is_not_known_is_not_taken_for_another() {
        for mode in ["allow", "Require", ""] {
            let refused = Demanded::of(&format!("postgres://db?sslmode={mode}")).unwrap_err();
            assert!(matches!(&refused, TlsError::Mode(found) if found == mode), "{refused:?}");
        }
    }
}
