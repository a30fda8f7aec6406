//! The parameters of a URL: those that count, and what they say of certificates.

use percent_encoding::percent_decode_str;
use runtime::config::{ConfigError, check_ca_file};
use sqlx::postgres::PgSslMode;

use super::PostgresTls;

/// Those that sqlx knows. It logs what others are set to, and that may be a password under a name that was written wrong.
const KNOWN: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// The URL without the parameters that are not known, and whether there were any.
pub(super) fn known_part(url: &str) -> (String, bool) {
    let Some((place, query)) = url.split_once('?') else {
        return (url.to_owned(), false);
    };
    let is_known = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        KNOWN.contains(&name) || name.starts_with("options[")
    };
    let all: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    let known: Vec<_> = all.iter().copied().filter(is_known).collect();
    (format!("{place}?{}", known.join("&")), known.len() < all.len())
}

/// The mode with which the certificate in `sslrootcert` is looked at, where one is named.
pub(super) fn mode(variable: &'static str, url: &str, mode: PgSslMode) -> Result<PgSslMode, ConfigError> {
    let query = url.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let value = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        matches!(name, "sslrootcert" | "ssl-root-cert" | "ssl-ca").then(|| decoded(value))
    };
    let Some(file) = query.split('&').filter_map(value).next_back() else {
        return Ok(mode);
    };
    let tls = PostgresTls {
        mode,
        ca_file: Some(file.as_ref()),
    };
    if !tls.looks_at_certificates() {
        let wants = "names sslrootcert, but with its sslmode no certificate is looked at; write sslmode=verify-full";
        return Err(ConfigError::new(variable, wants));
    }
    // A certificate itself may stand there, too.
    if !file.trim_start().starts_with("-----BEGIN") {
        check_ca_file(variable, &file)?;
    }
    Ok(tls.mode())
}

/// A value of a URL as it is meant: `%2F` is a slash, `+` a blank.
fn decoded(value: &str) -> String {
    let value = value.replace('+', " ");
    percent_decode_str(&value).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_out() {
        let url = "postgres://u:p@h/d?sslmode=require&pasword=secret&options[a]=b";
        let known = ("postgres://u:p@h/d?sslmode=require&options[a]=b".to_owned(), true);
        assert_eq!(known_part(url), known);
        assert_eq!(known_part("postgres://h/d"), ("postgres://h/d".to_owned(), false));
    }

    #[test]
    fn a_value_is_read_as_it_is_meant() {
        assert_eq!(decoded("%2Fa+b%2fc%"), "/a b/c%");
    }
}
