//! The keys that sign and check events.

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
/// The name of the new key until all events of the log are signed with it.
const DRAFT: &str = "events.key.new";

/// On Kafka: the configured key. Events of a shop in another namespace are not accepted.
pub(super) fn on_kafka(settings: &Settings) -> Result<Signatures, OpenError> {
    let signing = &settings.signing;
    let Some(key) = signing.key().map_err(invalid)? else {
        return Ok(Signatures::default());
    };
    let others = signing.previous().map_err(invalid)?.into_iter().collect();
    Ok(Signatures::new(settings.engines.namespace(), key, others))
}

/// On the embedded bus: the configured key, or the key file beside the log. If there is no key file, creates it and
/// signs all events of the log: an earlier version wrote them without signatures.
pub(super) async fn embedded(bus: SqliteBus, settings: &Settings) -> Result<SqliteBus, OpenError> {
    let path = settings.data_dir.join(FILE);
    if has_key(&path)? {
        let kept = read_or_create(&path)?;
        return Ok(bus.with_signatures(signatures(settings, kept)?));
    }
    // After a crash in between, the next start reads the same draft and signs everything again.
    let draft = settings.data_dir.join(DRAFT);
    let kept = read_or_create(&draft)?;
    let bus = bus.with_signatures(signatures(settings, kept)?);
    bus.sign_all().await.map_err(|error| OpenError::Engine {
        variable: "DATA_DIR",
        problem: format!("the events of {} cannot be signed: {}", path.display(), chain(&error)),
    })?;
    rename(&draft, &path).map_err(|error| unusable(&path, &error))?;
    Ok(bus)
}

/// The same for a command. Creates no key: what the command writes without one is signed when a shop creates the key.
pub(super) fn for_command(bus: SqliteBus, settings: &Settings) -> Result<SqliteBus, OpenError> {
    let path = settings.data_dir.join(FILE);
    if !has_key(&path)? {
        return Ok(bus);
    }
    let kept = read_or_create(&path)?;
    Ok(bus.with_signatures(signatures(settings, kept)?))
}

/// Also accepts the key of the file if another key is configured: the log has events that were signed with it.
fn signatures(settings: &Settings, kept: SigningKey) -> Result<Signatures, OpenError> {
    let (key, previous) = (settings.signing.key(), settings.signing.previous());
    let mut others: Vec<_> = previous.map_err(invalid)?.into_iter().collect();
    let signs = match key.map_err(invalid)? {
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

/// Reads the key file, or creates it.
fn read_or_create(path: &Path) -> Result<SigningKey, OpenError> {
    let key = secret::read_or_create(path).map_err(|error| unusable(path, &error))?;
    SigningKey::new(&key).map_err(|_| OpenError::Engine {
        variable: "EVENT_SIGNING_KEY",
        problem: format!("{} is damaged; take it from the backup of DATA_DIR", path.display()),
    })
}

fn rename(draft: &Path, path: &Path) -> io::Result<()> {
    fs::rename(draft, path)?;
    let folder = path.parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
    // The rename must survive a power cut, as the signed events do.
    File::open(folder)?.sync_all()
}

fn unusable(path: &Path, error: &io::Error) -> OpenError {
    OpenError::Engine {
        variable: "EVENT_SIGNING_KEY",
        problem: format!("is not set, and {} cannot be used: {error}", path.display()),
    }
}

/// `Settings` are checked before the start of a shop, but not before a command.
fn invalid(error: ConfigError) -> OpenError {
    OpenError::Engine {
        variable: error.variable,
        problem: error.wants,
    }
}
