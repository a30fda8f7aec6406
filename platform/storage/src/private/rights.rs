//! Who may access a file, beside its owner.

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
/// New files in a directory with the setgid bit get the group of the directory. A volume of a group has this bit.
pub(super) const SETGID: u32 = 0o2000;

/// The user and groups of this process.
pub(super) struct Process {
    pub(super) user: u32,
    groups: Vec<u32>,
    /// The group of the volume that contains the file, if it is on one.
    volume: Option<u32>,
}

/// Who may access a file, beside its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    OwnerOnly,
    /// The volume's group, which this process is in (`fsGroup` in Kubernetes, which opens every file to the group at each
    /// mount). The operator has chosen this group.
    VolumeGroup,
    /// Another group of this process. Other users may be in it: many systems put all users into one group.
    OwnGroup,
    ForeignGroup,
    Everybody,
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

    /// Includes the volume that contains the file. The setgid bit of the directory marks a volume.
    pub(super) fn for_file(path: &Path) -> io::Result<Self> {
        let process = Self::this()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = fs::metadata(folder.unwrap_or(Path::new(".")))?;
        let is_volume = folder.mode() & SETGID != 0 && [process.user, ROOT].contains(&folder.uid());
        Ok(Self {
            volume: is_volume.then(|| folder.gid()),
            ..process
        })
    }

    /// Whether this user owns the file.
    pub(super) fn owns(&self, found: &Metadata) -> bool {
        found.uid() == self.user
    }

    /// Whether only this user, or root, who may do anything anyway, can have written the file.
    pub(super) fn trusts(&self, found: &Metadata) -> bool {
        let only_us = [Access::OwnerOnly, Access::VolumeGroup];
        self.owns(found) || found.uid() == ROOT && only_us.contains(&self.access(found))
    }

    pub(super) fn access(&self, found: &Metadata) -> Access {
        self.classify(found.mode(), found.gid())
    }

    fn classify(&self, mode: u32, group: u32) -> Access {
        if mode & ALL != 0 {
            Access::Everybody
        } else if mode & GROUP == 0 {
            Access::OwnerOnly
        } else if !self.groups.contains(&group) {
            Access::ForeignGroup
        } else if self.volume == Some(group) {
            Access::VolumeGroup
        } else {
            Access::OwnGroup
        }
    }
}

/// Whether the file has an access list (POSIX ACL), which may name further users and groups. The mode's group bits
/// limit what the list grants: without these bits, nothing.
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
    fn access_by_groups_is_classified() {
        let process = Process {
            user: 1000,
            groups: vec![2000, 1000],
            volume: Some(2000),
        };
        for (mode, group, expected) in [
            (0o600, 4000, Access::OwnerOnly),
            (0o2700, 4000, Access::OwnerOnly),
            (0o660, 2000, Access::VolumeGroup),
            (0o2770, 2000, Access::VolumeGroup),
            (0o640, 1000, Access::OwnGroup),
            (0o2770, 1000, Access::OwnGroup),
            (0o660, 4000, Access::ForeignGroup),
            (0o610, 0, Access::ForeignGroup),
            (0o664, 2000, Access::Everybody),
            (0o602, 2000, Access::Everybody),
            (0o1777, 2000, Access::Everybody),
        ] {
            assert_eq!(process.classify(mode, group), expected, "{mode:o} of group {group}");
        }
        let foreign = Process {
            volume: Some(4000),
            ..process
        };
        assert_eq!(foreign.classify(0o660, 4000), Access::ForeignGroup, "not ours");
    }
}
