//! Which events a cart has applied, in bounded space.

use std::collections::BTreeSet;

use jiff::Timestamp;
use uuid::Builder;

use super::EventId;

/// Ids that are kept one by one.
const KEPT: usize = 256;

/// The latest events by id, and a floor under them: an id at or under it counts as applied. Ids grow with time, so the floor
/// is far behind anything that is still to come, and an old topic can be delivered again from its start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppliedEvents {
    floor: Option<EventId>,
    recent: BTreeSet<EventId>,
}

impl AppliedEvents {
    /// All that was published before this time.
    pub fn since(time: Timestamp) -> Self {
        // The time is what a UUIDv7 begins with, and the smallest of a millisecond has nothing else in it.
        let first = |millisecond| EventId(Builder::from_unix_timestamp_millis(millisecond, &[0; 10]).into_uuid());
        Self {
            floor: u64::try_from(time.as_millisecond()).ok().map(first),
            recent: BTreeSet::new(),
        }
    }

    pub fn restore(floor: Option<EventId>, recent: impl IntoIterator<Item = EventId>) -> Self {
        Self {
            floor,
            recent: recent.into_iter().collect(),
        }
    }

    pub const fn floor(&self) -> Option<EventId> {
        self.floor
    }

    /// Those kept one by one, smallest first.
    pub fn recent(&self) -> impl Iterator<Item = EventId> + '_ {
        self.recent.iter().copied()
    }

    pub fn contains(&self, event: EventId) -> bool {
        self.floor.is_some_and(|floor| event <= floor) || self.recent.contains(&event)
    }

    /// Notes an event. False when it was applied before.
    pub fn note(&mut self, event: EventId) -> bool {
        if self.contains(event) {
            return false;
        }
        self.recent.insert(event);
        if self.recent.len() > KEPT {
            // The smallest of those above the floor, so the floor only rises.
            self.floor = self.recent.pop_first();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn event(n: u128) -> EventId {
        EventId(Uuid::from_u128(n))
    }

    #[test]
    fn an_event_that_was_dropped_still_counts_as_applied() {
        let mut applied = AppliedEvents::default();
        assert!((1..=1000).all(|n| applied.note(event(n))));
        assert!((1..=1000).all(|n| !applied.note(event(n))));
        assert_eq!(applied.recent().count(), KEPT);
        assert_eq!(applied.floor(), Some(event(1000 - 256)));
    }

    #[test]
    fn what_was_published_before_a_time_counts_as_applied() {
        let published =
            |second: u64| EventId(Builder::from_unix_timestamp_millis(second * 1000, &[0xff; 10]).into_uuid());
        let applied = AppliedEvents::since(Timestamp::from_second(1_750_000_000).unwrap());
        assert!(applied.contains(published(1_749_999_999)));
        assert!(!applied.contains(published(1_750_000_000)));
        let before_1970 = Timestamp::from_second(-1).unwrap();
        assert_eq!(AppliedEvents::since(before_1970), AppliedEvents::default());
    }

    #[test]
    fn events_out_of_order_are_told_apart_while_they_are_near() {
        let mut applied = AppliedEvents::default();
        assert!(applied.note(event(7)));
        assert!(applied.note(event(3)));
        assert!(!applied.note(event(7)));
        assert!(applied.note(event(5)));
    }

    proptest! {
        #[test]
        fn no_event_is_ever_noted_twice(events in proptest::collection::vec(0_u128..2000, 0..1500)) {
            let mut applied = AppliedEvents::default();
            let mut noted = BTreeSet::new();
            for n in events {
                if applied.note(event(n)) {
                    prop_assert!(noted.insert(n));
                }
                prop_assert!(applied.contains(event(n)));
            }
        }
    }
}
