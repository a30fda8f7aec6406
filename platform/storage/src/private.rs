//! Directories and files that are for this process's user alone.
//!
//! Whoever can write beside them may have put a link there, or a file of their own: no link is followed, and what belongs to
//! another user is not taken.

use std::{
    fs::{self, DirBuilder, File, Metadata, Permissions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    process::geteuid,
};

const ROOT: u32 = 0;
/// What a group and all others may do.
const OTHERS: u32 = 0o077;
const WRITTEN_BY_ALL: u32 = 0o002;
const STICKY: u32 = 0o1000;
/// More than any file that is read here.
const MOST: u64 = 64 * 1024;

/// Makes a directory that nobody else may enter, or sees to it that nobody else may enter the one that is there.
///
/// One that others may enter is closed to them only if it is `known` or empty: a path that was set to the wrong place, such
/// as a home directory, is left as it is and refused.
pub fn directory(path: &Path, known: impl Fn(&str) -> bool) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let link = fs::symlink_metadata(path)?;
    if link.is_symlink() && ![ROOT, me()].contains(&link.uid()) {
        return Err(foreign("it is a link that", link.uid()));
    }
    let found = fs::metadata(path)?;
    if found.uid() == ROOT && me() != ROOT && found.mode() & WRITTEN_BY_ALL == 0 {
        // A mount point, most often: root may do anything anyway, and the files are closed to all others.
        return Ok(());
    }
    if found.uid() != me() {
        return Err(foreign("it", found.uid()));
    }
    if found.mode() & OTHERS == 0 {
        return Ok(());
    }
    if found.mode() & STICKY != 0 || !holds_only(path, known)? {
        return Err(io::Error::other(format!(
            "it is open to others (mode {:03o}) and holds other things; name a directory for the shop alone, which is made if \
             it is not there, or close this one with chmod 700",
            found.mode() & 0o777
        )));
    }
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    tracing::info!(path = %path.display(), "the directory was open to others; now it is closed to them (mode 700)");
    Ok(())
}

/// What an empty file system has in it from the start.
const LOST_AND_FOUND: &str = "lost+found";

/// Whether one of the names in there is known, or there is none.
fn holds_only(path: &Path, known: impl Fn(&str) -> bool) -> io::Result<bool> {
    let mut is_empty = true;
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if known(&name) {
            return Ok(true);
        }
        is_empty &= name == LOST_AND_FOUND;
    }
    Ok(is_empty)
}

/// Opens a file to read and write, and makes it when it is not there. One of ours that others may read is closed to them.
pub fn create(path: &Path) -> io::Result<File> {
    let file = open(path, OFlags::RDWR | OFlags::CREATE)?;
    let found = file.metadata()?;
    check(&found)?;
    close_to_others(path, &file, &found)?;
    Ok(file)
}

/// Makes a file for somebody else to open, when it is not there. One that is there is looked at and not opened: to close it
/// again would end the locks that this process has on it.
pub fn prepare(path: &Path) -> io::Result<()> {
    match create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => check(&fs::symlink_metadata(path)?),
        made => made.map(drop),
    }
}

/// Makes a file that is not there yet.
pub fn create_new(path: &Path) -> io::Result<File> {
    open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)
}

/// Closes a file to others that is ours; leaves everything else as it is.
pub(crate) fn tighten(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_file() || found.uid() != me() || found.mode() & OTHERS == 0 {
        return Ok(());
    }
    let file = open(path, OFlags::RDONLY)?;
    close_to_others(path, &file, &file.metadata()?)
}

/// Reads a small file that must always have been for its owner alone, such as a key.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path, OFlags::RDONLY)?;
    let mode = file.metadata()?.mode();
    if mode & OTHERS != 0 {
        return Err(io::Error::other(format!(
            "others may read or write it (mode {:03o}); close it with chmod 600 if nobody else was there, and replace it if \
             somebody was",
            mode & 0o777
        )));
    }
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text)?;
    Ok(text)
}

/// A regular file of this user. Nothing is waited for, as opening a pipe would.
fn open(path: &Path, how: OFlags) -> io::Result<File> {
    let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    let file = File::from(opened.map_err(|error| match error {
        Errno::LOOP => link(),
        error => error.into(),
    })?);
    check_owner(&file.metadata()?)?;
    Ok(file)
}

/// Whether what is written there is written in this file of ours and nowhere else.
fn check(found: &Metadata) -> io::Result<()> {
    check_owner(found)?;
    if found.nlink() > 1 {
        return Err(io::Error::other(
            "it has another name as well (a hard link): what is written here would be written there; copy the file instead",
        ));
    }
    Ok(())
}

fn check_owner(found: &Metadata) -> io::Result<()> {
    if found.is_symlink() {
        return Err(link());
    }
    if !found.is_file() {
        return Err(io::Error::other("it is no regular file; move it away"));
    }
    if found.uid() != me() {
        return Err(foreign("it", found.uid()));
    }
    Ok(())
}

fn link() -> io::Error {
    io::Error::other("it is a link, and links are not followed here; put the file itself in its place")
}

fn close_to_others(path: &Path, file: &File, found: &Metadata) -> io::Result<()> {
    if found.mode() & OTHERS != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
        tracing::info!(path = %path.display(), "the file was open to others; now it is closed to them (mode 600)");
    }
    Ok(())
}

fn me() -> u32 {
    geteuid().as_raw()
}

fn foreign(what: &str, owner: u32) -> io::Error {
    io::Error::other(format!(
        "{what} belongs to user {owner}, and this process runs as user {}; start it as that user, or give the file away with \
         chown",
        me()
    ))
}

#[cfg(test)]
mod tests;
