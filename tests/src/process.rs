//! A shop in a process of its own, which a test can kill.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use cartwright::http::{Customer, HttpResponse};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    task::JoinHandle,
};

/// How long a shop may take to open or to stop.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The address of all services but the gateway.
pub const GRPC_HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// The HS256 key of these shops, with which tests sign tokens.
pub const SECRET: &str = "a key for tests, of more than 32 bytes";

/// A running process.
#[derive(Debug)]
pub struct ShopProcess {
    /// `None` if the gateway runs in another process.
    pub gateway: Option<SocketAddr>,
    /// The addresses of the services, by name.
    pub addresses: BTreeMap<String, SocketAddr>,
    /// The address of `/health/ready`.
    pub admin: SocketAddr,
    child: Child,
    /// `None` if the command redirects standard error.
    stderr: Option<JoinHandle<String>>,
}

/// The result of an attempt to start.
#[derive(Debug)]
pub enum StartResult {
    Open(Box<ShopProcess>),
    /// The process exited before it opened: its status and standard error.
    Exited(ExitStatus, String),
}

/// A command of the binary on free ports. The process inherits no environment variables.
pub fn command(binary: impl AsRef<OsStr>, data_dir: &Path) -> Command {
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
    pub async fn start(mut command: Command) -> anyhow::Result<StartResult> {
        let mut child = command.spawn()?;
        let out = child.stdout.take().context("no stdout")?;
        #[allow(clippy::disallowed_methods, reason = "ends with the process whose output it reads")]
        let stderr = child.stderr.take().map(|mut err| {
            tokio::spawn(async move {
                let mut text = String::new();
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
                    && let Ok(address) = address_in(address).parse()
                {
                    addresses.insert(name.to_owned(), address);
                }
                if line.starts_with("  data ") {
                    return anyhow::Ok(Some(addresses));
                }
            }
            Ok(None)
        };
        match tokio::time::timeout(TIMEOUT, opened)
            .await
            .context("the shop neither opened nor ended")??
        {
            Some(mut addresses) => {
                // Drains the rest of the banner, so that the process can write it.
                #[allow(clippy::disallowed_methods, reason = "ends with the process whose output it reads")]
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                let gateway = addresses.get("gateway").copied();
                let admin = addresses
                    .remove("health")
                    .context("the banner has no address of health")?;
                Ok(StartResult::Open(Box::new(Self {
                    gateway,
                    addresses,
                    admin,
                    child,
                    stderr,
                })))
            }
            None => Ok(StartResult::Exited(child.wait().await?, stderr_text(stderr).await?)),
        }
    }

    /// Starts a shop, and fails if it does not open.
    pub async fn open(command: Command) -> anyhow::Result<Self> {
        match Self::start(command).await? {
            StartResult::Open(shop) => Ok(*shop),
            StartResult::Exited(status, stderr) => bail!("the shop did not open: {status}\n{stderr}"),
        }
    }

    pub fn customer(&self, name: &str) -> anyhow::Result<Customer> {
        customer(self.gateway.context("the gateway runs elsewhere")?, name)
    }

    pub fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("the process has ended")
    }

    /// The resident memory of the process, in bytes.
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

    /// The answer of `/health/ready`.
    pub async fn health(&self) -> anyhow::Result<HttpResponse> {
        let (gateway, token) = (self.admin, None);
        Customer { gateway, token }.get("/health/ready").await
    }

    /// Waits for the process to end by itself, without a timeout.
    pub async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// Kills the process as a crash does: no destructor runs.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().await?;
        Ok(())
    }

    /// Suspends the process; its connections stay open.
    pub async fn pause(&self) -> anyhow::Result<()> {
        self.signal("STOP").await
    }

    /// Continues a suspended process.
    pub async fn resume(&self) -> anyhow::Result<()> {
        self.signal("CONT").await
    }

    /// Limits the size of the process's files, in bytes; `None` lifts the limit. A write beyond it fails as on a full disk.
    pub async fn limit_files(&self, bytes: Option<u64>) -> anyhow::Result<()> {
        let id = self.id()?.to_string();
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let limit = format!("--fsize={limit}:unlimited");
        let set = Command::new("prlimit").args(["--pid", &id, &limit]).status().await?;
        anyhow::ensure!(set.success(), "the limit could not be set");
        Ok(())
    }

    /// Sends a signal with `kill`: the standard library cannot send signals.
    pub async fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let id = self.id()?.to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status().await?;
        anyhow::ensure!(sent.success(), "the process could not be sent {signal}");
        Ok(())
    }

    /// Sends SIGTERM and waits for the end; returns the status and standard error.
    pub async fn stop(self) -> anyhow::Result<(ExitStatus, String)> {
        self.signal("TERM").await?;
        self.wait_stopped().await
    }

    /// Waits for the end of a process that got a signal; returns the status and standard error.
    pub async fn wait_stopped(mut self) -> anyhow::Result<(ExitStatus, String)> {
        let status = tokio::time::timeout(TIMEOUT, self.child.wait())
            .await
            .context("the shop does not stop")??;
        Ok((status, stderr_text(self.stderr).await?))
    }
}

async fn stderr_text(stderr: Option<JoinHandle<String>>) -> anyhow::Result<String> {
    Ok(match stderr {
        Some(text) => text.await?,
        None => String::new(),
    })
}

/// A customer with a token for an hour.
pub fn customer(gateway: SocketAddr, name: &str) -> anyhow::Result<Customer> {
    let secret = gateway::Secret::new(SECRET)?;
    let now = runtime::Clock::system().now();
    let token = gateway::token::sign(&secret, name, None, Duration::from_hours(1), now)?;
    Ok(Customer {
        gateway,
        token: Some(token),
    })
}

/// The first clause that a line repeats. Single words do not count: they are names.
pub fn repeated_clause(line: &str) -> Option<&str> {
    let ends = [": ", "; ", " (", ") ", ")", ", "];
    let mut clauses = vec![line];
    for end in ends {
        clauses = clauses.into_iter().flat_map(|clause| clause.split(end)).collect();
    }
    let mut seen = BTreeSet::new();
    let long = clauses.into_iter().map(str::trim).filter(|clause| clause.contains(' '));
    long.into_iter().find(|clause| !seen.insert(*clause))
}

/// The address in a URL of the banner.
fn address_in(url: &str) -> &str {
    url.trim_start_matches("http://").trim_end_matches("/health/ready")
}
