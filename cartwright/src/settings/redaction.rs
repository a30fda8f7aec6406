//! Redaction of values that may contain a login, in any form of address.

use std::net::IpAddr;

use runtime::config::is_host_and_port;

pub(crate) const REDACTED: &str = "(redacted)";

/// An address without its possible secrets: all up to the last `@`, all from the parameters on, and an invalid port. An
/// ambiguous address is redacted as a whole.
pub(crate) fn redact(value: &str) -> String {
    let (scheme, rest) = match value.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (format!("{scheme}://"), rest),
        Some(_) | None => (String::new(), value),
    };
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    // After one of these characters, the `@` may belong to a password among the parameters.
    let parameter_signs: &[char] = if scheme.is_empty() {
        &['?', '#', '&', ';', '=', ' ']
    } else {
        &['?', '#']
    };
    // A `%` may be an encoded `@` at the end of a login.
    if login.is_some_and(|login| login.contains(parameter_signs)) || place.contains('%') {
        return format!("{scheme}{REDACTED}");
    }
    let (place, parameters) = match place.find(['?', '#', '&', ';', '=']) {
        Some(begin) if place[begin..].starts_with('?') => (&place[..begin], format!("?{REDACTED}")),
        Some(begin) => (&place[..begin], REDACTED.to_owned()),
        None => (place, String::new()),
    };
    let hosts: Vec<_> = place.split(',').map(host).collect();
    let login = login.map(|_| format!("{REDACTED}@")).unwrap_or_default();
    format!("{scheme}{login}{}{parameters}", hosts.join(","))
}

/// Whether an error may repeat this value: a short word that cannot be a login.
pub(crate) fn is_plain(value: &str) -> bool {
    value.len() <= 40
        && value
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '+' | '_' | ' '))
}

fn is_scheme(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-' | '_'))
}

/// Redacts a host with an invalid port: a password without a host after it looks like a port.
fn host(text: &str) -> &str {
    let (authority, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    let is_address =
        !authority.contains(':') || is_host_and_port(authority.trim()) || authority.parse::<IpAddr>().is_ok();
    if is_address && !path.contains(':') {
        text
    } else {
        REDACTED
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_address_without_a_login_is_not_redacted() {
        for plain in [
            "h:1",
            "h1:9092,h2:9092",
            "[::1]:6379",
            "127.0.0.1",
            "::1",
            "SASL_SSL://h:9092",
            "mongodb://h:1/db",
            "/var/lib/shop",
            "./data",
            "",
        ] {
            assert_eq!(redact(plain), plain);
        }
    }

    #[test]
    fn of_an_address_with_a_login_only_the_hosts_are_shown() {
        assert_eq!(redact("postgres://u:p@h/db"), "postgres://(redacted)@h/db");
        assert_eq!(redact("u:p@x@h:1"), "(redacted)@h:1");
        assert_eq!(redact("u:p%40h:1"), "(redacted)");
        assert_eq!(redact("postgres://h/db?password=p@p"), "postgres://(redacted)");
        assert_eq!(redact("postgres://u:cA==@h/db"), "postgres://(redacted)@h/db");
        assert_eq!(redact("postgres://h/db?password=p"), "postgres://h/db?(redacted)");
        assert_eq!(redact("host=h password=p"), "host(redacted)");
        assert_eq!(redact("redis://:p"), "redis://(redacted)");
    }

    proptest! {
        #[test]
        fn no_form_of_a_login_shows_the_password(
            before in "[a-z0-9@:/?#%&=,.]{0,8}",
            after in "[a-z0-9@:/?#%&=,.]{0,8}",
            scheme in prop::sample::select(vec!["", "postgres://", "mongodb+srv://", "redis://", "SASL_SSL://", "://"]),
            form in 0_usize..8,
        ) {
            let secret = "Pa55-W0rd";
            let value = match form {
                0 => format!("{scheme}{before}:{secret}{after}@h:1/d"),
                1 => format!("{scheme}{secret}{after}@h"),
                2 => format!("{scheme}u:{before}{secret}{after}%40h:1"),
                3 => format!("{scheme}h:1/d?password={before}{secret}{after}"),
                4 => format!("{scheme}h:1/d?a=b&sslpassword={secret}&c=d"),
                5 => format!("{scheme}{before}:{secret}"),
                6 => format!("host=h {before} password={secret} {after}"),
                _ => format!("{scheme}h:1,{before}:{secret}@h2:1,u:{secret}{after}@h3:1"),
            };
            prop_assert!(!redact(&value).contains(secret), "{} shows as {}", value, redact(&value));
            prop_assert!(!is_plain(&value));
        }
    }
}
