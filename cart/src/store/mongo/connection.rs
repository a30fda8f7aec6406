//! Connects to MongoDB, and explains a failure in one line without secrets.

use std::{io, time::Duration};

use mongodb::{
    Client, Collection, Namespace,
    bson::{Document, doc},
    error::{Error, ErrorKind},
    options::{
        Acknowledgment, ClientOptions, CollectionOptions, ConnectionString, ReadConcern, ReadPreference,
        SelectionCriteria, ServerAddress, WriteConcern,
    },
};
use runtime::config::{ConfigError, check_login, is_host, is_host_and_port};
use runtime::deadlines::STORE_CONNECTION;
use storage::OpenError;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use super::{COLLECTION, code};

const VARIABLE: &str = "MONGO_URI";
const HEARTBEATS: &str = "heartbeats";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const MAJORITY_TIMEOUT: Duration = Duration::from_secs(2);
/// With more, operations would queue in the server instead of in this process.
const MAX_CONNECTIONS: u32 = 32;
/// The server may be starting at the same time.
const START_TIMEOUT: Duration = Duration::from_secs(6);
const START_RETRY: Duration = Duration::from_millis(250);
const AUTHENTICATION_FAILED: i32 = 18;

/// Checks the address without a connection.
pub fn check_mongo_uri(uri: &str) -> Result<(), ConfigError> {
    check_login(VARIABLE, uri)?;
    let parsed = ConnectionString::parse(uri).map(drop);
    parsed.map_err(|error| ConfigError::new(VARIABLE, malformed(uri, &error)))?;
    if hosts(uri).all(is_server) {
        return Ok(());
    }
    let wants = "a host must be a name or an address; write it like mongodb://user:password@host:27017/";
    Err(ConfigError::new(VARIABLE, wants))
}

/// The part between the login and the database.
fn hosts(uri: &str) -> impl Iterator<Item = &str> {
    let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    let address = rest.rsplit_once('@').map_or(rest, |(_, address)| address);
    address.split(['/', '?']).next().unwrap_or_default().split(',')
}

/// Whether the text is a host or the encoded path of a socket, and not an encoded login, which must not be shown.
fn is_server(text: &str) -> bool {
    let is_socket = text.to_ascii_lowercase().starts_with("%2f") && !text.contains("%40");
    is_socket || is_host_and_port(text) || is_host(text.trim_matches(['[', ']']))
}

pub(super) fn problem(problem: impl Into<String>) -> OpenError {
    OpenError::Engine {
        variable: VARIABLE,
        problem: problem.into(),
    }
}

/// The collection, once its server answers. Options that the address leaves out get defaults that suit a request.
pub(super) async fn connect(uri: &str, database: &str) -> Result<Collection<Document>, OpenError> {
    let parsed = timeout(START_TIMEOUT, ClientOptions::parse(uri)).await;
    let mut options = parsed
        .map_err(|_| problem("the name of the cluster is not resolved; check the address and the name server"))?
        .map_err(|error| problem(malformed(uri, &error)))?;
    options.app_name.get_or_insert_with(|| "cartwright-cart".to_owned());
    options.server_selection_timeout.get_or_insert(STORE_CONNECTION);
    options.connect_timeout.get_or_insert(CONNECT_TIMEOUT);
    options.max_pool_size.get_or_insert(MAX_CONNECTIONS);
    options.retry_writes.get_or_insert(false);
    let hosts = options.hosts.clone();
    let client = Client::with_options(options).map_err(|error| problem(error.kind.to_string()))?;
    let carts = collection(&client, database, COLLECTION);
    let begin = Instant::now();
    loop {
        let failed = match timeout(START_TIMEOUT, ping(&carts)).await {
            Ok(Ok(())) => return Ok(carts),
            Ok(Err(error)) => error,
            Err(elapsed) => io::Error::from(elapsed).into(),
        };
        if !is_transient(&failed) || begin.elapsed() >= START_TIMEOUT {
            return Err(explain(&failed, &hosts).await);
        }
        sleep(START_RETRY).await;
    }
}

/// A collection beside the carts, with the same durability.
pub(super) fn heartbeats(carts: &Collection<Document>) -> Collection<Document> {
    collection(carts.client(), &carts.namespace().db, HEARTBEATS)
}

/// Durable writes, and reads that see all of them, whatever the address asks for.
fn collection(client: &Client, database: &str, name: &str) -> Collection<Document> {
    let durable = WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .w_timeout(MAJORITY_TIMEOUT)
        .build();
    let options = CollectionOptions::builder()
        .read_concern(ReadConcern::majority())
        .write_concern(durable)
        .selection_criteria(SelectionCriteria::ReadPreference(ReadPreference::Primary))
        .build();
    client.database(database).collection_with_options(name, options)
}

pub(super) async fn ping(carts: &Collection<Document>) -> Result<(), Error> {
    let Namespace { db, .. } = carts.namespace();
    carts
        .client()
        .database(&db)
        .run_command(doc! { "ping": 1 })
        .await
        .map(|_| ())
}

/// Whether the server may be starting.
fn is_transient(error: &Error) -> bool {
    matches!(
        *error.kind,
        ErrorKind::ServerSelection { .. } | ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. }
    )
}

/// Explains a malformed address. The driver's message may repeat a part of the password, so this parses the address
/// again without its login.
fn malformed(uri: &str, error: &Error) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return "it has no scheme; write it like mongodb://user:password@host:27017/".to_owned();
    };
    let (login, address) = rest.rsplit_once('@').unzip();
    let address = address.unwrap_or(rest);
    let hosts = address.split(['/', '?']).next().unwrap_or_default();
    let has_ports = hosts
        .split(',')
        .all(|host| !host.contains(':') || is_host_and_port(host));
    let why = match ConnectionString::parse(format!("{scheme}://{address}")) {
        // A password without a host after it looks like a port, which the driver would repeat.
        _ if !has_ports => "a port is a number".to_owned(),
        Err(of_address) => of_address.kind.to_string(),
        Ok(_) if login.is_some() && matches!(*error.kind, ErrorKind::InvalidArgument { .. }) => {
            "special characters in the user name and the password must be percent-encoded".to_owned()
        }
        // The name of the cluster is wrong.
        Ok(_) => error.kind.to_string(),
    };
    format!(
        "{}; write it like mongodb://user:password@host:27017/",
        why.trim_end_matches('.')
    )
}

async fn explain(error: &Error, hosts: &[ServerAddress]) -> OpenError {
    let names: Vec<_> = hosts.iter().map(ToString::to_string).collect();
    let names = names.join(", ");
    match (code(error), &*error.kind) {
        (Some(AUTHENTICATION_FAILED), _) | (_, ErrorKind::Authentication { .. }) => problem(format!(
            "{names} refuses the user or the password; correct them, or name the database that knows the user with authSource"
        )),
        (_, ErrorKind::ServerSelection { .. } | ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. }) => {
            problem(unreachable(hosts, &names).await)
        }
        (_, other) => problem(format!("{names} cannot be used: {other}")),
    }
}

/// Distinguishes an unreachable host from one where something else listens.
async fn unreachable(hosts: &[ServerAddress], names: &str) -> String {
    let mut refusal = String::new();
    for host in hosts {
        let ServerAddress::Tcp { host, port } = host else {
            continue;
        };
        let address = (host.as_str(), port.unwrap_or(27017));
        refusal = match timeout(Duration::from_secs(1), TcpStream::connect(address)).await {
            Ok(Ok(_)) => {
                return format!(
                    "something listens at {names}, but no MongoDB primary answers there; check tls, tlsCAFile, replicaSet and directConnection"
                );
            }
            Ok(Err(error)) => format!(" ({error})"),
            Err(_) => " (no answer)".to_owned(),
        };
    }
    format!("no server can be reached at {names}{refusal}; start it or correct the address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writes_are_durable_and_visible_whatever_the_address_says() {
        let weak = "mongodb://localhost/?w=0&readConcernLevel=local&readPreference=secondary";
        let client = Client::with_uri_str(weak).await.unwrap();
        let carts = collection(&client, "carts", COLLECTION);
        let write = carts.write_concern().unwrap();
        assert_eq!((&write.w, write.journal), (&Some(Acknowledgment::Majority), Some(true)));
        assert_eq!(carts.read_concern(), Some(&ReadConcern::majority()));
        let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
        assert_eq!(carts.selection_criteria(), Some(&primary));
    }

    #[tokio::test]
    async fn a_malformed_address_is_explained_without_its_password() {
        let cases = [
            ("localhost:27017", "no scheme"),
            ("http://localhost:27017", "scheme: http"),
            ("mongodb://", ""),
            ("mongodb://u:hush@", ""),
            ("mongodb://u:hu@sh@host:1", "percent-encoded"),
            ("mongodb://u:hu/sh@host:1", "percent-encoded"),
            ("mongodb://u:hu%sh@host:1", "percent-encoded"),
            ("mongodb://u:hush@host:99999", "port"),
            ("mongodb://u:hush@host:1/?w=hush2&w=", ""),
            ("mongodb://u:hush@host:1/?tls=perhaps", "tls"),
            ("mongodb://u:hu?sh=hush@host:1", "percent-encoded"),
        ];
        for (uri, wanted) in cases {
            let line = connect(uri, "carts").await.unwrap_err().to_string();
            assert!(
                line.starts_with("MONGO_URI: ") && line.contains(wanted),
                "{uri}: {line}"
            );
            for secret in ["hush@", "hu", "sh@", "sh="] {
                assert!(!line.replace("hush2", "").contains(secret), "{uri}: {line}");
            }
            assert!(!line.contains('\n'), "{line}");
        }
    }
}
