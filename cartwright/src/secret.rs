//! The keys of tokens: those that are set, or one that is made once and kept.

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

/// The configured secret, or that of the data directory, which is made if there is none; and the one before it.
pub(crate) fn of(settings: &Settings) -> anyhow::Result<Keys> {
    let path = settings.data_dir.join(FILE);
    let current = match settings.tokens.secret()? {
        Some(secret) => secret,
        None => secret_of(kept(&path).with_context(|| unusable(&path))?, &path)?,
    };
    Ok(Keys {
        current,
        previous: settings.tokens.previous_secret()?,
    })
}

/// The key that signs, for who only asks for it: a key that is made here and now is taken by no shop.
pub(crate) fn existing(settings: &Settings) -> anyhow::Result<Secret> {
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

/// Neither the file nor its folder is there.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The key in this file, which is made if it is not there: 64 hexadecimal digits, for this user alone. All who ask for it at
/// the same time get the same one, the one that is kept.
pub(crate) fn kept(path: &Path) -> io::Result<Vec<u8>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    DataDir::make(folder).map_err(|error| io::Error::other(format!("{}: {error}", folder.display())))?;
    match private::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        read => return read,
    }
    let (key, mark) = (random_digits::<32>()?, random_digits::<8>()?);
    // Written whole under a name that nobody else has, and only then under its own: nobody ever reads half a key, and of all
    // who make one at the same time the first wins.
    let draft = path.with_extension(format!("{mark}.tmp"));
    let mut file = private::create_new(&draft)?;
    let written = file.write_all(key.as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // The name must outlive a power cut as well: tokens are signed with this key from now on.
    File::open(folder)?.sync_all()?;
    private::read(path)
}

/// As many random bytes, in hexadecimal digits.
fn random_digits<const BYTES: usize>() -> io::Result<String> {
    let mut random = [0_u8; BYTES];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let mut digits = String::new();
    for byte in random {
        // Writing to a string does not fail.
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
    fn a_key_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join(FILE);
        let key = kept(&path).unwrap();
        assert_eq!(key.len(), 64);
        assert_eq!(kept(&path).unwrap(), key);
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&folder.path().join("new")), 0o700);
    }

    #[test]
    fn whoever_makes_a_key_at_the_same_time_has_the_one_that_is_kept() {
        const AT_ONCE: usize = 16;
        for _ in 0..50 {
            let folder = tempfile::tempdir().unwrap();
            let (data, start) = (folder.path().join("data"), Barrier::new(AT_ONCE));
            let path = data.join(FILE);
            let make = || {
                start.wait();
                kept(&path)
            };
            let keys: BTreeSet<_> = thread::scope(|scope| {
                let makers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(make)).collect();
                makers.into_iter().map(|maker| maker.join().unwrap().unwrap()).collect()
            });
            assert_eq!(keys, BTreeSet::from([fs::read(&path).unwrap()]));
            let names: Vec<_> = fs::read_dir(&data)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert_eq!(names, [FILE], "nothing else is left");
        }
    }

    #[test]
    fn a_key_that_others_may_read_or_that_lies_elsewhere_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join(FILE), folder.path().join("elsewhere"));
        let key = kept(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        assert!(kept(&path).unwrap_err().to_string().contains("chmod 600"));
        fs::rename(&path, &elsewhere).unwrap();
        fs::set_permissions(&elsewhere, Permissions::from_mode(0o600)).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(kept(&path).unwrap_err().to_string().contains("it is a link"));
        assert_eq!(fs::read(&elsewhere).unwrap(), key);
    }
}
