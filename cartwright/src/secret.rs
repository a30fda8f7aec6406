//! The key of tokens: the one that is set, or one that is made once and kept.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
};

use anyhow::{Context, bail};
use gateway::Secret;

use crate::settings::Settings;

const FILE: &str = "jwt.key";

/// The configured secret, or that of the data directory, which is made if there is none.
pub(crate) fn of(settings: &Settings) -> anyhow::Result<Secret> {
    let path = settings.data_dir.join(FILE);
    match &settings.tokens.jwt_secret {
        Some(secret) => secret_of(secret.clone().into_bytes(), &path),
        None => secret_of(kept(&path).with_context(|| unusable(&path))?, &path),
    }
}

/// The same, for who only asks for it: a key that is made here and now is taken by no shop.
pub(crate) fn existing(settings: &Settings) -> anyhow::Result<Secret> {
    let path = settings.data_dir.join(FILE);
    match (&settings.tokens.jwt_secret, fs::read(&path)) {
        (Some(secret), _) => secret_of(secret.clone().into_bytes(), &path),
        (None, Ok(key)) => secret_of(key, &path),
        (None, Err(error)) if is_missing(&error) => bail!(
            "JWT_SECRET is not set, and no shop has made a key in DATA_DIR {}: start one there first, or set its JWT_SECRET",
            settings.data_dir.display()
        ),
        (None, Err(error)) => Err(error).with_context(|| unusable(&path)),
    }
}

fn secret_of(key: Vec<u8>, path: &Path) -> anyhow::Result<Secret> {
    Secret::new(key).with_context(|| format!("{} is damaged; remove it to have a new one made", path.display()))
}

fn unusable(path: &Path) -> String {
    format!("JWT_SECRET is not set, and {} cannot be used", path.display())
}

/// Neither the file nor its folder is there.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The key in this file, which is made if it is not there: once, whoever asks for it first.
pub(crate) fn kept(path: &Path) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let mut key = String::new();
    for byte in random {
        // Writing to a string does not fail.
        let _ = fmt::Write::write_fmt(&mut key, format_args!("{byte:02x}"));
    }
    // Written whole under another name first: nobody ever reads half a key, and of two who make one the first wins.
    let draft = path.with_extension(format!("{}.tmp", std::process::id()));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(key.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => fs::read(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join(FILE);
        let key = kept(&path).unwrap();
        assert_eq!(key.len(), 64);
        assert_eq!(kept(&path).unwrap(), key);
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777,
            0o600
        );
    }
}
