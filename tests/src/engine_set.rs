//! Engines of one test, which it can stop, kill and hang. Dropping the value deletes them.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use testing::Engine;

/// What a test can do to an engine. All but [`Action::Pause`] and [`Action::Kill`] return once the engine is in that state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Start,
    Stop,
    /// Restarts PostgreSQL without a shutdown, so that PostgreSQL runs its crash recovery.
    Restart,
    Kill,
    /// Suspends the engine's processes: connections hang.
    Pause,
    Resume,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Resume => "resume",
        }
    }
}

/// The addresses of the four engines.
#[derive(Debug, Clone)]
pub struct Addresses {
    pub database_url: String,
    pub mongo_uri: String,
    pub redis_addr: String,
    pub kafka_brokers: String,
}

impl Addresses {
    /// The engines that all tests share.
    pub fn shared() -> Result<Self> {
        Self::look_up(Engine::address)
    }

    fn look_up(address: impl Fn(Engine) -> Option<String>) -> Result<Self> {
        let address = |engine: Engine| address(engine).with_context(|| format!("{} is not set", engine.variable()));
        Ok(Self {
            database_url: address(Engine::PostgreSql)?,
            mongo_uri: address(Engine::MongoDb)?,
            redis_addr: address(Engine::Redis)?,
            kafka_brokers: address(Engine::Kafka)?,
        })
    }

    /// Parses lines of the form `export NAME=value`.
    fn read(variables: &str) -> Result<Self> {
        Self::look_up(|engine| {
            let value = |line: &str| {
                let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
                (name == engine.variable()).then(|| value.to_owned())
            };
            variables.lines().find_map(value)
        })
    }
}

/// A running set of all engines.
#[derive(Debug)]
pub struct EngineSet {
    directory: Directory,
    addresses: Addresses,
}

impl EngineSet {
    /// Starts the engines, and waits until they answer.
    pub async fn up() -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("cartwright-engines-")
            // Under root each engine runs as its own user, which must be able to enter the directory.
            .permissions(Permissions::from_mode(0o755))
            .tempdir()?;
        let directory = Directory(directory);
        directory.run("up", &[]).await?;
        let addresses = Addresses::read(&directory.run("env", &[]).await?)?;
        Ok(Self { directory, addresses })
    }

    /// The data of the engines, one directory each.
    pub fn directory(&self) -> &Path {
        self.directory.0.path()
    }

    pub const fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    pub async fn engine(&self, engine: Engine, action: Action) -> Result<()> {
        let name = match engine {
            Engine::PostgreSql => "postgresql",
            Engine::MongoDb => "mongodb",
            Engine::Redis => "redis",
            Engine::Kafka => "kafka",
        };
        self.directory.run("engine", &[name, action.as_str()]).await?;
        Ok(())
    }
}

/// The data directory of a set. Dropping it stops the engines that run there.
#[derive(Debug)]
struct Directory(TempDir);

impl Directory {
    async fn run(&self, script: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self::script(script, self.0.path());
        command.args(arguments);
        let output = tokio::process::Command::from(command).output().await?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{script} {arguments:?}: {stderr}");
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // The result of the test matters; a failure to stop the engines does not.
        let _ = script("down", self.0.path())
            .arg("--delete")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// The command that runs a script of `deployments/local` on a directory.
fn script(name: &str, directory: &Path) -> Command {
    let scripts = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deployments/local"));
    let mut command = Command::new(scripts.join(name));
    command.env("CARTWRIGHT_ENGINES_DIR", directory).stdin(Stdio::null());
    // Two sets cannot share the ports that the environment fixes for one.
    let second = ["MONGODB_TLS", "REDIS_TLS", "KAFKA_TLS", "KAFKA_LOGIN"];
    for engine in ["POSTGRESQL", "MONGODB", "REDIS", "KAFKA", "KAFKA_CONTROLLER"]
        .into_iter()
        .chain(second)
    {
        command.env_remove(format!("CARTWRIGHT_{engine}_PORT"));
    }
    command
}
