//! How long entries live.

use std::time::Duration;

/// Entries live for `ttl` and up to `jitter` more, so that those that were made together do not all go together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetime {
    pub(super) ttl: Duration,
    pub(super) jitter: Duration,
}

impl Lifetime {
    /// That of one entry.
    pub(super) fn draw(&self) -> Duration {
        let jitter = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        self.ttl + Duration::from_millis(fastrand::u64(0..=jitter))
    }

    pub(super) fn longest(&self) -> Duration {
        self.ttl + self.jitter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_live_for_the_time_and_a_part_of_the_jitter() {
        let (ttl, jitter) = (Duration::from_mins(15), Duration::from_mins(5));
        let lifetime = Lifetime { ttl, jitter };
        let drawn: Vec<_> = (0..1000).map(|_| lifetime.draw()).collect();
        assert!(drawn.iter().all(|life| *life >= ttl && *life <= lifetime.longest()));
        assert!(drawn.iter().any(|life| *life < ttl + jitter / 4));
        assert!(drawn.iter().any(|life| *life > ttl + jitter / 4 * 3));
    }
}
