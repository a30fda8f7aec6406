//! Directories and files for the user of this process alone.
//!
//! Other users who can write to the directory may plant links or files: no link is followed, and no file is accepted
//! unless this user or root owns it. Files open to others are restricted. An open key is refused, because others may
//! know it or have replaced it. Exception: the group of a volume is trusted like the operator who mounted the volume.

mod rights;

use std::{
    fs::{self, DirBuilder, File, Metadata, Permissions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
};

use rights::{Access, Process, ROOT, SETGID, has_access_list};

const WORLD_WRITABLE: u32 = 0o002;
const STICKY: u32 = 0o1000;
/// More than the size of any file that is read here.
const MAX_FILE: u64 = 64 * 1024;

/// Creates a directory that only this user may enter, or restricts an existing one.
///
/// Restricts an open directory only if it is empty or has a `known` name in it. Otherwise the path may be wrong, such
/// as a home directory: the directory is left unchanged and refused, unless it is a volume of a group of this process.
pub fn directory(path: &Path, known: impl Fn(&str) -> bool) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let process = Process::this()?;
    let link = fs::symlink_metadata(path)?;
    if link.is_symlink() && ![ROOT, process.user].contains(&link.uid()) {
        return Err(foreign_owner_error("it is a link that", link.uid(), &process));
    }
    let found = fs::metadata(path)?;
    let is_world_writable = found.mode() & WORLD_WRITABLE != 0;
    if !process.owns(&found) {
        return match found.uid() {
            // Usually a mount point. Root may do anything anyway, and the files are closed to all others.
            ROOT if !is_world_writable => Ok(()),
            ROOT => Err(world_writable_error(path, &found)),
            other => Err(foreign_owner_error("it", other, &process)),
        };
    }
    let access = process.access(&found);
    if access == Access::OwnerOnly {
        return Ok(());
    }
    let is_sticky = found.mode() & STICKY != 0;
    if !is_sticky && is_ours_or_empty(path, known)? {
        // Keeps the setgid bit: it marks the volume, and keys on a volume are accepted.
        fs::set_permissions(path, Permissions::from_mode(0o700 | found.mode() & SETGID))?;
        tracing::info!(path = %path.display(), "the directory was open to others; now it is closed to them (mode 700)");
        return Ok(());
    }
    if access == Access::OwnGroup && found.mode() & SETGID != 0 {
        // The setgid bit marks a volume of this group.
        tracing::warn!(
            path = %path.display(),
            group = found.gid(),
            "a group of this process may enter the directory; it holds other things, so it is left as it is"
        );
        return Ok(());
    }
    if is_world_writable && (is_sticky || found.uid() == ROOT) {
        return Err(world_writable_error(path, &found));
    }
    Err(io::Error::other(format!(
        "it is open to others (mode {:03o}) and holds other things; name a directory for the shop alone, which is made if it is \
         not there, or close this one with chmod 700",
        found.mode() & 0o777
    )))
}

/// For world-writable directories such as /tmp. Restricting one would lock everybody out; only root may do that.
fn world_writable_error(path: &Path, found: &Metadata) -> io::Error {
    io::Error::other(format!(
        "it is open to others (mode {:03o}): everybody may write in it; name a directory in it for the shop alone, which is \
         made if it is not there: DATA_DIR={}",
        found.mode() & 0o7777,
        path.join("shop").display()
    ))
}

/// A new file system contains this directory.
const LOST_AND_FOUND: &str = "lost+found";

/// Whether the directory is empty or has a known name in it.
fn is_ours_or_empty(path: &Path, known: impl Fn(&str) -> bool) -> io::Result<bool> {
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

/// Opens a file for reading and writing, creates it if missing, and restricts it if this user owns it.
pub fn create(path: &Path) -> io::Result<File> {
    let process = Process::for_file(path)?;
    let file = open(path, OFlags::RDWR | OFlags::CREATE, &process)?;
    let found = file.metadata()?;
    check_owner_and_links(&found, &process)?;
    restrict(path, &file, &process)?;
    Ok(file)
}

/// Creates a file for another component to open, if missing. An existing file is checked without opening it, because
/// closing it would release the locks that this process holds on it.
pub fn prepare(path: &Path) -> io::Result<()> {
    match create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            check_owner_and_links(&fs::symlink_metadata(path)?, &Process::for_file(path)?)
        }
        made => made.map(drop),
    }
}

/// Creates a file. Fails if it exists.
pub fn create_new(path: &Path) -> io::Result<File> {
    open(
        path,
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL,
        &Process::for_file(path)?,
    )
}

/// Restricts a file of this user; leaves other files unchanged. A missing file is fine: SQLite removes the WAL with the
/// last connection, which may be in another process.
pub(crate) fn restrict_existing(path: &Path) -> io::Result<()> {
    let closed = Process::for_file(path).and_then(|process| {
        let found = fs::symlink_metadata(path)?;
        if !found.is_file() || !process.owns(&found) || process.access(&found) == Access::OwnerOnly {
            return Ok(());
        }
        restrict(path, &open(path, OFlags::RDONLY, &process)?, &process)
    });
    match closed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        closed => closed,
    }
}

/// Reads a small file that must always have been private, such as a key. A key that only the group of its volume may
/// access is restricted, if this user owns it, and accepted.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let process = Process::for_file(path)?;
    let file = open(path, OFlags::RDONLY, &process)?;
    let found = file.metadata()?;
    let who = match process.access(&found) {
        Access::OwnerOnly => None,
        Access::VolumeGroup if has_access_list(&file)? => Some("those in its access list (getfacl)".to_owned()),
        Access::VolumeGroup => {
            restrict_volume_key(path, &file, &process)?;
            None
        }
        Access::OwnGroup => Some(format!("all of group {}", found.gid())),
        Access::ForeignGroup => Some(format!("group {}, which this process is not in,", found.gid())),
        Access::Everybody => Some("others".to_owned()),
    };
    if let Some(who) = who {
        return Err(io::Error::other(format!(
            "{who} may read or write it (mode {:03o}); close it with chmod 600 if nobody else was there, and replace it if \
             somebody was",
            found.mode() & 0o777
        )));
    }
    let mut text = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut text)?;
    Ok(text)
}

/// Closes a key of this user to the group of its volume. If that fails, as on a read-only volume, the key is used with a
/// warning.
fn restrict_volume_key(path: &Path, file: &File, process: &Process) -> io::Result<()> {
    let found = file.metadata()?;
    if !process.owns(&found) {
        return Ok(());
    }
    let (path, group) = (path.display(), found.gid());
    match file.set_permissions(Permissions::from_mode(0o600)) {
        Ok(()) => tracing::warn!(
            %path,
            group,
            "the group of the volume could read or write the key; now it is closed to that (mode 600). If somebody else is in \
             the group, replace the key"
        ),
        Err(error) => tracing::warn!(
            %path,
            group,
            %error,
            "the group of the volume can read or write the key, and it cannot be closed to that"
        ),
    }
    Ok(())
}

/// Opens a regular file of this user, or a private one of root. Never blocks, not even on a pipe.
fn open(path: &Path, how: OFlags, process: &Process) -> io::Result<File> {
    let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    let file = File::from(opened.map_err(|error| match error {
        Errno::LOOP => link_error(),
        error => error.into(),
    })?);
    check_owner(&file.metadata()?, process)?;
    Ok(file)
}

/// Whether writing to this file changes no other file, and no file of another user.
fn check_owner_and_links(found: &Metadata, process: &Process) -> io::Result<()> {
    check_owner(found, process)?;
    if found.nlink() > 1 {
        return Err(io::Error::other(
            "it has a second name (a hard link), so that writing here would change another file; copy the file instead",
        ));
    }
    Ok(())
}

fn check_owner(found: &Metadata, process: &Process) -> io::Result<()> {
    if found.is_symlink() {
        return Err(link_error());
    }
    if !found.is_file() {
        return Err(io::Error::other("it is no regular file; move it away"));
    }
    if !process.trusts(found) {
        return Err(foreign_owner_error("it", found.uid(), process));
    }
    Ok(())
}

fn link_error() -> io::Error {
    io::Error::other("it is a link, and links are not followed here; put the file itself in its place")
}

fn restrict(path: &Path, file: &File, process: &Process) -> io::Result<()> {
    let found = file.metadata()?;
    if process.owns(&found) && process.access(&found) != Access::OwnerOnly {
        file.set_permissions(Permissions::from_mode(0o600))?;
        tracing::info!(path = %path.display(), "the file was open to others; now it is closed to them (mode 600)");
    }
    Ok(())
}

fn foreign_owner_error(what: &str, owner: u32, process: &Process) -> io::Error {
    io::Error::other(format!(
        "{what} belongs to user {owner}, and this process runs as user {}; start it as that user, or give the file away with \
         chown",
        process.user
    ))
}

#[cfg(test)]
mod tests;
