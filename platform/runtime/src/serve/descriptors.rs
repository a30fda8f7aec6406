//! File descriptors: how many the process may have, and for what.

use rustix::process::{Resource, getrlimit, setrlimit};

/// More than this is of no use here, unless the gateway wants more connections.
const ENOUGH: u64 = 65_536;
/// For stores, engines, peers and what else is open: at most so many, and at most three of four.
const FOR_THE_REST: usize = 256;
/// Connections of all gRPC ports together.
const GRPC: usize = 1024;
/// Connections of the port for health.
const ADMIN: usize = 64;

/// How many connections each kind of port of a process may have, so that none takes the descriptors that another needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// All that the process may have.
    pub all: usize,
    pub gateway: usize,
    pub grpc: usize,
    pub admin: usize,
}

impl Descriptors {
    /// Raises the limit of the process as far as it may without asking anybody, and shares out what that gives. `gateway` is
    /// how many connections the gateway wants at most.
    pub fn share_out(gateway: usize) -> Self {
        let enough = u64::try_from(gateway).unwrap_or(u64::MAX).saturating_mul(2).max(ENOUGH);
        let all = usize::try_from(raised(enough)).unwrap_or(usize::MAX);
        Self::of(all, gateway)
    }

    fn of(all: usize, gateway: usize) -> Self {
        let rest = (all / 4 * 3).min(FOR_THE_REST);
        let connections = all.saturating_sub(rest);
        Self {
            all,
            gateway: (connections / 8 * 5).clamp(1, gateway.max(1)),
            grpc: (connections / 4).clamp(1, GRPC),
            admin: (connections / 8).clamp(1, ADMIN),
        }
    }
}

/// The soft limit, once it is as high as the hard one lets it be, or high enough.
fn raised(enough: u64) -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(enough);
    let wanted = limit.maximum.unwrap_or(enough).min(enough);
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
    fn no_port_takes_the_descriptors_of_another() {
        for all in [4, 64, 200, 256, 1024, 4096, 65_536, 1 << 20] {
            let shared = Descriptors::of(all, 4096);
            let connections = shared.gateway + shared.grpc + shared.admin;
            let rest = (all / 4 * 3).min(256);
            assert!(connections + rest <= all.max(6), "{shared:?}");
            assert!(shared.gateway >= shared.grpc || shared.gateway == 4096, "{shared:?}");
        }
        let plenty = Descriptors {
            all: 65_536,
            gateway: 4096,
            grpc: 1024,
            admin: 64,
        };
        assert_eq!(Descriptors::of(65_536, 4096), plenty);
        let few = Descriptors {
            all: 200,
            gateway: 30,
            grpc: 12,
            admin: 6,
        };
        assert_eq!(Descriptors::of(200, 4096), few);
    }
}
