//! The contract of the event bus.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use events::{Delivery, EraseOutcome, EventBus, LetterPosition, Message, Topic, dead_letter_topic};
use futures::future::{join, join_all};
use testing::{KafkaFixture, SqliteFixture};
use tokio::sync::watch;

use crate::{
    buses::Buses,
    support::{TOPIC, by_key, event, first_times, in_order, join_group, last, messages, number, read, soon},
};

testing::contract! { bus_contract:
    a_new_group_starts_at_the_beginning,
    messages_of_one_key_are_delivered_in_order,
    a_message_is_delivered_unchanged,
    committed_offsets_survive_a_reopen,
    uncommitted_messages_are_delivered_again,
    groups_have_independent_offsets,
    a_new_process_sees_all_published_messages,
    a_value_of_two_megabytes_is_delivered_unchanged,
    keys_are_in_the_partitions_that_kafka_chooses,
    read_all_returns_every_message_of_a_topic,
    a_publication_wakes_a_waiting_member,
    a_cancelled_wait_loses_no_message,
    the_committed_offset_never_goes_back,
    sixty_four_concurrent_publishers_lose_no_message,
    an_existing_topic_keeps_its_partitions,
    a_new_topic_keeps_all_confirmed_messages,
    two_members_of_a_group_miss_no_message,
    joining_and_leaving_members_keep_the_order_per_key,
    messages_are_erased_only_once_all_groups_have_read_them,
}

bus_contract!(on_sqlite: SqliteFixture, on_kafka: KafkaFixture);

/// A bus with its topic.
pub(crate) async fn ready(fixture: &dyn Buses) -> (Arc<dyn EventBus>, Topic) {
    let (bus, topic) = (fixture.open().await, TOPIC);
    bus.ensure_topic(topic.name, topic.partitions).await.unwrap();
    assert!(bus.is_up().await);
    (bus, topic)
}

async fn a_new_group_starts_at_the_beginning(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    bus.publish(topic.name, messages(&["a", "b", "c", "d"], 5))
        .await
        .unwrap();
    let mut subscription = bus.subscribe("new", topic).await.unwrap();
    let all = read(subscription.as_mut(), 20).await;
    assert_eq!(by_key(&all), in_order(&["a", "b", "c", "d"], 5));
}

async fn messages_of_one_key_are_delivered_in_order(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    let keys = ["a", "b", "c", "d", "e", "f", "g"];
    // More messages than one delivery holds.
    for batch in messages(&keys, 100).chunks(33) {
        bus.publish(topic.name, batch.to_vec()).await.unwrap();
    }
    let all = read(bus.subscribe("g", topic).await.unwrap().as_mut(), 700).await;
    assert_eq!(by_key(&all), in_order(&keys, 100));
    let mut next: BTreeMap<u32, u64> = BTreeMap::new();
    for Delivery { position, .. } in all {
        let expected = next.entry(position.partition).or_default();
        assert_eq!(position.offset, *expected, "no offset is left out");
        *expected += 1;
    }
    assert!(next.len() > 1, "keys are spread");
}

async fn a_message_is_delivered_unchanged(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = vec![header("b", "naïve \"text\"\n"), header("a", ""), header("b", "again")];
    let published = vec![
        Message {
            key: "k".to_owned(),
            headers,
            value: vec![0, 0xff, b'"'].into(),
        },
        Message {
            key: "k".to_owned(),
            headers: Vec::new(),
            value: Vec::new().into(),
        },
    ];
    bus.publish(topic.name, published.clone()).await.unwrap();
    bus.publish(topic.name, Vec::new()).await.unwrap();
    let all = read(bus.subscribe("g", topic).await.unwrap().as_mut(), 2).await;
    assert_eq!(
        all.into_iter().map(|delivery| delivery.message).collect::<Vec<_>>(),
        published
    );
}

async fn committed_offsets_survive_a_reopen(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    bus.publish(topic.name, messages(&["a", "b", "c"], 4)).await.unwrap();
    let mut subscription = bus.subscribe("g", topic).await.unwrap();
    let first = read(subscription.as_mut(), 12).await;
    subscription.commit(&last(&first)).await.unwrap();
    drop((subscription, bus));
    let bus = fixture.open().await;
    bus.publish(topic.name, vec![event("a", 4).to_message()]).await.unwrap();
    let next = read(bus.subscribe("g", topic).await.unwrap().as_mut(), 1).await;
    assert_eq!(number(&next[0].message), 4);
}

async fn uncommitted_messages_are_delivered_again(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    bus.publish(topic.name, messages(&["a"], 5)).await.unwrap();
    let mut subscription = bus.subscribe("g", topic).await.unwrap();
    let first = read(subscription.as_mut(), 5).await;
    subscription.commit(&[first[1].position]).await.unwrap();
    drop(subscription);
    let again = read(bus.subscribe("g", topic).await.unwrap().as_mut(), 3).await;
    assert_eq!(again, first[2..]);
}

async fn groups_have_independent_offsets(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    bus.publish(topic.name, messages(&["a", "b", "c"], 4)).await.unwrap();
    let mut one = bus.subscribe("one", topic).await.unwrap();
    let mut two = bus.subscribe("two", topic).await.unwrap();
    let of_one = read(one.as_mut(), 12).await;
    one.commit(&last(&of_one)).await.unwrap();
    assert_eq!(by_key(&read(two.as_mut(), 12).await), by_key(&of_one));
    drop((one, two));
    assert_eq!(
        read(bus.subscribe("two", topic).await.unwrap().as_mut(), 12)
            .await
            .len(),
        12
    );
}

async fn a_new_process_sees_all_published_messages(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    bus.publish(topic.name, messages(&["a", "b"], 3)).await.unwrap();
    // The first bus is still open, and had no time to finish anything in the background.
    let other = fixture.open().await;
    assert_eq!(
        by_key(&other.read_all(topic.name).await.unwrap()),
        in_order(&["a", "b"], 3)
    );
}

async fn a_value_of_two_megabytes_is_delivered_unchanged(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    let value: Vec<u8> = (0..2_u32 << 20).map(|i| i.to_le_bytes()[0]).collect();
    let message = Message {
        key: "k".to_owned(),
        headers: Vec::new(),
        value: value.into(),
    };
    bus.publish(topic.name, vec![message.clone()]).await.unwrap();
    let all = read(bus.subscribe("g", topic).await.unwrap().as_mut(), 1).await;
    assert_eq!(all[0].message, message);
}

async fn keys_are_in_the_partitions_that_kafka_chooses(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    // The hashes are those of Kafka's own test (UtilsTest.testMurmur2).
    let hashes: [(&str, i32); 6] = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];
    let keys: Vec<&str> = hashes.iter().map(|(key, _)| *key).collect();
    bus.publish(topic.name, messages(&keys, 2)).await.unwrap();
    for Delivery { position, message } in bus.read_all(topic.name).await.unwrap() {
        let (_, hash) = hashes.iter().find(|(key, _)| *key == message.key).unwrap();
        let expected = (hash.cast_unsigned() & 0x7fff_ffff) % topic.partitions;
        assert_eq!(position.partition, expected, "{}", message.key);
    }
}

async fn read_all_returns_every_message_of_a_topic(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    assert_eq!(bus.read_all("there-is-no-such-topic").await.unwrap(), []);
    assert_eq!(bus.read_all(topic.name).await.unwrap(), []);
    bus.publish(topic.name, messages(&["a", "b", "c", "d"], 60))
        .await
        .unwrap();
    let all = bus.read_all(topic.name).await.unwrap();
    assert_eq!(by_key(&all), in_order(&["a", "b", "c", "d"], 60));
    assert!(all.is_sorted_by_key(|delivery| delivery.position));
}

async fn a_publication_wakes_a_waiting_member(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    let mut subscription = bus.subscribe("g", topic).await.unwrap();
    let publish = async {
        tokio::task::yield_now().await;
        bus.publish(topic.name, messages(&["a"], 1)).await.unwrap();
    };
    let (deliveries, ()) = join(soon(subscription.next()), publish).await;
    assert_eq!(by_key(&deliveries.unwrap()), in_order(&["a"], 1));
}

async fn a_cancelled_wait_loses_no_message(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    let mut subscription = bus.subscribe("g", topic).await.unwrap();
    let publish = async {
        for n in 0..200 {
            bus.publish(
                topic.name,
                vec![event(["a", "b", "c"][n % 3], u32::try_from(n / 3).unwrap()).to_message()],
            )
            .await
            .unwrap();
        }
    };
    let mut all = Vec::new();
    let mut dropped = 0;
    let consume = async {
        while all.len() < 200 {
            // From zero to longer than a fetch takes.
            let wait = Duration::from_micros(50 * (dropped % 40));
            match tokio::time::timeout(wait, subscription.next()).await {
                Ok(deliveries) => all.extend(deliveries.unwrap()),
                Err(_) => dropped += 1,
            }
        }
    };
    soon(join(publish, consume)).await;
    assert!(dropped > 0);
    for (key, numbers) in by_key(&all) {
        assert!(
            numbers.iter().copied().eq(0..u32::try_from(numbers.len()).unwrap()),
            "{key}: {numbers:?}"
        );
    }
}

async fn the_committed_offset_never_goes_back(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    bus.publish(topic.name, messages(&["a"], 6)).await.unwrap();
    let mut subscription = bus.subscribe("g", topic).await.unwrap();
    let all = read(subscription.as_mut(), 6).await;
    subscription.commit(&[all[4].position]).await.unwrap();
    subscription.commit(&[all[1].position]).await.unwrap();
    drop(subscription);
    assert_eq!(
        read(bus.subscribe("g", topic).await.unwrap().as_mut(), 1).await,
        all[5..]
    );
}

async fn sixty_four_concurrent_publishers_lose_no_message(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    let keys: Vec<String> = (0..64).map(|n| format!("key-{n}")).collect();
    let publish = |key: String| {
        let bus = bus.clone();
        async move {
            for n in 0..4 {
                bus.publish(topic.name, vec![event(&key, n).to_message()])
                    .await
                    .unwrap();
            }
        }
    };
    join_all(keys.iter().cloned().map(publish)).await;
    let all = read(bus.subscribe("g", topic).await.unwrap().as_mut(), 256).await;
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(by_key(&all), in_order(&keys, 4));
}

async fn an_existing_topic_keeps_its_partitions(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    let keys: Vec<String> = (0..32).map(|n| format!("key-{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    bus.publish(topic.name, messages(&keys, 1)).await.unwrap();
    let places = || async {
        let all = bus.read_all(topic.name).await.unwrap();
        all.into_iter()
            .map(|delivery| (delivery.message.key, delivery.position.partition))
            .collect::<BTreeMap<_, _>>()
    };
    let before = places().await;
    for partitions in [1, topic.partitions, 16] {
        bus.ensure_topic(topic.name, partitions).await.unwrap();
    }
    bus.publish(topic.name, messages(&keys, 1)).await.unwrap();
    assert_eq!(places().await, before);
}

async fn a_new_topic_keeps_all_confirmed_messages(fixture: &dyn Buses) {
    let bus = fixture.open().await;
    let keys = ["a", "b", "c", "d", "e", "f"];
    for n in 0..8 {
        let topic = format!("new-{n}");
        bus.ensure_topic(&topic, 3).await.unwrap();
        bus.publish(&topic, messages(&keys, 5)).await.unwrap();
        assert_eq!(by_key(&bus.read_all(&topic).await.unwrap()), in_order(&keys, 5));
    }
}

/// Publishes event `n` of each key.
async fn publish(bus: &dyn EventBus, keys: &[&str], n: u32) {
    let messages = keys.iter().map(|key| event(key, n).to_message()).collect();
    bus.publish(TOPIC.name, messages).await.unwrap();
}

/// Waits for so many events, not counting repetitions.
async fn arrived(all: &watch::Sender<Vec<Delivery>>, count: usize) {
    soon(all.subscribe().wait_for(|all| first_times(all).len() >= count))
        .await
        .unwrap();
}

async fn two_members_of_a_group_miss_no_message(fixture: &dyn Buses) {
    let (bus, _) = ready(fixture).await;
    let keys = ["a", "b", "c", "d", "e", "f"];
    let all = watch::Sender::default();
    let work = async {
        for n in 0..60 {
            publish(bus.as_ref(), &keys, n).await;
        }
        arrived(&all, 360).await;
    };
    tokio::select! {
        () = work => {}
        () = join_group(bus.as_ref(), [&all]) => {}
        () = join_group(bus.as_ref(), [&all]) => {}
    }
    assert_eq!(by_key(&first_times(&all.borrow())), in_order(&keys, 60));
}

async fn joining_and_leaving_members_keep_the_order_per_key(fixture: &dyn Buses) {
    let (bus, _) = ready(fixture).await;
    let keys = ["a", "b", "c", "d", "e", "f"];
    let (all, of_second) = (watch::Sender::default(), watch::Sender::default());
    let mut n = 0;
    let second = async {
        arrived(&all, 1).await;
        join_group(bus.as_ref(), [&all, &of_second]).await;
    };
    let work = async {
        // The second member joins while the first one works, and the first one leaves while the second one works.
        let both = async {
            while of_second.borrow().len() < 20 {
                publish(bus.as_ref(), &keys, n).await;
                n += 1;
                let _ = tokio::time::timeout(Duration::from_millis(20), of_second.subscribe().changed()).await;
            }
        };
        tokio::select! {
            () = both => {}
            () = join_group(bus.as_ref(), [&all]) => {}
        }
        for _ in 0..20 {
            publish(bus.as_ref(), &keys, n).await;
            n += 1;
        }
        arrived(&all, keys.len() * usize::try_from(n).unwrap()).await;
    };
    tokio::select! {
        () = work => {}
        () = second => {}
    }
    assert_eq!(by_key(&first_times(&all.borrow())), in_order(&keys, n));
}

async fn messages_are_erased_only_once_all_groups_have_read_them(fixture: &dyn Buses) {
    let (bus, topic) = ready(fixture).await;
    let letters = dead_letter_topic(topic.name, "one");
    bus.ensure_topic(&letters, 1).await.unwrap();
    bus.publish(topic.name, messages(&["a", "b", "c"], 3)).await.unwrap();
    bus.publish(&letters, messages(&["a", "b"], 1)).await.unwrap();
    let before = bus.read_all(topic.name).await.unwrap();
    let keys = ["a".to_owned(), "c".to_owned()];
    let looked_at = |group: &str, next_offset| LetterPosition {
        group: group.to_owned(),
        next_offset,
    };
    // The second letter of group `one` has another key.
    let groups = [looked_at("one", 1), looked_at("two", 0)];
    let mut read_by = Vec::new();
    for group in ["one", "two"] {
        let erased = bus.erase(topic.name, &groups, &keys).await.unwrap();
        assert_ne!(erased, EraseOutcome::Erased, "{group} has read nothing yet");
        assert_eq!(bus.read_all(topic.name).await.unwrap(), before);
        let mut subscription = bus.subscribe(group, topic).await.unwrap();
        let all = read(subscription.as_mut(), 9).await;
        subscription.commit(&last(&all)).await.unwrap();
        read_by.push(subscription);
    }
    let erased = bus
        .erase(topic.name, &groups.map(|group| looked_at(&group.group, 0)), &keys)
        .await
        .unwrap();
    assert_ne!(erased, EraseOutcome::Erased, "a letter was not looked at");
    assert_eq!(bus.read_all(topic.name).await.unwrap(), before);
    let groups = [looked_at("one", 1), looked_at("two", 0)];
    let kept: Vec<_> = match bus.erase(topic.name, &groups, &keys).await.unwrap() {
        EraseOutcome::Unsupported => before,
        EraseOutcome::Unread => panic!("all have read them"),
        EraseOutcome::Erased => {
            let letters = bus.read_all(&letters).await.unwrap();
            assert!(letters.iter().all(|letter| letter.message.key == "b"), "{letters:?}");
            // The other messages keep their positions.
            before
                .into_iter()
                .filter(|delivery| delivery.message.key == "b")
                .collect()
        }
    };
    assert_eq!(bus.read_all(topic.name).await.unwrap(), kept);
    // Members continue after their offsets, and a new group gets all messages that are left.
    bus.publish(topic.name, vec![event("a", 9).to_message()]).await.unwrap();
    for subscription in &mut read_by {
        assert_eq!(number(&read(subscription.as_mut(), 1).await[0].message), 9);
    }
    let all = read(bus.subscribe("new", topic).await.unwrap().as_mut(), kept.len() + 1).await;
    assert_eq!(all.len(), kept.len() + 1);
}
