//! Who may do something with a file, beside its owner.

use std::{fs::Metadata, io, os::unix::fs::MetadataExt};

use rustix::process::{getegid, geteuid, getgroups};

pub(super) const ROOT: u32 = 0;
const GROUP: u32 = 0o070;
const ALL: u32 = 0o007;

/// This process, as a file system knows it.
pub(super) struct Process {
    pub(super) user: u32,
    groups: Vec<u32>,
}

/// Who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    Nobody,
    /// A group that this process is in, such as that of a volume (`fsGroup` in Kubernetes, which opens every file to it
    /// whenever the volume is mounted). Whoever runs the process has chosen it.
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
        })
    }

    /// Whether the file is this user's.
    pub(super) fn owns(&self, found: &Metadata) -> bool {
        found.uid() == self.user
    }

    /// Whether what stands in the file is this user's word, or that of root, who may do anything anyway.
    pub(super) fn trusts(&self, found: &Metadata) -> bool {
        let only_own = [Beside::Nobody, Beside::OwnGroup];
        self.owns(found) || found.uid() == ROOT && only_own.contains(&self.beside_owner(found))
    }

    pub(super) fn beside_owner(&self, found: &Metadata) -> Beside {
        self.beside(found.mode(), found.gid())
    }

    fn beside(&self, mode: u32, group: u32) -> Beside {
        if mode & ALL != 0 {
            Beside::All
        } else if mode & GROUP == 0 {
            Beside::Nobody
        } else if self.groups.contains(&group) {
            Beside::OwnGroup
        } else {
            Beside::ForeignGroup
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_this_process_is_told_from_another_and_from_everybody() {
        let process = Process {
            user: 1000,
            groups: vec![2000, 1000],
        };
        for (mode, group, expected) in [
            (0o600, 4000, Beside::Nobody),
            (0o2700, 4000, Beside::Nobody),
            (0o660, 2000, Beside::OwnGroup),
            (0o640, 1000, Beside::OwnGroup),
            (0o2770, 2000, Beside::OwnGroup),
            (0o660, 4000, Beside::ForeignGroup),
            (0o610, 0, Beside::ForeignGroup),
            (0o664, 2000, Beside::All),
            (0o602, 2000, Beside::All),
            (0o1777, 2000, Beside::All),
        ] {
            assert_eq!(process.beside(mode, group), expected, "{mode:o} of group {group}");
        }
    }
}
