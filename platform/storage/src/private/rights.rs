//! Who may do something with a file, beside its owner.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

use rustix::{
    fs::fgetxattr_query,
    io::Errno,
    process::{getegid, geteuid, getgroups},
};

pub(super) const ROOT: u32 = 0;
const GROUP: u32 = 0o070;
const ALL: u32 = 0o007;
/// What is made in a directory with this bit gets its group. Whatever gives a volume to a group sets it.
pub(super) const SET_GROUP: u32 = 0o2000;

/// This process, as a file system knows it.
pub(super) struct Process {
    pub(super) user: u32,
    groups: Vec<u32>,
    /// The group that the volume belongs to, where the file lies in one.
    volume: Option<u32>,
}

/// Who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    Nobody,
    /// The group of the volume, which this process is in (`fsGroup` in Kubernetes, which opens every file to it whenever the
    /// volume is mounted). Whoever runs the process has chosen it.
    Volume,
    /// Another group that this process is in. Others may be in it as well: many systems put all users into one.
    OwnGroup,
    ForeignGroup,
    All,
}

impl Process {
    pub(super) fn this() -> io::Result<Self> {
        let mut groups: Vec<_> = getgroups()?.into_iter().map(rustix::process::Gid::as_raw).collect();
        groups.push(getegid().as_raw());
        Ok(Self {
            user: geteuid().as_raw(),
            groups,
            volume: None,
        })
    }

    /// With the volume that a file of this path lies in. The mark of one is that the directory gives its group on.
    pub(super) fn beside_file(path: &Path) -> io::Result<Self> {
        let us = Self::this()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = fs::metadata(folder.unwrap_or(Path::new(".")))?;
        let is_volume = folder.mode() & SET_GROUP != 0 && [us.user, ROOT].contains(&folder.uid());
        Ok(Self {
            volume: is_volume.then(|| folder.gid()),
            ..us
        })
    }

    /// Whether the file is this user's.
    pub(super) fn owns(&self, found: &Metadata) -> bool {
        found.uid() == self.user
    }

    /// Whether what stands in the file is this user's word, or that of root, who may do anything anyway.
    pub(super) fn trusts(&self, found: &Metadata) -> bool {
        let only_us = [Beside::Nobody, Beside::Volume];
        self.owns(found) || found.uid() == ROOT && only_us.contains(&self.beside_owner(found))
    }

    pub(super) fn beside_owner(&self, found: &Metadata) -> Beside {
        self.beside(found.mode(), found.gid())
    }

    fn beside(&self, mode: u32, group: u32) -> Beside {
        if mode & ALL != 0 {
            Beside::All
        } else if mode & GROUP == 0 {
            Beside::Nobody
        } else if !self.groups.contains(&group) {
            Beside::ForeignGroup
        } else if self.volume == Some(group) {
            Beside::Volume
        } else {
            Beside::OwnGroup
        }
    }
}

/// Whether the file has an access list (POSIX ACL), which may name other users and groups than the file's own. What it grants
/// is limited by the mode's bits for the group: without these it grants nothing.
pub(super) fn has_access_list(file: &File) -> io::Result<bool> {
    match fgetxattr_query(file, "system.posix_acl_access") {
        Ok(_) => Ok(true),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_the_volume_is_told_from_another_of_this_process_a_foreign_one_and_everybody() {
        let process = Process {
            user: 1000,
            groups: vec![2000, 1000],
            volume: Some(2000),
        };
        for (mode, group, expected) in [
            (0o600, 4000, Beside::Nobody),
            (0o2700, 4000, Beside::Nobody),
            (0o660, 2000, Beside::Volume),
            (0o2770, 2000, Beside::Volume),
            (0o640, 1000, Beside::OwnGroup),
            (0o2770, 1000, Beside::OwnGroup),
            (0o660, 4000, Beside::ForeignGroup),
            (0o610, 0, Beside::ForeignGroup),
            (0o664, 2000, Beside::All),
            (0o602, 2000, Beside::All),
            (0o1777, 2000, Beside::All),
        ] {
            assert_eq!(process.beside(mode, group), expected, "{mode:o} of group {group}");
        }
        let foreign = Process {
            volume: Some(4000),
            ..process
        };
        assert_eq!(foreign.beside(0o660, 4000), Beside::ForeignGroup, "a volume of others");
    }
}
