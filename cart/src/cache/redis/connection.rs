//! Connects, and says in one line what is wrong when that fails.

use std::time::{Duration, Instant};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisConnectionInfo,
    RedisError,
    aio::{ConnectionManager, ConnectionManagerConfig},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use storage::OpenError;
use tokio::time::sleep;

use crate::config::Secret;

const ADDRESS: &str = "REDIS_ADDR";
const PASSWORD: &str = "REDIS_PASSWORD";
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
pub(super) async fn open(address: &str, password: Option<&Secret>) -> Result<ConnectionManager, OpenError> {
    let client = Client::open(info(address, password)?).map_err(|error| explain(address, &error))?;
    let begin = Instant::now();
    while let Err(error) = greet(&client).await {
        if !error.is_io_error() || begin.elapsed() >= START_PATIENCE {
            return Err(explain(address, &error));
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
    manager.map_err(|error| explain(address, &error))
}

fn info(address: &str, password: Option<&Secret>) -> Result<ConnectionInfo, OpenError> {
    // Not repeated: it may hold a login, which belongs elsewhere.
    let wrong = || problem(ADDRESS, "is no address; write it like localhost:6379");
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?;
    if host.is_empty() || host.contains(['/', '@']) {
        return Err(wrong());
    }
    let mut redis = RedisConnectionInfo::default();
    if let Some(password) = password {
        redis = redis.set_password(password.reveal());
    }
    let info = ConnectionAddr::Tcp(host.to_owned(), port).into_connection_info();
    let info = info.map_err(|error| explain(address, &error))?;
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

fn explain(address: &str, error: &RedisError) -> OpenError {
    if error.kind() == ErrorKind::AuthenticationFailed {
        return problem(
            PASSWORD,
            format!("Redis at {address} refuses this password; correct it, or unset it if Redis has none"),
        );
    }
    if error.code() == Some("NOAUTH") {
        return problem(PASSWORD, format!("Redis at {address} wants a password"));
    }
    if error.is_io_error() {
        return problem(
            ADDRESS,
            format!("no Redis answers at {address} ({error}); start it or correct the address"),
        );
    }
    if matches!(error.kind(), ErrorKind::Parse | ErrorKind::UnexpectedReturnType) {
        return problem(
            ADDRESS,
            format!("what answers at {address} is no Redis; correct the address"),
        );
    }
    problem(ADDRESS, format!("Redis at {address} cannot be used: {error}"))
}
