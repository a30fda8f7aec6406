//! The data directory of the embedded stores, and its owner.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::{OpenError, private};

const LOCK_FILE: &str = "cartwright.lock";
/// Suffixes of database files, and of the files that SQLite puts beside them.
const DATABASE_SUFFIXES: [&str; 4] = [".db", ".db-wal", ".db-shm", ".db-journal"];
const KEY_SUFFIX: &str = ".key";

/// A data directory that this process owns until the value is dropped. The operating system holds the lock, and
/// releases it whenever the process ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory if missing, and locks it. Restricts files that an earlier version left open to others.
    pub fn own(path: &Path) -> Result<Self, OpenError> {
        let io = |cause| OpenError::Io {
            path: path.to_owned(),
            cause,
        };
        Self::make(path).map_err(io)?;
        let lock_path = path.join(LOCK_FILE);
        let mut lock = private::create(&lock_path).map_err(|cause| OpenError::File { path: lock_path, cause })?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The name of the holder only improves the message.
                let _ = lock.read_to_string(&mut holder);
                let holder = if holder.is_empty() {
                    "another process".to_owned()
                } else {
                    holder.trim().to_owned()
                };
                return Err(OpenError::InUse {
                    path: path.to_owned(),
                    holder,
                });
            }
            Err(fs::TryLockError::Error(cause)) => return Err(io(cause)),
        }
        lock.set_len(0).map_err(io)?;
        lock.seek(SeekFrom::Start(0)).map_err(io)?;
        writeln!(lock, "process {}", std::process::id()).map_err(io)?;
        for entry in fs::read_dir(path).map_err(io)? {
            let entry = entry.map_err(io)?;
            // Keys are not restricted here: others may know an open key, so the reader of the key refuses it.
            if is_database(&entry.file_name().to_string_lossy()) {
                private::restrict_existing(&entry.path()).map_err(|cause| OpenError::File {
                    path: entry.path(),
                    cause,
                })?;
            }
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Creates the directory for this user alone if it is missing. Takes no lock.
    pub fn make(path: &Path) -> io::Result<()> {
        private::directory(path, is_ours)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether a shop creates files of this name in its data directory.
fn is_ours(name: &str) -> bool {
    name == LOCK_FILE || name.ends_with(KEY_SUFFIX) || is_database(name)
}

fn is_database(name: &str) -> bool {
    DATABASE_SUFFIXES.into_iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_second_owner_is_told_who_the_first_is() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataDir::own(folder.path()).unwrap();
        let error = DataDir::own(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        DataDir::own(folder.path()).unwrap();
    }

    #[test]
    fn files_that_an_earlier_version_left_open_are_restricted() {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let names = ["cartwright.lock", "cart.db", "cart.db-wal", "cart.db-shm"];
        for name in names {
            fs::write(data.join(name), "").unwrap();
            fs::set_permissions(data.join(name), Permissions::from_mode(0o644)).unwrap();
        }
        fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
        let _held = DataDir::own(&data).unwrap();
        assert_eq!(mode(&data), 0o700);
        for name in names {
            assert_eq!(mode(&data.join(name)), 0o600, "{name}");
        }
    }

    #[test]
    fn a_link_in_place_of_the_lock_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (data, precious) = (folder.path().join("data"), folder.path().join("precious"));
        fs::create_dir(&data).unwrap();
        fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, data.join(LOCK_FILE)).unwrap();
        let error = DataDir::own(&data).unwrap_err().to_string();
        assert!(error.contains(LOCK_FILE) && error.contains("it is a link"), "{error}");
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
    }

    #[test]
    fn a_file_is_refused_as_data_directory() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(DataDir::own(&file), Err(OpenError::Io { .. })));
    }
}
