//! The events that a cart has applied, in bounded space.

use std::collections::BTreeSet;

use jiff::Timestamp;
use uuid::Builder;

use super::EventId;

const MAX_RECENT: usize = 256;

/// The latest ids and a floor: ids at or below the floor count as applied. Ids grow with time, so new events are far
/// above the floor, and the topic can be delivered again from its start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AppliedEvents {
    floor: Option<EventId>,
    recent: BTreeSet<EventId>,
}

impl AppliedEvents {
    /// All events that were published before this time.
    pub fn before(time: Timestamp) -> Self {
        // A UUIDv7 begins with its time. The smallest UUIDv7 of a millisecond has zeros behind it.
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

    /// The ids above the floor, in ascending order.
    pub fn recent(&self) -> impl Iterator<Item = EventId> + '_ {
        self.recent.iter().copied()
    }

    pub fn contains(&self, event: EventId) -> bool {
        self.floor.is_some_and(|floor| event <= floor) || self.recent.contains(&event)
    }

    /// Records an event. False if the event was applied before.
    pub fn record(&mut self, event: EventId) -> bool {
        if self.contains(event) {
            return false;
        }
        self.recent.insert(event);
        if self.recent.len() > MAX_RECENT {
            // The smallest id above the floor, so the floor only rises.
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
    fn events_below_the_floor_still_count_as_applied() {
        let mut applied = AppliedEvents::default();
        assert!((1..=1000).all(|n| applied.record(event(n))));
        assert!((1..=1000).all(|n| !applied.record(event(n))));
        assert_eq!(applied.recent().count(), MAX_RECENT);
        assert_eq!(applied.floor(), Some(event(1000 - 256)));
    }

    #[test]
    fn events_published_before_a_time_count_as_applied() {
        let published =
            |second: u64| EventId(Builder::from_unix_timestamp_millis(second * 1000, &[0xff; 10]).into_uuid());
        let applied = AppliedEvents::before(Timestamp::from_second(1_750_000_000).unwrap());
        assert!(applied.contains(published(1_749_999_999)));
        assert!(!applied.contains(published(1_750_000_000)));
        let before_1970 = Timestamp::from_second(-1).unwrap();
        assert_eq!(AppliedEvents::before(before_1970), AppliedEvents::default());
    }

    #[test]
    fn recent_events_may_arrive_out_of_order() {
        let mut applied = AppliedEvents::default();
        assert!(applied.record(event(7)));
        assert!(applied.record(event(3)));
        assert!(!applied.record(event(7)));
        assert!(applied.record(event(5)));
    }

    proptest! {
        #[test]
        fn no_event_is_recorded_twice(events in proptest::collection::vec(0_u128..2000, 0..1500)) {
            let mut applied = AppliedEvents::default();
            let mut recorded = BTreeSet::new();
            for n in events {
                if applied.record(event(n)) {
                    prop_assert!(recorded.insert(n));
                }
                prop_assert!(applied.contains(event(n)));
            }
        }
    }
}
