//! Which keys the events of this shop are signed and checked with.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use events::{Signatures, SigningKey, SqliteBus};
use runtime::{config::ConfigError, telemetry::chain};
use storage::OpenError;

use crate::{secret, settings::Settings};

/// The key of the embedded bus.
const FILE: &str = "events.key";
/// The same, until all that is in the log is signed with it.
const DRAFT: &str = "events.key.new";

/// On Kafka: with the key that is set. What a shop in another namespace has signed is nothing to this one.
pub(super) fn on_kafka(settings: &Settings) -> Result<Signatures, OpenError> {
    let signing = &settings.signing;
    let Some(key) = signing.key().map_err(wrong)? else {
        return Ok(Signatures::default());
    };
    let others = signing.previous().map_err(wrong)?.into_iter().collect();
    Ok(Signatures::new(settings.engines.namespace(), key, others))
}

/// On the embedded bus: with the key that is set, or with the one that is kept beside the log. That is made when it is not
/// there yet, and then everything that is in the log is signed: it was written by a version that signed nothing.
pub(super) async fn embedded(bus: SqliteBus, settings: &Settings) -> Result<SqliteBus, OpenError> {
    let path = settings.data_dir.join(FILE);
    if has_key(&path)? {
        let kept = read(&path)?;
        return Ok(bus.signed(with(settings, kept)?));
    }
    // After a crash in the middle of this the next start finds the same draft, and signs everything again.
    let draft = settings.data_dir.join(DRAFT);
    let kept = read(&draft)?;
    let bus = bus.signed(with(settings, kept)?);
    bus.sign_all().await.map_err(|error| OpenError::Engine {
        variable: "DATA_DIR",
        problem: format!("the events of {} cannot be signed: {}", path.display(), chain(&error)),
    })?;
    rename(&draft, &path).map_err(|error| unusable(&path, &error))?;
    Ok(bus)
}

/// The same, for a command beside a shop or without one: it makes no key. What it writes without one is signed when a shop
/// makes the key.
pub(super) fn beside(bus: SqliteBus, settings: &Settings) -> Result<SqliteBus, OpenError> {
    let path = settings.data_dir.join(FILE);
    if !has_key(&path)? {
        return Ok(bus);
    }
    let kept = read(&path)?;
    Ok(bus.signed(with(settings, kept)?))
}

/// The key that is kept is accepted when another one is set, too: the log has events that were signed with it.
fn with(settings: &Settings, kept: SigningKey) -> Result<Signatures, OpenError> {
    let (key, previous) = (settings.signing.key(), settings.signing.previous());
    let mut others: Vec<_> = previous.map_err(wrong)?.into_iter().collect();
    let signs = match key.map_err(wrong)? {
        Some(key) => {
            others.push(kept);
            key
        }
        None => kept,
    };
    Ok(Signatures::new("", signs, others))
}

fn has_key(path: &Path) -> Result<bool, OpenError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(unusable(path, &error)),
    }
}

/// The key in a file, which is made if it is not there.
fn read(path: &Path) -> Result<SigningKey, OpenError> {
    let key = secret::kept(path).map_err(|error| unusable(path, &error))?;
    SigningKey::new(&key).map_err(|_| OpenError::Engine {
        variable: "EVENT_SIGNING_KEY",
        problem: format!("{} is damaged; take it from the backup of DATA_DIR", path.display()),
    })
}

fn rename(draft: &Path, path: &Path) -> io::Result<()> {
    fs::rename(draft, path)?;
    let folder = path.parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
    // The name must outlive a power cut, as what was signed does.
    File::open(folder)?.sync_all()
}

fn unusable(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Engine {
        variable: "EVENT_SIGNING_KEY",
        problem: format!("is not set, and {} cannot be used: {error}", path.display()),
    }
}

/// It was checked before anything was opened, except for a command that only looks.
fn wrong(error: ConfigError) -> OpenError {
    OpenError::Engine {
        variable: error.variable,
        problem: error.wants,
    }
}
