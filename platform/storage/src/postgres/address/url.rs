//! The parameters of a database URL.

use percent_encoding::percent_decode_str;
use runtime::config::{ConfigError, check_ca_file};
use sqlx::postgres::PgSslMode;

use super::PostgresTls;

/// Parameters that sqlx knows. sqlx logs the values of others, which may be a password under a misspelt name.
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

/// Drops unknown parameters from the URL. The flag says whether there were any.
pub(super) fn drop_unknown_parameters(url: &str) -> (String, bool) {
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

/// The mode that verifies certificates against `sslrootcert`, if the URL has that parameter.
pub(super) fn mode(variable: &'static str, url: &str, mode: PgSslMode) -> Result<PgSslMode, ConfigError> {
    let query = url.split_once('?').map(|(_, query)| query).unwrap_or_default();
    let value = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        matches!(name, "sslrootcert" | "ssl-root-cert" | "ssl-ca").then(|| decode(value))
    };
    let Some(file) = query.split('&').filter_map(value).next_back() else {
        return Ok(mode);
    };
    let tls = PostgresTls {
        mode,
        ca_file: Some(file.as_ref()),
    };
    if !tls.verifies_certificates() {
        let wants = "sets sslrootcert, but its sslmode verifies no certificate; set sslmode=verify-full";
        return Err(ConfigError::new(variable, wants));
    }
    // The value may also be a certificate itself.
    if !file.trim_start().starts_with("-----BEGIN") {
        check_ca_file(variable, &file)?;
    }
    Ok(tls.mode())
}

/// Decodes a URL value: `%2F` is a slash, `+` a space.
fn decode(value: &str) -> String {
    let value = value.replace('+', " ");
    percent_decode_str(&value).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_parameters_are_dropped() {
        let url = "postgres://u:p@h/d?sslmode=require&pasword=secret&options[a]=b";
        let known = ("postgres://u:p@h/d?sslmode=require&options[a]=b".to_owned(), true);
        assert_eq!(drop_unknown_parameters(url), known);
        assert_eq!(
            drop_unknown_parameters("postgres://h/d"),
            ("postgres://h/d".to_owned(), false)
        );
    }

    #[test]
    fn url_values_are_decoded() {
        assert_eq!(decode("%2Fa+b%2fc%"), "/a b/c%");
    }
}
