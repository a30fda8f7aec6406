//! What may be shown of a value that somebody wrote: an address without its login, whatever form that has.

use std::net::IpAddr;

use runtime::config::is_host_and_port;

/// What stands for what is not shown.
pub(crate) const REDACTED: &str = "(redacted)";

/// An address without what may be secret in it: everything up to the last `@`, everything from the parameters on, and what
/// stands where a port should and is none. What can be read in two ways does not show at all.
pub(crate) fn shown(value: &str) -> String {
    let (scheme, rest) = match value.split_once("://") {
        Some((scheme, rest)) if is_scheme(scheme) => (format!("{scheme}://"), rest),
        Some(_) | None => (String::new(), value),
    };
    let (login, place) = match rest.rsplit_once('@') {
        Some((login, place)) => (Some(login), place),
        None => (None, rest),
    };
    // Behind these the `@` may be one of a password among the parameters.
    let of_parameters: &[char] = if scheme.is_empty() {
        &['?', '#', '&', ';', '=', ' ']
    } else {
        &['?', '#']
    };
    // An encoded `@` ends a login that nobody decodes.
    if login.is_some_and(|login| login.contains(of_parameters)) || place.contains('%') {
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

/// Whether it is a word that no login looks like: what may be repeated of a value that is wrong.
pub(crate) fn is_plain(value: &str) -> bool {
    value.len() <= 40
        && value
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '+' | '_' | ' '))
}

/// Whether it is what stands before `://`.
fn is_scheme(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-' | '_'))
}

/// A host with its port and a path. A password without a host behind it looks like a port.
fn host(text: &str) -> &str {
    let (authority, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    let is_place =
        !authority.contains(':') || is_host_and_port(authority.trim()) || authority.parse::<IpAddr>().is_ok();
    if is_place && !path.contains(':') {
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
    fn an_address_without_a_login_shows_as_it_is() {
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
            assert_eq!(shown(plain), plain);
        }
    }

    #[test]
    fn of_an_address_with_a_login_the_place_shows() {
        assert_eq!(shown("postgres://u:p@h/db"), "postgres://(redacted)@h/db");
        assert_eq!(shown("u:p@x@h:1"), "(redacted)@h:1");
        assert_eq!(shown("u:p%40h:1"), "(redacted)");
        assert_eq!(shown("postgres://h/db?password=p@p"), "postgres://(redacted)");
        assert_eq!(shown("postgres://u:cA==@h/db"), "postgres://(redacted)@h/db");
        assert_eq!(shown("postgres://h/db?password=p"), "postgres://h/db?(redacted)");
        assert_eq!(shown("host=h password=p"), "host(redacted)");
        assert_eq!(shown("redis://:p"), "redis://(redacted)");
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
            prop_assert!(!shown(&value).contains(secret), "{} shows as {}", value, shown(&value));
            prop_assert!(!is_plain(&value));
        }
    }
}
