//! Connects to Redis, and explains a failure in one line.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, TlsCertificates,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use storage::OpenError;
use tokio::time::sleep;

use crate::config::{RedisEndpoint, RedisTls};

const ADDRESS: &str = "REDIS_ADDR";
const USER: &str = "REDIS_USER";
const PASSWORD: &str = "REDIS_PASSWORD";
const TLS: &str = "REDIS_TLS";
const CA_FILE: &str = "REDIS_CA_FILE";
/// Calls do not wait that long: connections are made in the background.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection whose other end is silent for longer counts as lost and is made anew.
const DEAD_PEER_TIMEOUT: Duration = Duration::from_secs(5);
/// Attempts at a new connection; after them, the next call triggers another series.
const MAX_RECONNECTS: usize = 3;
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// Redis may be starting at the same time.
const START_TIMEOUT: Duration = Duration::from_secs(4);
const START_RETRY: Duration = Duration::from_millis(250);

fn problem(variable: &'static str, problem: impl Into<String>) -> OpenError {
    OpenError::Engine {
        variable,
        problem: problem.into(),
    }
}

/// A connection that reconnects in the background. Failed calls are not retried.
pub(super) async fn open(endpoint: &RedisEndpoint) -> Result<ConnectionManager, OpenError> {
    let client = client(endpoint)?;
    let begin = Instant::now();
    while let Err(error) = ping(&client).await {
        if !is_transient(&error) || begin.elapsed() >= START_TIMEOUT {
            return Err(explain(endpoint, &error));
        }
        sleep(START_RETRY).await;
    }
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        // Each call has its own timeout.
        .set_response_timeout(None)
        .set_number_of_retries(MAX_RECONNECTS)
        .set_max_delay(MAX_BACKOFF);
    let manager = ConnectionManager::new_with_config(client, config).await;
    manager.map_err(|error| explain(endpoint, &error))
}

fn client(endpoint: &RedisEndpoint) -> Result<Client, OpenError> {
    let info = info(endpoint)?;
    let RedisTls::On { ca_file } = &endpoint.tls else {
        return Client::open(info).map_err(|error| explain(endpoint, &error));
    };
    let unusable = |why: &dyn Display| problem(CA_FILE, format!("the certificates in it cannot be used ({why})"));
    let root_cert = ca_file.as_ref().map(std::fs::read).transpose();
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: root_cert.map_err(|error| unusable(&error.kind()))?,
    };
    Client::build_with_tls(info, certificates).map_err(|error| unusable(&error))
}

fn info(endpoint: &RedisEndpoint) -> Result<ConnectionInfo, OpenError> {
    // The message does not repeat the address: a login may have been put there by mistake.
    let wrong = || problem(ADDRESS, "is no address; write it like localhost:6379");
    let (host, port) = endpoint.address.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    if host.is_empty() || host.contains(['/', '@']) {
        return Err(wrong());
    }
    let mut redis = RedisConnectionInfo::default();
    if let Some(password) = &endpoint.password {
        redis = redis.set_password(password.reveal());
        if let Some(user) = &endpoint.user {
            redis = redis.set_username(user);
        }
    }
    let address = match endpoint.tls {
        RedisTls::Off => ConnectionAddr::Tcp(host, port),
        RedisTls::On { .. } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        },
    };
    let info = address
        .into_connection_info()
        .map_err(|error| explain(endpoint, &error))?;
    Ok(info.set_redis_settings(redis).set_tcp_settings(tcp()))
}

/// Detects a machine that is gone without closing its connections.
fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new()
        .with_time(DEAD_PEER_TIMEOUT)
        .with_interval(DEAD_PEER_TIMEOUT);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(DEAD_PEER_TIMEOUT);
    settings
}

async fn ping(client: &Client) -> Result<(), RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(CONNECT_TIMEOUT));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    redis::cmd("PING").query_async(&mut connection).await
}

/// Whether Redis may be starting. An untrusted certificate is permanent.
fn is_transient(error: &RedisError) -> bool {
    error.is_io_error() && tls_failure(error).is_none()
}

/// The message of a failed TLS handshake. rustls has no other form of it here.
fn tls_failure(error: &RedisError) -> Option<String> {
    let message = error.to_string();
    let is_tls = message.contains("peer certificate") || message.contains("corrupt message");
    (error.is_io_error() && is_tls).then_some(message)
}

fn explain_tls(address: &str, why: &str) -> OpenError {
    if why.contains("UnknownIssuer") {
        let known = "has a certificate that nobody known vouches for";
        return problem(
            CA_FILE,
            format!("Redis at {address} {known} ({why}); name the file of who does"),
        );
    }
    if why.contains("certificate") {
        return problem(
            ADDRESS,
            format!("Redis at {address} is not who the address says ({why})"),
        );
    }
    problem(
        TLS,
        format!("what answers at {address} does not speak TLS ({why}); see REDIS_TLS"),
    )
}

fn explain(endpoint: &RedisEndpoint, error: &RedisError) -> OpenError {
    let (address, has_tls) = (&endpoint.address, !matches!(endpoint.tls, RedisTls::Off));
    if error.kind() == ErrorKind::AuthenticationFailed {
        // The message does not repeat the user: the password may have been put there by mistake.
        let whom = if endpoint.user.is_some() {
            "the user of REDIS_USER or "
        } else {
            ""
        };
        return problem(
            PASSWORD,
            format!("Redis at {address} refuses {whom}this password; correct it, or unset it if Redis has none"),
        );
    }
    if error.code() == Some("NOAUTH") {
        return problem(PASSWORD, format!("Redis at {address} wants a password"));
    }
    if error.code() == Some("NOPERM") {
        return problem(
            USER,
            format!("Redis at {address} does not let this user do what is needed: {error}"),
        );
    }
    if let Some(why) = tls_failure(error) {
        return explain_tls(address, &why);
    }
    if error.is_io_error() {
        let tls = if has_tls {
            ", and see whether it speaks TLS there"
        } else {
            ""
        };
        return problem(
            ADDRESS,
            format!("no Redis answers at {address} ({error}); start it or correct the address{tls}"),
        );
    }
    if matches!(error.kind(), ErrorKind::Parse | ErrorKind::UnexpectedReturnType) {
        return problem(
            ADDRESS,
            format!(
                "what answers at {address} is no Redis; correct the address, or see whether it wants REDIS_TLS=true"
            ),
        );
    }
    problem(ADDRESS, format!("Redis at {address} cannot be used: {error}"))
}
