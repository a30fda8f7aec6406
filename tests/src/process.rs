//! A shop in a process of its own, which can be killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use cartwright::http::{Customer, Reply};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    task::JoinHandle,
};

/// How long a shop may take to open or to close.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where the services of these shops listen, apart from their gateways.
pub const GRPC_HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The HS256 key of these shops, so that tokens can be made without them.
pub const SECRET: &str = "a key for tests, of more than 32 bytes";

/// A running process.
#[derive(Debug)]
pub struct ShopProcess {
    /// Unless the gateway runs elsewhere.
    pub gateway: Option<SocketAddr>,
    /// Where each service listens, by name.
    pub addresses: BTreeMap<String, SocketAddr>,
    /// Where `/health/ready` of the process is.
    pub admin: SocketAddr,
    child: Child,
    /// Unless the command sent it elsewhere.
    stderr: Option<JoinHandle<String>>,
}

/// What became of an attempt to start.
#[derive(Debug)]
pub enum Start {
    Open(Box<ShopProcess>),
    /// It ended before it opened: how, and what it said on standard error.
    Ended(ExitStatus, String),
}

/// A command of the binary, on free ports, with nothing inherited that could configure it.
pub fn command(binary: &Path, data_dir: &Path) -> Command {
    let mut command = Command::new(binary);
    command
        .env_clear()
        .env("DATA_DIR", data_dir)
        .env("GRPC_HOST", GRPC_HOST.to_string())
        .env("JWT_SECRET", SECRET)
        .env("LOG_LEVEL", "warn");
    for port in [
        "HTTP",
        "ADMIN",
        "PRODUCT",
        "CART",
        "INVENTORY",
        "PAYMENT",
        "ORDERS",
        "CHECKOUT",
        "NOTIFICATION",
    ] {
        command.env(format!("{port}_PORT"), "0");
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

impl ShopProcess {
    /// Starts a shop and waits until it is open or has ended.
    pub async fn start(mut command: Command) -> anyhow::Result<Start> {
        let mut child = command.spawn()?;
        let out = child.stdout.take().context("no stdout")?;
        #[allow(clippy::disallowed_methods, reason = "ends with the process whose output it reads")]
        let stderr = child.stderr.take().map(|mut err| {
            tokio::spawn(async move {
                let mut text = String::new();
                // What cannot be read is not shown.
                let _ = err.read_to_string(&mut text).await;
                text
            })
        });
        let mut lines = BufReader::new(out).lines();
        let opened = async {
            let mut addresses = BTreeMap::new();
            while let Some(line) = lines.next_line().await? {
                let words: Vec<_> = line.split_whitespace().collect();
                if let [name, address, ..] = words[..]
                    && let Ok(address) = bare(address).parse()
                {
                    addresses.insert(name.to_owned(), address);
                }
                if line.starts_with("  data ") {
                    return anyhow::Ok(Some(addresses));
                }
            }
            Ok(None)
        };
        match tokio::time::timeout(PATIENCE, opened)
            .await
            .context("the shop neither opened nor ended")??
        {
            Some(mut addresses) => {
                // The rest of the banner has to go somewhere.
                #[allow(clippy::disallowed_methods, reason = "ends with the process whose output it reads")]
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                let gateway = addresses.get("gateway").copied();
                let admin = addresses
                    .remove("health")
                    .context("it does not say where its health is")?;
                Ok(Start::Open(Box::new(Self {
                    gateway,
                    addresses,
                    admin,
                    child,
                    stderr,
                })))
            }
            None => Ok(Start::Ended(child.wait().await?, text(stderr).await?)),
        }
    }

    /// Starts a shop that is to open.
    pub async fn open(command: Command) -> anyhow::Result<Self> {
        match Self::start(command).await? {
            Start::Open(shop) => Ok(*shop),
            Start::Ended(status, said) => bail!("the shop did not open: {status}\n{said}"),
        }
    }

    pub fn customer(&self, name: &str) -> anyhow::Result<Customer> {
        customer(self.gateway.context("the gateway runs elsewhere")?, name)
    }

    /// The number of the process.
    pub fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("the process has ended")
    }

    /// The memory that the process holds now, in bytes.
    pub fn resident_memory(&self) -> anyhow::Result<u64> {
        let id = self.id()?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// Whether all that the process needs is there, and what it says of each.
    pub async fn health(&self) -> anyhow::Result<Reply> {
        let process = Customer {
            gateway: self.admin,
            token: None,
        };
        process.get("/health/ready").await
    }

    /// Waits for the process to end by itself.
    pub async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// Ends the process as a crash does: no destructor runs.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }

    /// Holds the process where it is: it does nothing, and its connections stay open.
    pub async fn freeze(&self) -> anyhow::Result<()> {
        self.signal("STOP").await
    }

    /// Lets a frozen process go on.
    pub async fn thaw(&self) -> anyhow::Result<()> {
        self.signal("CONT").await
    }

    /// The most that a file of the process may grow to, in bytes; no limit when there is none. A write beyond it fails as on a
    /// full disk.
    pub async fn limit_files(&self, bytes: Option<u64>) -> anyhow::Result<()> {
        let id = self.id()?.to_string();
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let limit = format!("--fsize={limit}:unlimited");
        let set = Command::new("prlimit").args(["--pid", &id, &limit]).status().await?;
        anyhow::ensure!(set.success(), "the limit could not be set");
        Ok(())
    }

    /// The standard library has no way to send one.
    pub async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let id = self.id()?.to_string();
        let told = Command::new("kill").args(["-s", signal, &id]).status().await?;
        anyhow::ensure!(told.success(), "the process could not be sent {signal}");
        Ok(())
    }

    /// Asks the process to stop and waits for that; returns how it ended and what it had said on standard error.
    pub async fn stop(self) -> anyhow::Result<(ExitStatus, String)> {
        self.signal("TERM").await?;
        self.end().await
    }

    /// Waits for a process that was told to end; returns how it did and what it had said on standard error.
    pub async fn end(mut self) -> anyhow::Result<(ExitStatus, String)> {
        let status = tokio::time::timeout(PATIENCE, self.child.wait())
            .await
            .context("the shop does not stop")??;
        Ok((status, text(self.stderr).await?))
    }
}

/// What was said on standard error, once the process has ended.
async fn text(stderr: Option<JoinHandle<String>>) -> anyhow::Result<String> {
    Ok(match stderr {
        Some(text) => text.await?,
        None => String::new(),
    })
}

/// A customer of such a shop, with a token for an hour.
pub fn customer(gateway: SocketAddr, name: &str) -> anyhow::Result<Customer> {
    let secret = gateway::Secret::new(SECRET)?;
    let now = runtime::Clock::system().now();
    let token = gateway::token::sign(&secret, name, None, Duration::from_hours(1), now)?;
    Ok(Customer {
        gateway,
        token: Some(token),
    })
}

/// A clause that stands in this line more than once, if one does. Those of one word are names, or no clauses.
pub fn said_twice(line: &str) -> Option<&str> {
    let ends = [": ", "; ", " (", ") ", ")", ", "];
    let mut clauses = vec![line];
    for end in ends {
        clauses = clauses.into_iter().flat_map(|clause| clause.split(end)).collect();
    }
    let mut seen = BTreeSet::new();
    let long = clauses.into_iter().map(str::trim).filter(|clause| clause.contains(' '));
    long.into_iter().find(|clause| !seen.insert(*clause))
}

/// An address as it stands in a URL of the banner.
fn bare(url: &str) -> &str {
    url.trim_start_matches("http://").trim_end_matches("/health/ready")
}
