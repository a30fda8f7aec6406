//! File descriptors: the process's limit, and how ports share it.

use rustix::process::{Resource, getrlimit, setrlimit};

/// The highest useful limit, unless the gateway wants more connections.
const MAX_USEFUL: u64 = 65_536;
/// Reserved for stores, engines, peers and other files: at most this many, and at most three of four.
const RESERVED: usize = 256;
/// The most connections of all gRPC ports together.
const GRPC: usize = 1024;
/// The most connections of the health port.
const ADMIN: usize = 64;

/// How many connections each kind of port may have, so that no port uses up the descriptors of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileDescriptors {
    /// The limit of the process.
    pub all: usize,
    pub gateway: usize,
    pub grpc: usize,
    pub admin: usize,
}

impl FileDescriptors {
    /// Raises the process's limit as far as possible without privileges, and divides it. `gateway` is the most
    /// connections that the gateway wants.
    pub fn divide(gateway: usize) -> Self {
        let wanted = u64::try_from(gateway)
            .unwrap_or(u64::MAX)
            .saturating_mul(2)
            .max(MAX_USEFUL);
        let all = usize::try_from(raise_limit(wanted)).unwrap_or(usize::MAX);
        Self::of(all, gateway)
    }

    fn of(all: usize, gateway: usize) -> Self {
        let rest = (all / 4 * 3).min(RESERVED);
        let connections = all.saturating_sub(rest);
        Self {
            all,
            gateway: (connections / 8 * 5).clamp(1, gateway.max(1)),
            grpc: (connections / 4).clamp(1, GRPC),
            admin: (connections / 8).clamp(1, ADMIN),
        }
    }
}

/// Raises the soft limit to `wanted`, or to the hard limit, and returns it.
fn raise_limit(wanted: u64) -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(wanted);
    let wanted = limit.maximum.unwrap_or(wanted).min(wanted);
    if soft >= wanted {
        return soft;
    }
    limit.current = Some(wanted);
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => wanted,
        Err(error) => {
            tracing::warn!(%error, soft, "the limit of open files could not be raised");
            soft
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_uses_up_the_descriptors_of_another() {
        for all in [4, 64, 200, 256, 1024, 4096, 65_536, 1 << 20] {
            let shared = FileDescriptors::of(all, 4096);
            let connections = shared.gateway + shared.grpc + shared.admin;
            let rest = (all / 4 * 3).min(256);
            assert!(connections + rest <= all.max(6), "{shared:?}");
            assert!(shared.gateway >= shared.grpc || shared.gateway == 4096, "{shared:?}");
        }
        let plenty = FileDescriptors {
            all: 65_536,
            gateway: 4096,
            grpc: 1024,
            admin: 64,
        };
        assert_eq!(FileDescriptors::of(65_536, 4096), plenty);
        let few = FileDescriptors {
            all: 200,
            gateway: 30,
            grpc: 12,
            admin: 6,
        };
        assert_eq!(FileDescriptors::of(200, 4096), few);
    }
}
