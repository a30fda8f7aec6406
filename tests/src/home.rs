//! The data of a shop: a folder and, on real engines, databases of its own.

mod engines;
mod snapshot;

use std::{
    ffi::OsStr,
    fmt,
    fs::Permissions,
    ops::Deref,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result};
use cartwright::settings::Settings;
use events::{EventBus, Signatures, SigningKey, SqliteBus};
use runtime::Points;
use sqlx::{FromRow, sqlite::SqliteRow};
use tempfile::TempDir;
use testing::Engine;
use tokio::process::Command;

use crate::{
    engine_set::{Addresses, EngineSet},
    process,
    shops::{Dump, dump, execute, rows},
};
use engines::Namespace;

/// All stores of a shop.
const STORES: [&str; 9] = [
    "product",
    "inventory",
    "payment",
    "provider",
    "checkout",
    "orders",
    "notification",
    "cart",
    "bus",
];

/// What a shop runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    Embedded,
    /// PostgreSQL, MongoDB, Redis and Kafka.
    Engines,
}

impl Profile {
    /// Whether the engines of the profile are set. Prints which engine is missing when a test is skipped for it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Embedded => true,
            Self::Engines => Engine::ALL.into_iter().all(|engine| engine.address().is_some()),
        }
    }
}

/// A shop's data. Dropping the value deletes it.
pub struct Home {
    folder: TempDir,
    namespace: Option<Namespace>,
    /// Then the drop deletes nothing: the engines go with their data, and may be down by then.
    has_own_engines: bool,
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Home").field(&self.folder.path()).finish()
    }
}

impl Home {
    pub async fn new(profile: Profile) -> Result<Self> {
        let namespace = match profile {
            Profile::Embedded => None,
            Profile::Engines => Some(Namespace::create(Addresses::shared()?, None).await?),
        };
        Ok(Self {
            folder: private_folder()?,
            namespace,
            has_own_engines: false,
        })
    }

    /// Data on engines of this test alone. The engines must outlive it.
    pub async fn on(engines: &EngineSet) -> Result<Self> {
        Ok(Self {
            folder: private_folder()?,
            namespace: Some(Namespace::create(engines.addresses().clone(), None).await?),
            has_own_engines: true,
        })
    }

    /// A copy of the data of a closed, idle shop.
    pub async fn copy(&self) -> Result<Self> {
        let folder = private_folder()?;
        for entry in std::fs::read_dir(self.folder.path())? {
            let entry = entry?;
            std::fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
        }
        let namespace = match &self.namespace {
            None => None,
            Some(namespace) => Some(namespace.copy().await?),
        };
        Ok(Self {
            folder,
            namespace,
            has_own_engines: self.has_own_engines,
        })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub const fn profile(&self) -> Profile {
        match self.namespace {
            None => Profile::Embedded,
            Some(_) => Profile::Engines,
        }
    }

    /// Makes a shop in this process use this data.
    pub fn configure(&self, settings: &mut Settings) {
        self.folder().clone_into(&mut settings.data_dir);
        if let Some(namespace) = &self.namespace {
            namespace.configure(&mut settings.engines);
        }
    }

    /// A command of the binary that uses this data.
    pub fn command(&self, binary: impl AsRef<OsStr>) -> Command {
        let mut command = process::command(binary, self.folder());
        if let Some(namespace) = &self.namespace {
            command.envs(namespace.variables());
        }
        command
    }

    /// Runs statements on a store directly, past the shop.
    pub async fn execute(&self, store: &str, sql: &str) -> Result<()> {
        match &self.namespace {
            None => execute(self.folder(), store, sql).await,
            Some(namespace) => Ok(testing::postgres::execute(namespace.database_url(), store, sql).await?),
        }
    }

    /// Makes a cart unreadable, past the shop.
    pub async fn corrupt_cart(&self, user: &str) -> Result<()> {
        self.rename_in_cart(user, "cart_id", "spoilt").await
    }

    pub async fn repair_cart(&self, user: &str) -> Result<()> {
        self.rename_in_cart(user, "spoilt", "cart_id").await
    }

    async fn rename_in_cart(&self, user: &str, from: &str, to: &str) -> Result<()> {
        match &self.namespace {
            None => {
                let changed = format!("replace(document, '\"{from}\"', '\"{to}\"')");
                let sql = format!("UPDATE carts SET document = {changed} WHERE user_id = '{user}'");
                execute(self.folder(), "cart", &sql).await
            }
            Some(namespace) => namespace.rename_in_cart(user, from, to).await,
        }
    }

    /// The rows of a query on a store.
    pub async fn rows<T>(&self, store: &str, sql: impl Into<String>) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        rows(&self.snapshot(&[store]).await?, store, sql).await
    }

    /// The rows of all tables of the shop.
    pub async fn dump(&self) -> Result<Dump> {
        dump(&self.snapshot(&STORES).await?).await
    }

    /// Resets the offsets of every consumer group on the topic of checkouts to 0. The shop must be closed.
    pub async fn rewind(&self) -> Result<()> {
        match &self.namespace {
            None => self.execute("bus", "UPDATE group_offsets SET next_offset = 0").await,
            Some(namespace) => namespace.rewind().await,
        }
    }

    /// Sets the codec with which the broker compresses the events of checkouts.
    pub async fn compress_events(&self, codec: &str) -> Result<()> {
        let namespace = self.namespace.as_ref().context("the embedded bus has no codecs")?;
        namespace.compress_events(codec).await
    }

    /// The versions of the carts in the shared cache, by customer.
    pub async fn cached_carts(&self) -> Result<Vec<(String, i64)>> {
        self.own_engines()?.cached_carts().await
    }

    /// The keys of the shared cache that contain a text; empty on the embedded profile.
    pub async fn cache_keys_with(&self, text: &str) -> Result<Vec<String>> {
        match &self.namespace {
            None => Ok(Vec::new()),
            Some(namespace) => namespace.cache_keys_with(text).await,
        }
    }

    /// Empties the shared cache, also for all other homes on the same engines.
    pub async fn empty_cache(&self) -> Result<()> {
        self.own_engines()?.empty_cache().await
    }

    fn own_engines(&self) -> Result<&Namespace> {
        let namespace = self.namespace.as_ref().filter(|_| self.has_own_engines);
        namespace.context("this home has no engines of its own")
    }

    /// Does what the drop does, without blocking a thread.
    pub async fn clear(mut self) {
        if let Some(namespace) = self.take_namespace() {
            // Leftovers do no harm: every name is used once.
            let _ = namespace.clear().await;
        }
    }

    fn take_namespace(&mut self) -> Option<Namespace> {
        self.namespace.take().filter(|_| !self.has_own_engines)
    }

    /// How this shop signs its events; the default, no signature, without a key of its own.
    pub fn signatures(&self) -> Signatures {
        let key = std::fs::read(self.folder().join("events.key")).ok();
        let key = key.and_then(|key| SigningKey::new(&key).ok());
        key.map(|key| Signatures::new("", key, Vec::new())).unwrap_or_default()
    }

    /// The event bus with the signing key that an embedded shop generated. Creates the topics, because a shop that has just
    /// started may not have created them yet.
    pub async fn bus(&self) -> Result<Arc<dyn EventBus>> {
        let bus: Arc<dyn EventBus> = match &self.namespace {
            None => {
                let bus = SqliteBus::open(&self.folder().join("bus.db"), &Points::none()).await?;
                Arc::new(bus.with_signatures(self.signatures()))
            }
            Some(namespace) => Arc::new(namespace.bus().await?),
        };
        for topic in proto::events::TOPICS {
            bus.ensure_topic(topic.name, topic.partitions).await?;
        }
        Ok(bus)
    }
}

/// A temporary folder with mode 0700.
fn private_folder() -> std::io::Result<TempDir> {
    tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
}

impl Drop for Home {
    fn drop(&mut self) {
        let Some(namespace) = self.take_namespace() else { return };
        let cleared = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(namespace.clear())
        });
        let _ = cleared.join();
    }
}

/// Stores of which a test can take snapshots.
pub trait Stores {
    /// The current state of these stores as readable SQLite files. The folder may contain other stores, too.
    fn snapshot(&self, stores: &[&str]) -> impl Future<Output = Result<Snapshot>> + Send;
}

impl Stores for Home {
    async fn snapshot(&self, stores: &[&str]) -> Result<Snapshot> {
        match &self.namespace {
            None => self.folder().snapshot(stores).await,
            Some(namespace) => {
                let snapshot = snapshot::take(namespace, stores).await?;
                Ok(Snapshot {
                    path: snapshot.path().to_owned(),
                    _snapshot: Some(snapshot),
                })
            }
        }
    }
}

/// The data directory of an embedded shop.
impl Stores for Path {
    async fn snapshot(&self, _: &[&str]) -> Result<Snapshot> {
        Ok(Snapshot {
            path: self.to_owned(),
            _snapshot: None,
        })
    }
}

impl Stores for PathBuf {
    async fn snapshot(&self, stores: &[&str]) -> Result<Snapshot> {
        self.as_path().snapshot(stores).await
    }
}

/// A folder with a SQLite file for each store.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    _snapshot: Option<TempDir>,
}

impl Deref for Snapshot {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}
