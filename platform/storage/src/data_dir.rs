//! The directory of the embedded stores, and who holds it.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::OpenError;

const LOCK_FILE: &str = "cartwright.lock";

/// A data directory that this process holds until the value is dropped. The lock is the operating system's: it goes with
/// the process, however that ends.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is not there and takes hold of it.
    pub fn own(path: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io {
            path: path.to_owned(),
            source,
        };
        fs::create_dir_all(path).map_err(io)?;
        let lock_path = path.join(LOCK_FILE);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(lock_path)
            .map_err(io)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it is a help, not a must.
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
            Err(fs::TryLockError::Error(source)) => return Err(io(source)),
        }
        lock.set_len(0).map_err(io)?;
        lock.seek(SeekFrom::Start(0)).map_err(io)?;
        writeln!(lock, "process {}", std::process::id()).map_err(io)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
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
    fn a_file_is_no_data_directory() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(DataDir::own(&file), Err(OpenError::Io { .. })));
    }
}
