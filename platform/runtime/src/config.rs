//! Values of settings.

mod key;

use std::{fmt, str::FromStr, time::Duration};

pub use key::{WeakKey, strong_key};

/// A duration such as `250ms`, `5m` or `1h 30m`; `0` means no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|_| format!("'{text}' is not a duration: write it like 250ms, 30s, 5m"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// An invalid setting, found before anything is opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {wants}")]
pub struct ConfigError {
    /// The environment variable to correct.
    pub variable: &'static str,
    /// What the variable must be.
    pub wants: String,
}

impl ConfigError {
    pub fn new(variable: &'static str, wants: impl Into<String>) -> Self {
        Self {
            variable,
            wants: wants.into(),
        }
    }
}

/// Refuses a URL with an unescaped `/`, `?` or `#` in its login. The rest of such a password would be taken for a host,
/// port or path, and shown. The error repeats nothing of the value.
pub fn check_login(variable: &'static str, url: &str) -> Result<(), ConfigError> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.find(['/', '?', '#']) {
        Some(end) if rest[end..].contains('@') => Err(ConfigError::new(
            variable,
            "special characters in the user name and the password must be percent-encoded, and so must any other '@'",
        )),
        Some(_) | None => Ok(()),
    }
}

/// Whether the text is `host:port`, without login, path or scheme. An IPv6 address may be in brackets.
pub fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else {
        return false;
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let is_name = !host.is_empty()
        && host
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_'));
    (is_name || bare.parse::<std::net::Ipv6Addr>().is_ok()) && port.parse::<u16>().is_ok()
}

/// Whether the text is a host: a name, an address, or the directory of a socket, without login or other parts of a URL.
pub fn is_host(text: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
    let is_name = !text.is_empty() && text.chars().all(fits) && (text.starts_with('/') || !text.contains('/'));
    is_name || text.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Refuses a file without a certificate.
pub fn check_ca_file(variable: &'static str, file: impl AsRef<std::path::Path>) -> Result<(), ConfigError> {
    let text = std::fs::read(file).map_err(|error| {
        let kind = error.kind();
        ConfigError::new(variable, format!("the file with certificates cannot be read ({kind})"))
    })?;
    if String::from_utf8_lossy(&text).contains("-----BEGIN CERTIFICATE-----") {
        return Ok(());
    }
    Err(ConfigError::new(
        variable,
        "the file has no certificate in it; it must be PEM",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_and_printed_alike() {
        for text in ["250ms", "5m", "1h 30m", "0s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("0".parse(), Ok(Span(Duration::ZERO)));
        assert!("soon".parse::<Span>().unwrap_err().contains("250ms"));
    }

    #[test]
    fn an_unescaped_login_is_refused_without_repeating_it() {
        for whole in [
            "postgres://h/d",
            "postgres://u:p@h:1/d?sslmode=require",
            "postgres://u:p%2Fs@h/d",
            "postgres://u:a@b@h/d",
            "mongodb://h",
            "",
        ] {
            assert_eq!(check_login("DATABASE_URL", whole), Ok(()), "{whole}");
        }
        for torn in [
            "postgres://u:12/secret@h/d",
            "postgres://u:12?secret@h/d",
            "postgres://u:12#secret@h/d",
            "postgres://u:a@b/secret@h/d",
            "u:12/secret@h",
        ] {
            let error = check_login("DATABASE_URL", torn).unwrap_err().to_string();
            assert!(
                error.starts_with("DATABASE_URL: ") && !error.contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn only_a_host_and_a_port_are_accepted() {
        for good in ["h:1", "127.0.0.1:65535", "a-b.c_d:1", "[::1]:1", "::1:1"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for wrong in [
            "",
            "h",
            ":1",
            "h:",
            "h:x",
            "h:65536",
            "u@h:1",
            "u:p@h:1",
            "u:p:1",
            "http://h:1",
            "h:1/x",
            "a b:1",
        ] {
            assert!(!is_host_and_port(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_host_has_no_login_and_no_port() {
        for good in ["h", "127.0.0.1", "::1", "a-b.c_d", "/var/run/postgresql"] {
            assert!(is_host(good), "{good}");
        }
        for wrong in [
            "",
            "h:1",
            "u@h",
            "u:p@h",
            "u%40h",
            "postgres://h",
            "h/d",
            "h?password=p",
        ] {
            assert!(!is_host(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_file_without_a_certificate_is_refused_naming_the_variable() {
        let nothing = check_ca_file("REDIS_CA_FILE", "/nowhere/at/all")
            .unwrap_err()
            .to_string();
        assert!(
            nothing.starts_with("REDIS_CA_FILE: ") && nothing.contains("cannot be read"),
            "{nothing}"
        );
        let other = check_ca_file("REDIS_CA_FILE", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap_err();
        assert!(other.to_string().contains("has no certificate"), "{other}");
    }
}
