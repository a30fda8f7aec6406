//! The key of tokens: the one that is set, or one that is made once and kept.

use std::{
    fmt,
    fs::{self, OpenOptions},
    io::{self, Write},
    path::Path,
};

use anyhow::Context;
use gateway::Secret;

use crate::settings::Settings;

const FILE: &str = "jwt.key";

/// The configured secret, or that of the data directory.
pub(crate) fn of(settings: &Settings) -> anyhow::Result<Secret> {
    let path = settings.data_dir.join(FILE);
    let key = match &settings.jwt_secret {
        Some(secret) => secret.clone().into_bytes(),
        None => kept(&path).with_context(|| format!("JWT_SECRET is not set, and {} cannot be used", path.display()))?,
    };
    Secret::new(key).with_context(|| format!("{} is damaged; remove it to have a new one made", path.display()))
}

fn kept(path: &Path) -> io::Result<Vec<u8>> {
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
