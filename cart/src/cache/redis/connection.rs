//! Connects, and says in one line what is wrong when that fails.

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

use crate::config::{RedisLink, RedisTls};

const ADDRESS: &str = "REDIS_ADDR";
const USER: &str = "REDIS_USER";
const PASSWORD: &str = "REDIS_PASSWORD";
const TLS: &str = "REDIS_TLS";
const CA_FILE: &str = "REDIS_CA_FILE";
/// How long a new connection may take. Nobody waits for it: it is made in the background.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the other end may be silent before the connection counts as lost, and a new one is made.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// How often a connection is tried to be made before the next call has to ask for it.
const RECONNECTS: usize = 3;
const LONGEST_BACKOFF: Duration = Duration::from_secs(1);
/// How long an unreachable Redis is waited for at start: it may be starting, too.
const START_PATIENCE: Duration = Duration::from_secs(4);
const START_RETRY: Duration = Duration::from_millis(250);

fn problem(variable: &'static str, problem: impl Into<String>) -> OpenError {
    OpenError::Engine {
        variable,
        problem: problem.into(),
    }
}

/// A connection that is made anew in the background whenever it was lost. It retries nothing.
pub(super) async fn open(link: &RedisLink) -> Result<ConnectionManager, OpenError> {
    let client = client(link)?;
    let begin = Instant::now();
    while let Err(error) = greet(&client).await {
        if !is_passing(&error) || begin.elapsed() >= START_PATIENCE {
            return Err(explain(link, &error));
        }
        sleep(START_RETRY).await;
    }
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        // Each call has a limit of its own.
        .set_response_timeout(None)
        .set_number_of_retries(RECONNECTS)
        .set_max_delay(LONGEST_BACKOFF);
    let manager = ConnectionManager::new_with_config(client, config).await;
    manager.map_err(|error| explain(link, &error))
}

fn client(link: &RedisLink) -> Result<Client, OpenError> {
    let info = info(link)?;
    let RedisTls::On { ca_file } = &link.tls else {
        return Client::open(info).map_err(|error| explain(link, &error));
    };
    let unusable = |why: &dyn Display| problem(CA_FILE, format!("the certificates in it cannot be used ({why})"));
    let root_cert = ca_file.as_ref().map(std::fs::read).transpose();
    let certificates = TlsCertificates {
        client_tls: None,
        root_cert: root_cert.map_err(|error| unusable(&error.kind()))?,
    };
    Client::build_with_tls(info, certificates).map_err(|error| unusable(&error))
}

fn info(link: &RedisLink) -> Result<ConnectionInfo, OpenError> {
    // Not repeated: it may hold a login, which belongs elsewhere.
    let wrong = || problem(ADDRESS, "is no address; write it like localhost:6379");
    let (host, port) = link.address.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    if host.is_empty() || host.contains(['/', '@']) {
        return Err(wrong());
    }
    let mut redis = RedisConnectionInfo::default();
    if let Some(password) = &link.password {
        redis = redis.set_password(password.reveal());
        if let Some(user) = &link.user {
            redis = redis.set_username(user);
        }
    }
    let place = match link.tls {
        RedisTls::Off => ConnectionAddr::Tcp(host, port),
        RedisTls::On { .. } => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        },
    };
    let info = place.into_connection_info().map_err(|error| explain(link, &error))?;
    Ok(info.set_redis_settings(redis).set_tcp_settings(tcp()))
}

/// Notices that a machine at the other end is gone, which nothing else tells.
fn tcp() -> TcpSettings {
    let keepalive = TcpKeepalive::new().with_time(LOST_AFTER).with_interval(LOST_AFTER);
    let settings = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(LOST_AFTER);
    settings
}

async fn greet(client: &Client) -> Result<(), RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(CONNECT_TIMEOUT));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    redis::cmd("PING").query_async(&mut connection).await
}

/// Whether nobody is there yet. A certificate that is not believed stays so.
fn is_passing(error: &RedisError) -> bool {
    error.is_io_error() && tls_problem(error).is_none()
}

/// What TLS says of the other end, if it is that. rustls tells it in words alone.
fn tls_problem(error: &RedisError) -> Option<String> {
    let said = error.to_string();
    let of_tls = said.contains("peer certificate") || said.contains("corrupt message");
    (error.is_io_error() && of_tls).then_some(said)
}

/// What TLS says of who answers there.
fn stranger(address: &str, why: &str) -> OpenError {
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

fn explain(link: &RedisLink, error: &RedisError) -> OpenError {
    let (address, has_tls) = (&link.address, !matches!(link.tls, RedisTls::Off));
    if error.kind() == ErrorKind::AuthenticationFailed {
        // The user is not repeated: it may be what the password was written for.
        let whom = if link.user.is_some() {
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
    if let Some(why) = tls_problem(error) {
        return stranger(address, &why);
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
