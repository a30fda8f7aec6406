//! The TTL of cache entries.

use std::time::Duration;

/// `base` plus a random part of `jitter`, so that entries made together do not expire together.
#[derive(Debug, Clone, Copy)]
pub(super) struct EntryTtl {
    pub(super) base: Duration,
    pub(super) jitter: Duration,
}

impl EntryTtl {
    pub(super) fn random(&self) -> Duration {
        let jitter = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        self.base + Duration::from_millis(fastrand::u64(0..=jitter))
    }

    pub(super) fn max(&self) -> Duration {
        self.base + self.jitter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_the_base_and_a_part_of_the_jitter() {
        let (base, jitter) = (Duration::from_mins(15), Duration::from_mins(5));
        let ttl = EntryTtl { base, jitter };
        let ttls: Vec<_> = (0..1000).map(|_| ttl.random()).collect();
        assert!(ttls.iter().all(|one| *one >= base && *one <= ttl.max()));
        assert!(ttls.iter().any(|one| *one < base + jitter / 4));
        assert!(ttls.iter().any(|one| *one > base + jitter / 4 * 3));
    }
}
