//! The keys of tokens: configured, or generated once and kept in the data directory.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use anyhow::{Context, bail};
use gateway::{Secret, token::Keys};
use storage::{DataDir, private};

use crate::settings::Settings;

const FILE: &str = "jwt.key";

/// The current key (configured, or in the data directory, where it is created if missing) and the previous one.
pub(crate) fn token_keys(settings: &Settings) -> anyhow::Result<Keys> {
    let path = settings.data_dir.join(FILE);
    let current = match settings.tokens.secret()? {
        Some(secret) => secret,
        None => secret_of(read_or_create(&path).with_context(|| unusable(&path))?, &path)?,
    };
    Ok(Keys {
        current,
        previous: settings.tokens.previous_secret()?,
    })
}

/// The current key, for a command. Creates none: no running shop would accept tokens of a new key.
pub(crate) fn existing_key(settings: &Settings) -> anyhow::Result<Secret> {
    if let Some(secret) = settings.tokens.secret()? {
        return Ok(secret);
    }
    let path = settings.data_dir.join(FILE);
    match private::read(&path) {
        Ok(key) => secret_of(key, &path),
        Err(error) if is_missing(&error) => bail!(
            "JWT_SECRET is not set, and no shop has made a key in DATA_DIR {}: start one there first, or set its JWT_SECRET",
            settings.data_dir.display()
        ),
        Err(error) => Err(error).with_context(|| unusable(&path)),
    }
}

fn secret_of(key: Vec<u8>, path: &Path) -> anyhow::Result<Secret> {
    Secret::new(key).with_context(|| format!("{} is damaged; remove it to have a new one made", path.display()))
}

fn unusable(path: &Path) -> String {
    format!("JWT_SECRET is not set, and {} cannot be used", path.display())
}

/// The file or its folder does not exist.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Reads the key in this file, or creates it: 64 hexadecimal digits, readable by this user only. Concurrent callers get
/// the same key.
pub(crate) fn read_or_create(path: &Path) -> io::Result<Vec<u8>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DataDir::make(folder).map_err(|error| io::Error::other(format!("{}: {error}", folder.display())))?;
    match private::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    let (key, suffix) = (random_digits::<32>()?, random_digits::<8>()?);
    // Written under a unique name, then linked: no reader sees half a key, and the first of several writers wins.
    let draft = path.with_extension(format!("{suffix}.tmp"));
    let mut file = private::create_new(&draft)?;
    let written = file.write_all(key.as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // The name must survive a power cut: tokens are signed with this key from now on.
    File::open(folder)?.sync_all()?;
    private::read(path)
}

/// This many random bytes, as hexadecimal digits.
fn random_digits<const BYTES: usize>() -> io::Result<String> {
    let mut random = [0_u8; BYTES];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let mut digits = String::new();
    for byte in random {
        // Writing to a string never fails.
        let _ = fmt::Write::write_fmt(&mut digits, format_args!("{byte:02x}"));
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs::Permissions,
        os::unix::fs::{PermissionsExt, symlink},
        sync::Barrier,
        thread,
    };

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_key_is_created_once_and_readable_by_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join(FILE);
        let key = read_or_create(&path).unwrap();
        assert_eq!(key.len(), 64);
        assert_eq!(read_or_create(&path).unwrap(), key);
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&folder.path().join("new")), 0o700);
    }

    #[test]
    fn concurrent_creators_of_a_key_get_the_same_key() {
        const AT_ONCE: usize = 16;
        for _ in 0..50 {
            let folder = tempfile::tempdir().unwrap();
            let (data, start) = (folder.path().join("data"), Barrier::new(AT_ONCE));
            let path = data.join(FILE);
            let create = || {
                start.wait();
                read_or_create(&path)
            };
            let keys: BTreeSet<_> = thread::scope(|scope| {
                let creators: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(create)).collect();
                creators
                    .into_iter()
                    .map(|creator| creator.join().unwrap().unwrap())
                    .collect()
            });
            assert_eq!(keys, BTreeSet::from([fs::read(&path).unwrap()]));
            let names: Vec<_> = fs::read_dir(&data)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert_eq!(names, [FILE], "no draft is left");
        }
    }

    #[test]
    fn a_key_that_others_may_read_or_that_is_a_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join(FILE), folder.path().join("elsewhere"));
        let key = read_or_create(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        assert!(read_or_create(&path).unwrap_err().to_string().contains("chmod 600"));
        fs::rename(&path, &elsewhere).unwrap();
        fs::set_permissions(&elsewhere, Permissions::from_mode(0o600)).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(read_or_create(&path).unwrap_err().to_string().contains("it is a link"));
        assert_eq!(fs::read(&elsewhere).unwrap(), key);
    }
}
