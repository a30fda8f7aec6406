//! Events that cannot be applied are parked, and can be redriven.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use events::{DeadLetters, EventBus, HandlerError, Message, Parked, dead_letter_topic};
use testing::{KafkaFixture, SqliteFixture};

use crate::{
    buses::Buses,
    support::{
        FlakyBus, KIND, PublishFault, Recorder, TOPIC, consume, event, in_order, messages, number, parked,
        parked_elsewhere, soon, stop,
    },
};

const KEYS: [&str; 4] = ["a", "b", "c", "d"];

testing::contract! { dead_letter_suite:
    a_poisoned_event_is_parked_with_its_reason_and_others_are_applied,
    a_panic_of_the_handler_parks_only_that_event,
    messages_that_are_no_events_are_parked,
    an_unknown_version_is_parked_and_an_unknown_name_is_skipped,
    a_message_too_large_to_park_is_parked_without_its_value,
    a_redriven_event_is_applied_by_its_group_only,
    a_failed_parking_loses_no_event,
    an_event_that_two_groups_cannot_apply_is_parked_for_each,
}

dead_letter_suite!(on_sqlite: SqliteFixture, on_kafka: KafkaFixture);

async fn empty_bus(fixture: &dyn Buses) -> Arc<dyn EventBus> {
    let bus = fixture.open().await;
    bus.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
    bus
}

fn poisoned() -> HandlerError {
    HandlerError::Poisoned("its sums do not agree".to_owned())
}

/// Cannot apply the second event of key `a`.
fn refuses_a1() -> Arc<Recorder> {
    Recorder::new(|event, _| {
        if event.key == "a" && number(&event.to_message()) == 1 {
            Err(poisoned())
        } else {
            Ok(())
        }
    })
}

fn ids(letters: &[Parked]) -> Vec<String> {
    letters.iter().map(|letter| letter.id.clone()).collect()
}

async fn a_poisoned_event_is_parked_with_its_reason_and_others_are_applied(fixture: &dyn Buses) {
    let bus = empty_bus(fixture).await;
    bus.publish(TOPIC.name, messages(&KEYS, 10)).await.unwrap();
    let recorder = refuses_a1();
    let consumer = consume("g", &bus, recorder.clone());
    recorder.applied(39).await;
    let letters = parked(&bus, "g", 1).await;
    stop(consumer).await;
    let mut expected = in_order(&KEYS, 10);
    expected.get_mut("a").unwrap().remove(1);
    assert_eq!(recorder.by_key(), expected);
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!(letter.id, event("a", 1).id.to_string());
    assert_eq!(
        (letter.group.as_str(), letter.reason.as_str()),
        ("g", "its sums do not agree")
    );
    assert_eq!(letter.parked_at, "1970-01-01T00:00:00Z");
    let topic = bus.read_all(TOPIC.name).await.unwrap();
    let place = topic
        .iter()
        .find(|delivery| delivery.message == event("a", 1).to_message())
        .unwrap()
        .position;
    assert_eq!(
        letter.origin,
        format!("{}/{}/{}", TOPIC.name, place.partition, place.offset)
    );
    assert_eq!(
        (&letter.message.key, &letter.message.value),
        (&event("a", 1).key, &event("a", 1).data)
    );
}

async fn a_panic_of_the_handler_parks_only_that_event(fixture: &dyn Buses) {
    let bus = empty_bus(fixture).await;
    bus.publish(TOPIC.name, messages(&KEYS, 3)).await.unwrap();
    let recorder = Recorder::new(|event, _| {
        assert!(event.key != "b" || number(&event.to_message()) != 0, "as it was told");
        Ok(())
    });
    let consumer = consume("g", &bus, recorder.clone());
    recorder.applied(11).await;
    let letters = parked(&bus, "g", 1).await;
    stop(consumer).await;
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (&letters[0].id, letters[0].reason.as_str()),
        (&event("b", 0).id.to_string(), "applying it panicked")
    );
}

async fn messages_that_are_no_events_are_parked(fixture: &dyn Buses) {
    let bus = empty_bus(fixture).await;
    let without = |header: &str| {
        let mut message = event("a", 7).to_message();
        message.headers.retain(|(name, _)| name != header);
        message
    };
    let wrong = vec![
        Message {
            key: String::new(),
            headers: Vec::new(),
            value: Vec::new().into(),
        },
        without("ce_id"),
        without("ce_type"),
        without("ce_source").with_header("ce_id", event("x", 1).id.to_string()),
        event("a", 1).to_message().with_header("ce_id", "7"),
        event("a", 2).to_message().with_header("ce_id", "7"),
        event("a", 3).to_message().with_header("ce_time", "yesterday"),
    ];
    bus.publish(TOPIC.name, wrong).await.unwrap();
    bus.publish(TOPIC.name, messages(&KEYS, 1)).await.unwrap();
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    recorder.applied(4).await;
    // Two messages with the same invalid id are two letters.
    let letters = parked(&bus, "g", 7).await;
    stop(consumer).await;
    let mut reasons: Vec<_> = letters.iter().map(|letter| letter.reason.as_str()).collect();
    reasons.sort_unstable();
    let expected = [
        "header ce_id is malformed",
        "header ce_id is malformed",
        "header ce_id is missing",
        "header ce_id is missing",
        "header ce_source is missing",
        "header ce_time is malformed",
        "header ce_type is missing",
    ];
    assert_eq!(reasons, expected);
    assert!(
        letters
            .iter()
            .filter(|l| l.reason.contains("ce_id"))
            .all(|l| l.id == l.origin)
    );
}

async fn an_unknown_version_is_parked_and_an_unknown_name_is_skipped(fixture: &dyn Buses) {
    let bus = empty_bus(fixture).await;
    let of_kind = |n: u32, kind: &str| event("a", n).to_message().with_header("ce_type", kind);
    let sent = vec![
        of_kind(0, "test.happened.v2"),
        of_kind(1, "test.other.v1"),
        of_kind(2, "test.happened"),
        of_kind(3, KIND),
    ];
    bus.publish(TOPIC.name, sent).await.unwrap();
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    recorder.applied(1).await;
    stop(consumer).await;
    assert_eq!(recorder.by_key()["a"], [3]);
    let letters = parked(&bus, "g", 2).await;
    assert_eq!(ids(&letters), [0, 2].map(|n| event("a", n).id.to_string()));
    for word in ["test.happened.v2", KIND] {
        assert!(letters[0].reason.contains(word), "{}", letters[0].reason);
    }
}

async fn a_message_too_large_to_park_is_parked_without_its_value(fixture: &dyn Buses) {
    let bus = empty_bus(fixture).await;
    // The largest message that a bus takes: with the headers of a letter it is too large.
    let large = Message {
        key: "a".to_owned(),
        headers: Vec::new(),
        value: vec![b'x'; (4 << 20) - 128].into(),
    };
    bus.publish(TOPIC.name, vec![large, event("a", 1).to_message()])
        .await
        .unwrap();
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    recorder.applied(1).await;
    let letters = parked(&bus, "g", 1).await;
    assert_eq!(letters[0].reason, "header ce_id is missing");
    assert!(letters[0].origin.starts_with(TOPIC.name), "{}", letters[0].origin);
    assert!(letters[0].message.value.is_empty());
    stop(consumer).await;
}

async fn a_redriven_event_is_applied_by_its_group_only(fixture: &dyn Buses) {
    let bus = empty_bus(fixture).await;
    bus.publish(TOPIC.name, messages(&KEYS, 2)).await.unwrap();
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = mended.clone();
    let strict = Recorder::new(move |event, _| {
        let refused = event.key == "a" && number(&event.to_message()) == 1 && !is_mended.load(Ordering::SeqCst);
        if refused { Err(poisoned()) } else { Ok(()) }
    });
    let lenient = Recorder::new(|_, _| Ok(()));
    let consumers = [
        consume("strict", &bus, strict.clone()),
        consume("lenient", &bus, lenient.clone()),
    ];
    lenient.applied(8).await;
    strict.applied(7).await;
    let letters = DeadLetters::new(bus.clone());
    let first = parked(&bus, "strict", 1).await;

    // Redriven before the handler is fixed, the event is parked again.
    letters.redrive(TOPIC.name, &first[0]).await.unwrap();
    let second = parked_elsewhere(&bus, "strict", &first[0].origin).await;
    assert_eq!(ids(&second), ids(&first));

    mended.store(true, Ordering::SeqCst);
    letters.redrive(TOPIC.name, &second[0]).await.unwrap();
    strict.applied(8).await;
    assert!(letters.list(TOPIC.name, "strict").await.unwrap().is_empty());
    // When the other group applies this event, it has skipped both redriven copies.
    bus.publish(TOPIC.name, vec![event("a", 2).to_message()]).await.unwrap();
    lenient.applied(9).await;
    for consumer in consumers {
        stop(consumer).await;
    }
    assert_eq!(lenient.by_key()["a"], [0, 1, 2]);
    assert_eq!(strict.by_key()["a"][..2], [0, 1]);
    assert!(letters.list(TOPIC.name, "lenient").await.unwrap().is_empty());
}

async fn a_failed_parking_loses_no_event(fixture: &dyn Buses) {
    let inner = empty_bus(fixture).await;
    inner.publish(TOPIC.name, messages(&KEYS, 3)).await.unwrap();
    // Only letters are published through this bus.
    let flaky = Arc::new(FlakyBus::new(
        inner,
        [
            PublishFault::NotWritten,
            PublishFault::AnswerLost,
            PublishFault::NotWritten,
        ]
        .map(Some),
    ));
    let bus: Arc<dyn EventBus> = flaky.clone();
    let recorder = refuses_a1();
    let consumer = consume("g", &bus, recorder.clone());
    soon(async {
        while !flaky.is_done() {
            parked(&bus, "g", 0).await;
        }
    })
    .await;
    let letters = parked(&bus, "g", 1).await;
    recorder.applied(11).await;
    stop(consumer).await;
    // A letter that was written several times is listed once.
    assert_eq!(ids(&letters), [event("a", 1).id.to_string()]);
    assert!(
        !bus.read_all(&dead_letter_topic(TOPIC.name, "g"))
            .await
            .unwrap()
            .is_empty()
    );
}

async fn an_event_that_two_groups_cannot_apply_is_parked_for_each(fixture: &dyn Buses) {
    let bus = empty_bus(fixture).await;
    bus.publish(TOPIC.name, messages(&["a"], 2)).await.unwrap();
    let consumers = ["one", "two"].map(|group| consume(group, &bus, refuses_a1()));
    for group in ["one", "two"] {
        let letters = parked(&bus, group, 1).await;
        assert_eq!((letters.len(), letters[0].group.as_str()), (1, group));
    }
    for consumer in consumers {
        stop(consumer).await;
    }
    let letters = DeadLetters::new(bus.clone());
    let one = letters.list(TOPIC.name, "one").await.unwrap();
    letters.redrive(TOPIC.name, &one[0]).await.unwrap();
    assert!(letters.list(TOPIC.name, "one").await.unwrap().is_empty());
    assert_eq!(letters.list(TOPIC.name, "two").await.unwrap().len(), 1);
}
