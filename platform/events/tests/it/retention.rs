//! The contract of trimming.

use std::time::Duration;

use events::{Delivery, EventBus, Topic, dead_letter_topic};
use jiff::Timestamp;
use runtime::Clock;
use testing::{KafkaFixture, SqliteFixture};

use crate::{
    bus::ready,
    buses::Buses,
    support::{TOPIC, event, last, messages, number, read, read_until},
};

const HOUR: Duration = Duration::from_hours(1);

testing::contract! { retention_contract:
    old_events_are_removed_once_all_groups_have_read_them,
    young_events_stay_even_if_all_groups_have_read_them,
    trimming_a_topic_keeps_its_dead_letters,
    a_missing_topic_has_no_old_events,
}

retention_contract!(on_sqlite: SqliteFixture, on_kafka: KafkaFixture);

/// Publishes three events of each key, and lets these groups read all of them.
async fn read_by(bus: &dyn EventBus, topic: Topic, groups: &[&str]) -> Vec<Delivery> {
    bus.publish(topic.name, messages(&["a", "b", "c", "d", "e"], 3))
        .await
        .unwrap();
    let all = bus.read_all(topic.name).await.unwrap();
    for group in groups {
        commit(bus, topic, group, &all).await;
    }
    all
}

/// A member joins, receives these messages, commits them and leaves.
async fn commit(bus: &dyn EventBus, topic: Topic, group: &str, done: &[Delivery]) {
    let mut subscription = bus.subscribe(group, topic).await.unwrap();
    let mut missing = done.len();
    let all = read_until(subscription.as_mut(), |read| {
        missing = done.iter().filter(|done| !read.contains(done)).count();
        missing == 0
    });
    all.await;
    subscription.commit(&last(done)).await.unwrap();
}

fn later(by: Duration) -> Timestamp {
    Clock::system().now() + by
}

/// Waits for the next millisecond, the resolution of the times of messages.
async fn next_millisecond() -> Timestamp {
    let clock = Clock::system();
    let before = clock.now();
    while clock.now() <= before {
        tokio::task::yield_now().await;
    }
    clock.now()
}

async fn trim(bus: &dyn EventBus, topic: Topic, before: Timestamp) -> u64 {
    let mut removed = 0;
    loop {
        match bus.trim(topic, before).await.unwrap() {
            0 => return removed,
            some => removed += some,
        }
    }
}

async fn old_events_are_removed_once_all_groups_have_read_them(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    let old = later(HOUR);
    assert!(!bus.has_before(topic, old).await.unwrap(), "there is nothing");
    let all = read_by(bus.as_ref(), topic, &[]).await;
    assert!(bus.has_before(topic, old).await.unwrap());
    assert_eq!(trim(bus.as_ref(), topic, old).await, 0, "nobody has read anything");
    commit(bus.as_ref(), topic, "g", &all).await;
    commit(bus.as_ref(), topic, "another", &all).await;
    assert_eq!(trim(bus.as_ref(), topic, old).await, 0, "one group never read anything");
    // Group `h` commits only the first two messages of one partition.
    let first = &all[..2];
    assert_eq!(first[0].position.partition, first[1].position.partition);
    commit(bus.as_ref(), topic, "h", first).await;
    assert_eq!(trim(bus.as_ref(), topic, old).await, 2);
    assert_eq!(bus.read_all(topic.name).await.unwrap(), all[2..]);
    assert!(bus.has_before(topic, old).await.unwrap());
    commit(bus.as_ref(), topic, "h", &all[2..]).await;
    let rest = u64::try_from(all.len() - 2).unwrap();
    assert_eq!(trim(bus.as_ref(), topic, old).await, rest);
    assert_eq!(bus.read_all(topic.name).await.unwrap(), []);
    assert!(!bus.has_before(topic, old).await.unwrap());
    // Offsets continue, groups continue after their offsets, and a new group starts with what is left.
    bus.publish(topic.name, vec![event("a", 9).to_message()]).await.unwrap();
    let last_of = |partition| {
        all.iter()
            .filter(move |read| read.position.partition == partition)
            .count()
    };
    for group in ["g", "h", "new"] {
        let next = read(bus.subscribe(group, topic).await.unwrap().as_mut(), 1)
            .await
            .remove(0);
        assert_eq!(number(&next.message), 9);
        let count = u64::try_from(last_of(next.position.partition)).unwrap();
        assert_eq!(next.position.offset, count, "{group}");
    }
}

async fn young_events_stay_even_if_all_groups_have_read_them(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    let all = read_by(bus.as_ref(), topic, topic.groups).await;
    let before = Clock::system().now() - HOUR;
    assert!(!bus.has_before(topic, before).await.unwrap());
    assert_eq!(trim(bus.as_ref(), topic, before).await, 0);
    assert_eq!(trim(bus.as_ref(), topic, Timestamp::MIN).await, 0);
    assert_eq!(bus.read_all(topic.name).await.unwrap(), all);
    // Later the same number of events is published again.
    let between = next_millisecond().await;
    next_millisecond().await;
    bus.publish(topic.name, messages(&["a", "b", "c", "d", "e"], 3))
        .await
        .unwrap();
    let mut young = bus.read_all(topic.name).await.unwrap();
    young.retain(|delivery| !all.contains(delivery));
    for group in topic.groups {
        commit(bus.as_ref(), topic, group, &young).await;
    }
    assert_eq!(
        trim(bus.as_ref(), topic, between).await,
        u64::try_from(all.len()).unwrap()
    );
    assert_eq!(bus.read_all(topic.name).await.unwrap(), young);
}

async fn trimming_a_topic_keeps_its_dead_letters(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    let letters = dead_letter_topic(topic.name, topic.groups[0]);
    bus.ensure_topic(&letters, 1).await.unwrap();
    bus.publish(&letters, messages(&["a", "b"], 2)).await.unwrap();
    let all = read_by(bus.as_ref(), topic, topic.groups).await;
    assert_eq!(
        trim(bus.as_ref(), topic, later(HOUR)).await,
        u64::try_from(all.len()).unwrap()
    );
    assert_eq!(bus.read_all(&letters).await.unwrap().len(), 4);
}

async fn a_missing_topic_has_no_old_events(fixture: &dyn Buses) {
    let bus = fixture.open().await;
    assert!(!bus.has_before(TOPIC, later(HOUR)).await.unwrap());
    assert_eq!(bus.trim(TOPIC, later(HOUR)).await.unwrap(), 0);
}
