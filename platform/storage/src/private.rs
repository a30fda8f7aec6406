//! Directories and files that are for this process's user alone.
//!
//! Whoever can write beside them may have put a link there, or a file of their own: no link is followed, and what belongs to
//! another user than root is not taken. What was open to others is closed to them. A key that was open is refused, because
//! somebody may know it or have put theirs in its place: only the group of a volume is trusted as whoever mounted that is.

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

use rights::{Beside, Process, ROOT, SET_GROUP, has_access_list};

const WRITTEN_BY_ALL: u32 = 0o002;
const STICKY: u32 = 0o1000;
/// More than any file that is read here.
const MOST: u64 = 64 * 1024;

/// Makes a directory that nobody else may enter, or sees to it that nobody else may enter the one that is there.
///
/// One that others may enter is closed to them only if it is `known` or empty: a path that was set to the wrong place, such
/// as a home directory, is left as it is. It is refused, unless it is a volume that is given to a group of ours.
pub fn directory(path: &Path, known: impl Fn(&str) -> bool) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let us = Process::this()?;
    let link = fs::symlink_metadata(path)?;
    if link.is_symlink() && ![ROOT, us.user].contains(&link.uid()) {
        return Err(foreign("it is a link that", link.uid(), &us));
    }
    let found = fs::metadata(path)?;
    let is_open_to_all = found.mode() & WRITTEN_BY_ALL != 0;
    if !us.owns(&found) {
        return match found.uid() {
            // A mount point, most often: root may do anything anyway, and the files are closed to all others.
            ROOT if !is_open_to_all => Ok(()),
            ROOT => Err(for_everybody(path, &found)),
            other => Err(foreign("it", other, &us)),
        };
    }
    let beside = us.beside_owner(&found);
    if beside == Beside::Nobody {
        return Ok(());
    }
    let is_sticky = found.mode() & STICKY != 0;
    if !is_sticky && holds_only(path, known)? {
        // The mark of a volume stays: by it the keys in there are taken.
        fs::set_permissions(path, Permissions::from_mode(0o700 | found.mode() & SET_GROUP))?;
        tracing::info!(path = %path.display(), "the directory was open to others; now it is closed to them (mode 700)");
        return Ok(());
    }
    if beside == Beside::OwnGroup && found.mode() & SET_GROUP != 0 {
        // It has the mark of a volume that is given to this group.
        tracing::warn!(
            path = %path.display(),
            group = found.gid(),
            "a group of this process may enter the directory; it holds other things, so it is left as it is"
        );
        return Ok(());
    }
    if is_open_to_all && (is_sticky || found.uid() == ROOT) {
        return Err(for_everybody(path, &found));
    }
    Err(io::Error::other(format!(
        "it is open to others (mode {:03o}) and holds other things; name a directory for the shop alone, which is made if it is \
         not there, or close this one with chmod 700",
        found.mode() & 0o777
    )))
}

/// Where everybody makes files, such as /tmp: to close it would lock all others out, and it is nobody's to close but root's.
fn for_everybody(path: &Path, found: &Metadata) -> io::Error {
    io::Error::other(format!(
        "it is open to others (mode {:03o}): everybody may write in it; name a directory in it for the shop alone, which is \
         made if it is not there: DATA_DIR={}",
        found.mode() & 0o7777,
        path.join("shop").display()
    ))
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
    let us = Process::beside_file(path)?;
    let file = open(path, OFlags::RDWR | OFlags::CREATE, &us)?;
    let found = file.metadata()?;
    check(&found, &us)?;
    close_to_others(path, &file, &us)?;
    Ok(file)
}

/// Makes a file for somebody else to open, when it is not there. One that is there is looked at and not opened: to close it
/// again would end the locks that this process has on it.
pub fn prepare(path: &Path) -> io::Result<()> {
    match create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            check(&fs::symlink_metadata(path)?, &Process::beside_file(path)?)
        }
        made => made.map(drop),
    }
}

/// Makes a file that is not there yet.
pub fn create_new(path: &Path) -> io::Result<File> {
    open(
        path,
        OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL,
        &Process::beside_file(path)?,
    )
}

/// Closes a file to others that is ours; leaves everything else as it is. One that has gone meanwhile is open to nobody: the
/// log beside a database goes with the last connection to it, which may be another process's.
pub(crate) fn tighten(path: &Path) -> io::Result<()> {
    let closed = Process::beside_file(path).and_then(|us| {
        let found = fs::symlink_metadata(path)?;
        if !found.is_file() || !us.owns(&found) || us.beside_owner(&found) == Beside::Nobody {
            return Ok(());
        }
        close_to_others(path, &open(path, OFlags::RDONLY, &us)?, &us)
    });
    match closed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        closed => closed,
    }
}

/// Reads a small file that must always have been for its owner alone, such as a key. One that was open to the group of the
/// volume that it lies in is closed to that, if it is ours, and read.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let us = Process::beside_file(path)?;
    let file = open(path, OFlags::RDONLY, &us)?;
    let found = file.metadata()?;
    let who = match us.beside_owner(&found) {
        Beside::Nobody => None,
        Beside::Volume if has_access_list(&file)? => Some("those in its access list (getfacl)".to_owned()),
        Beside::Volume => {
            close_to_group(path, &file, &us)?;
            None
        }
        Beside::OwnGroup => Some(format!("all of group {}", found.gid())),
        Beside::ForeignGroup => Some(format!("group {}, which this process is not in,", found.gid())),
        Beside::All => Some("others".to_owned()),
    };
    if let Some(who) = who {
        return Err(io::Error::other(format!(
            "{who} may read or write it (mode {:03o}); close it with chmod 600 if nobody else was there, and replace it if \
             somebody was",
            found.mode() & 0o777
        )));
    }
    let mut text = Vec::new();
    file.take(MOST).read_to_end(&mut text)?;
    Ok(text)
}

/// Closes a key of ours to the group of its volume. Where that fails, as on a volume that is mounted read-only, the key is used
/// all the same, with a warning.
fn close_to_group(path: &Path, file: &File, us: &Process) -> io::Result<()> {
    let found = file.metadata()?;
    if !us.owns(&found) {
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

/// A regular file of this user, or one of root's that is closed to others. Nothing is waited for, as opening a pipe would.
fn open(path: &Path, how: OFlags, us: &Process) -> io::Result<File> {
    let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR);
    let file = File::from(opened.map_err(|error| match error {
        Errno::LOOP => link(),
        error => error.into(),
    })?);
    check_owner(&file.metadata()?, us)?;
    Ok(file)
}

/// Whether what is written there is written in this file of ours and nowhere else.
fn check(found: &Metadata, us: &Process) -> io::Result<()> {
    check_owner(found, us)?;
    if found.nlink() > 1 {
        return Err(io::Error::other(
            "it has another name as well (a hard link): what is written here would be written there; copy the file instead",
        ));
    }
    Ok(())
}

fn check_owner(found: &Metadata, us: &Process) -> io::Result<()> {
    if found.is_symlink() {
        return Err(link());
    }
    if !found.is_file() {
        return Err(io::Error::other("it is no regular file; move it away"));
    }
    if !us.trusts(found) {
        return Err(foreign("it", found.uid(), us));
    }
    Ok(())
}

fn link() -> io::Error {
    io::Error::other("it is a link, and links are not followed here; put the file itself in its place")
}

fn close_to_others(path: &Path, file: &File, us: &Process) -> io::Result<()> {
    let found = file.metadata()?;
    if us.owns(&found) && us.beside_owner(&found) != Beside::Nobody {
        file.set_permissions(Permissions::from_mode(0o600))?;
        tracing::info!(path = %path.display(), "the file was open to others; now it is closed to them (mode 600)");
    }
    Ok(())
}

fn foreign(what: &str, owner: u32, us: &Process) -> io::Error {
    io::Error::other(format!(
        "{what} belongs to user {owner}, and this process runs as user {}; start it as that user, or give the file away with \
         chown",
        us.user
    ))
}

#[cfg(test)]
mod tests;
