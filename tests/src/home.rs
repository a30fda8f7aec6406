//! Where a shop's data is: a folder, and, when it runs on real engines, databases of its own in those.

mod engines;
mod snapshot;

use std::{
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
    shops::{Contents, contents, execute, rows},
};
use engines::Places;

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
    /// Whether a test can run on it; says so when it is skipped because an engine is missing.
    pub fn is_there(self) -> bool {
        match self {
            Self::Embedded => true,
            Self::Engines => Engine::ALL.into_iter().all(|engine| engine.address().is_some()),
        }
    }
}

/// A shop's data. It goes with this value.
pub struct Home {
    folder: TempDir,
    places: Option<Places>,
    /// The engines go soon, with all that is in them, and may be down by then.
    is_on_its_own_engines: bool,
}

impl fmt::Debug for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Home").field(&self.folder.path()).finish()
    }
}

impl Home {
    pub async fn new(profile: Profile) -> Result<Self> {
        let places = match profile {
            Profile::Embedded => None,
            Profile::Engines => Some(Places::make(Addresses::shared()?, None).await?),
        };
        Ok(Self {
            folder: private_folder()?,
            places,
            is_on_its_own_engines: false,
        })
    }

    /// On engines that are there for this test alone. They must outlive it.
    pub async fn on(engines: &EngineSet) -> Result<Self> {
        Ok(Self {
            folder: private_folder()?,
            places: Some(Places::make(engines.addresses().clone(), None).await?),
            is_on_its_own_engines: true,
        })
    }

    /// The same data at another place, of a shop that is closed and at rest.
    pub async fn copy(&self) -> Result<Self> {
        let folder = private_folder()?;
        for entry in std::fs::read_dir(self.folder.path())? {
            let entry = entry?;
            std::fs::copy(entry.path(), folder.path().join(entry.file_name()))?;
        }
        let places = match &self.places {
            None => None,
            Some(places) => Some(places.copy().await?),
        };
        Ok(Self {
            folder,
            places,
            is_on_its_own_engines: self.is_on_its_own_engines,
        })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub const fn profile(&self) -> Profile {
        match self.places {
            None => Profile::Embedded,
            Some(_) => Profile::Engines,
        }
    }

    /// Lets a shop in this process live here.
    pub fn furnish(&self, settings: &mut Settings) {
        self.folder().clone_into(&mut settings.data_dir);
        if let Some(places) = &self.places {
            places.furnish(&mut settings.engines);
        }
    }

    /// A command of the binary that lives here.
    pub fn command(&self, binary: &Path) -> Command {
        let mut command = process::command(binary, self.folder());
        if let Some(places) = &self.places {
            command.envs(places.variables());
        }
        command
    }

    /// Runs statements on a store behind the shop's back.
    pub async fn execute(&self, store: &str, sql: &str) -> Result<()> {
        match &self.places {
            None => execute(self.folder(), store, sql).await,
            Some(places) => Ok(testing::postgres::execute(places.database_url(), store, sql).await?),
        }
    }

    /// Makes a cart one that cannot be read, behind the shop's back.
    pub async fn spoil_cart(&self, user: &str) -> Result<()> {
        self.rename_in_cart(user, "cart_id", "spoilt").await
    }

    pub async fn mend_cart(&self, user: &str) -> Result<()> {
        self.rename_in_cart(user, "spoilt", "cart_id").await
    }

    async fn rename_in_cart(&self, user: &str, from: &str, to: &str) -> Result<()> {
        match &self.places {
            None => {
                let changed = format!("replace(document, '\"{from}\"', '\"{to}\"')");
                let sql = format!("UPDATE carts SET document = {changed} WHERE user_id = '{user}'");
                execute(self.folder(), "cart", &sql).await
            }
            Some(places) => places.rename_in_cart(user, from, to).await,
        }
    }

    /// What a query finds in the store of this name.
    pub async fn rows<T>(&self, store: &str, sql: impl Into<String>) -> Result<Vec<T>>
    where
        T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        rows(&self.look_at(&[store]).await?, store, sql).await
    }

    /// All that the shop has stored.
    pub async fn contents(&self) -> Result<Contents> {
        contents(&self.look_at(&STORES).await?).await
    }

    /// Lets every group read the topic of checkouts from its start again. The shop is closed.
    pub async fn rewind(&self) -> Result<()> {
        match &self.places {
            None => self.execute("bus", "UPDATE group_offsets SET next_offset = 0").await,
            Some(places) => places.rewind().await,
        }
    }

    /// Lets the broker compress the events of checkouts from now on.
    pub async fn compress_events(&self, codec: &str) -> Result<()> {
        let places = self.places.as_ref().context("the embedded bus has no codecs")?;
        places.compress_events(codec).await
    }

    /// The versions of the carts that are in the shared cache, by customer.
    pub async fn cached_carts(&self) -> Result<Vec<(String, i64)>> {
        self.own_engines()?.cached_carts().await
    }

    /// The keys of the shared cache in which a text stands; none where there is no shared cache.
    pub async fn cache_keys_with(&self, text: &str) -> Result<Vec<String>> {
        match &self.places {
            None => Ok(Vec::new()),
            Some(places) => places.cache_keys_with(text).await,
        }
    }

    /// Empties the shared cache of this home, and of all others on its engines.
    pub async fn empty_cache(&self) -> Result<()> {
        self.own_engines()?.empty_cache().await
    }

    fn own_engines(&self) -> Result<&Places> {
        let places = self.places.as_ref().filter(|_| self.is_on_its_own_engines);
        places.context("this home has no engines of its own")
    }

    /// What the drop does, without a thread waiting for it.
    pub async fn clear(mut self) {
        if let Some(places) = self.take_places() {
            // What is left behind is in nobody's way: every name is used once.
            let _ = places.clear().await;
        }
    }

    fn take_places(&mut self) -> Option<Places> {
        self.places.take().filter(|_| !self.is_on_its_own_engines)
    }

    /// How the shop that lives here signs its events, when it has a key of its own.
    pub fn signatures(&self) -> Signatures {
        let key = std::fs::read(self.folder().join("events.key")).ok();
        let key = key.and_then(|key| SigningKey::new(&key).ok());
        key.map(|key| Signatures::new("", key, Vec::new())).unwrap_or_default()
    }

    /// The event bus, as a command beside the shop sees it: with the key of events that an embedded shop has made; with its
    /// topics, which a shop that has just started may not have made yet.
    pub async fn bus(&self) -> Result<Arc<dyn EventBus>> {
        let bus: Arc<dyn EventBus> = match &self.places {
            None => {
                let bus = SqliteBus::open(&self.folder().join("bus.db"), &Points::none()).await?;
                Arc::new(bus.signed(self.signatures()))
            }
            Some(places) => Arc::new(places.bus().await?),
        };
        for topic in proto::events::TOPICS {
            bus.ensure_topic(topic.name, topic.partitions).await?;
        }
        Ok(bus)
    }
}

/// A folder in which a test may put files of its own beside those of a shop.
fn private_folder() -> std::io::Result<TempDir> {
    tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
}

impl Drop for Home {
    fn drop(&mut self) {
        let Some(places) = self.take_places() else { return };
        let cleared = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(places.clear())
        });
        let _ = cleared.join();
    }
}

/// Something whose stores can be looked into.
pub trait Stores {
    /// These stores as they are now, as SQLite files that can be read; others may be there, too.
    fn look_at(&self, stores: &[&str]) -> impl Future<Output = Result<Look>> + Send;
}

impl Stores for Home {
    async fn look_at(&self, stores: &[&str]) -> Result<Look> {
        match &self.places {
            None => self.folder().look_at(stores).await,
            Some(places) => {
                let snapshot = snapshot::take(places, stores).await?;
                Ok(Look {
                    path: snapshot.path().to_owned(),
                    _snapshot: Some(snapshot),
                })
            }
        }
    }
}

/// The data directory of an embedded shop.
impl Stores for Path {
    async fn look_at(&self, _: &[&str]) -> Result<Look> {
        Ok(Look {
            path: self.to_owned(),
            _snapshot: None,
        })
    }
}

impl Stores for PathBuf {
    async fn look_at(&self, stores: &[&str]) -> Result<Look> {
        self.as_path().look_at(stores).await
    }
}

/// A folder with a SQLite file for each store.
#[derive(Debug)]
pub struct Look {
    path: PathBuf,
    _snapshot: Option<TempDir>,
}

impl Deref for Look {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}
