//! Signed events, and forged ones.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use events::{
    DeadLetters, Event, EventBus, HandlerError, Message, Parked, SignatureError, Signatures, SigningKey,
    dead_letter_topic,
};
use testing::{Fixture, KafkaFixture, SqliteFixture};

use crate::{
    buses::{Buses, sqlite_bus},
    support::{Recorder, TOPIC, consume, event, number, parked, parked_elsewhere, soon, stop},
};

testing::contract! { signed_suite:
    events_without_a_valid_signature_are_parked_and_later_ones_are_applied,
    an_event_copied_to_another_topic_key_or_id_is_parked,
    a_key_rotation_parks_nothing,
    a_redriven_forged_event_is_parked_again,
    a_redriven_event_keeps_its_signature_and_is_applied,
    forged_notes_hide_no_letter_and_forged_letters_are_not_authentic,
    a_forged_event_with_the_id_of_another_event_is_a_separate_letter,
    a_copied_event_with_forged_headers_hides_no_letter,
}

signed_suite!(on_sqlite: SqliteFixture, on_kafka: KafkaFixture);

fn key(byte: u8) -> SigningKey {
    SigningKey::new(format!("a key of events with the number {byte}").as_bytes()).unwrap()
}

fn keys(signs: u8, also: &[u8]) -> Signatures {
    Signatures::new("", key(signs), also.iter().copied().map(key).collect())
}

async fn ready(fixture: &dyn Buses, signatures: Signatures) -> Arc<dyn EventBus> {
    let bus = fixture.open_signed(signatures).await;
    bus.ensure_topic(TOPIC.name, TOPIC.partitions).await.unwrap();
    bus
}

/// Event `n` of key `a`, signed as its relay signs it.
fn signed(with: u8, n: u32) -> Message {
    keys(with, &[]).sign(TOPIC.name, event("a", n).to_message())
}

fn reasons(letters: &[Parked]) -> Vec<String> {
    letters.iter().map(|letter| letter.reason.clone()).collect()
}

async fn events_without_a_valid_signature_are_parked_and_later_ones_are_applied(fixture: &dyn Buses) {
    let bus = ready(fixture, keys(b'k', &[])).await;
    let sent = vec![
        signed(b'k', 0),
        event("a", 1).to_message(),
        signed(b'x', 2),
        Message {
            value: "99".into(),
            ..signed(b'k', 3)
        },
        signed(b'k', 4),
    ];
    bus.publish(TOPIC.name, sent).await.unwrap();
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    recorder.applied(2).await;
    let letters = parked(&bus, "g", 3).await;
    stop(consumer).await;
    assert_eq!(recorder.by_key()["a"], [0, 4]);
    let (unsigned, wrong) = (SignatureError::Missing.to_string(), SignatureError::Invalid.to_string());
    assert_eq!(reasons(&letters), [unsigned, wrong.clone(), wrong]);
    assert!(letters.iter().all(|letter| letter.authentic), "the letters are ours");
}

async fn an_event_copied_to_another_topic_key_or_id_is_parked(fixture: &dyn Buses) {
    let bus = ready(fixture, keys(b'k', &[])).await;
    let ours = signed(b'k', 0);
    let elsewhere = vec![
        ours.clone(),
        Message {
            key: "b".to_owned(),
            ..ours.clone()
        },
        ours.clone().with_header("ce_id", event("a", 9).id.to_string()),
        keys(b'k', &[]).sign("another-topic", event("a", 5).to_message()),
        signed(b'k', 1),
    ];
    bus.publish(TOPIC.name, elsewhere).await.unwrap();
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    recorder.applied(2).await;
    let letters = parked(&bus, "g", 3).await;
    stop(consumer).await;
    assert_eq!(recorder.by_key()["a"], [0, 1]);
    assert!(
        recorder.by_key().len() == 1,
        "nothing came of the copy with another key"
    );
    assert!(
        letters
            .iter()
            .all(|letter| letter.reason == SignatureError::Invalid.to_string())
    );
}

async fn a_key_rotation_parks_nothing(fixture: &dyn Buses) {
    // The relay gets the new key after all consumers accept it.
    let steps = [keys(b'k', &[]), keys(b'k', b"l"), keys(b'l', b"k"), keys(b'l', &[])];
    for (n, (before, after)) in (0..).zip(steps.iter().zip(&steps[1..])) {
        // Published before the step, and read after it.
        let bus = ready(fixture, before.clone()).await;
        let message = before.sign(TOPIC.name, event("a", n).to_message());
        bus.publish(TOPIC.name, vec![message]).await.unwrap();
        drop(bus);
        let bus = ready(fixture, after.clone()).await;
        let recorder = Recorder::new(|_, _| Ok(()));
        let consumer = consume("g", &bus, recorder.clone());
        recorder.applied(1).await;
        stop(consumer).await;
        assert!(parked(&bus, "g", 0).await.is_empty());
    }
}

async fn a_redriven_forged_event_is_parked_again(fixture: &dyn Buses) {
    let bus = ready(fixture, keys(b'k', &[])).await;
    bus.publish(TOPIC.name, vec![event("a", 0).to_message()]).await.unwrap();
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    let letters = DeadLetters::new(bus.clone());
    let mut letter = parked(&bus, "g", 1).await.remove(0);
    for _ in 0..2 {
        letters.redrive(TOPIC.name, &letter).await.unwrap();
        letter = parked_elsewhere(&bus, "g", &letter.origin).await.remove(0);
        assert_eq!(letter.reason, SignatureError::Missing.to_string());
    }
    stop(consumer).await;
    assert!(recorder.by_key().is_empty());
}

async fn a_redriven_event_keeps_its_signature_and_is_applied(fixture: &dyn Buses) {
    let bus = ready(fixture, keys(b'k', &[])).await;
    bus.publish(TOPIC.name, vec![signed(b'k', 0)]).await.unwrap();
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = mended.clone();
    let recorder = Recorder::new(move |_: &Event, _| {
        if is_mended.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(HandlerError::Poisoned("not yet".to_owned()))
        }
    });
    let consumer = consume("g", &bus, recorder.clone());
    let letter = parked(&bus, "g", 1).await.remove(0);
    mended.store(true, Ordering::SeqCst);
    let letters = DeadLetters::new(bus.clone());
    letters.redrive(TOPIC.name, &letter).await.unwrap();
    recorder.applied(1).await;
    stop(consumer).await;
    assert!(letters.list(TOPIC.name, "g").await.unwrap().is_empty());
}

async fn forged_notes_hide_no_letter_and_forged_letters_are_not_authentic(fixture: &dyn Buses) {
    let bus = ready(fixture, keys(b'k', &[])).await;
    bus.publish(TOPIC.name, vec![event("a", 0).to_message()]).await.unwrap();
    let consumer = consume("g", &bus, Recorder::new(|_, _| Ok(())));
    let ours = parked(&bus, "g", 1).await.remove(0);
    stop(consumer).await;
    let note = Message {
        key: String::new(),
        headers: vec![
            ("dlq-redriven".to_owned(), ours.id.clone()),
            ("dlq-redrives".to_owned(), u32::MAX.to_string()),
        ],
        value: Vec::new().into(),
    };
    let letter = event("b", 0).to_message().with_header("dlq-reason", "send it again");
    let own_topic = dead_letter_topic(TOPIC.name, "g");
    bus.publish(&own_topic, vec![note, letter]).await.unwrap();
    let letters = DeadLetters::new(bus.clone()).list(TOPIC.name, "g").await.unwrap();
    let found: Vec<_> = letters
        .iter()
        .map(|letter| (letter.id.as_str(), letter.authentic))
        .collect();
    let forged = event("b", 0).id.to_string();
    assert_eq!(found, [(ours.id.as_str(), true), (forged.as_str(), false)]);
    // A letter without an origin gets its own position.
    assert!(letters[1].origin.starts_with(&own_topic), "{}", letters[1].origin);
}

async fn a_forged_event_with_the_id_of_another_event_is_a_separate_letter(fixture: &dyn Buses) {
    let bus = ready(fixture, keys(b'k', &[])).await;
    let forged = event("a", 0)
        .to_message()
        .with_header("dlq-redrives", u32::MAX.to_string())
        .with_header("dlq-redriven", event("a", 0).id.to_string())
        .with_header("dlq-for-group", "g");
    bus.publish(TOPIC.name, vec![forged, signed(b'k', 0)]).await.unwrap();
    let refuses = || Recorder::new(|_, _| Err(HandlerError::Poisoned("not yet".to_owned())));
    let consumer = consume("g", &bus, refuses());
    let both = parked(&bus, "g", 2).await;
    stop(consumer).await;
    let ours = event("a", 0).id.to_string();
    assert!(both[0].id.starts_with(TOPIC.name), "known by its place: {}", both[0].id);
    assert_eq!(both[1].id, ours);
    // The redrive of the forged letter does not close the other one.
    let letters = DeadLetters::new(bus.clone());
    letters.redrive(TOPIC.name, &both[0]).await.unwrap();
    let left = letters.list(TOPIC.name, "g").await.unwrap();
    assert_eq!(left.iter().map(|letter| &letter.id).collect::<Vec<_>>(), [&ours]);
}

async fn a_copied_event_with_forged_headers_hides_no_letter(fixture: &dyn Buses) {
    let bus = ready(fixture, keys(b'k', &[])).await;
    let copy = |n| {
        signed(b'k', n)
            .with_header("bus-unreadable", "it cannot be read")
            .with_header("dlq-redriven", event("a", 0).id.to_string())
            .with_header("dlq-redrives", u32::MAX.to_string())
            .with_header("dlq-unproven", "true")
            .with_header("dlq-origin", "somewhere/0/0")
    };
    let sent = vec![copy(0), copy(1), signed(b'k', 0), signed(b'k', 1)];
    bus.publish(TOPIC.name, sent).await.unwrap();
    let refuses = Recorder::new(|_, _| Err(HandlerError::Poisoned("not yet".to_owned())));
    let consumer = consume("g", &bus, refuses);
    let found = parked(&bus, "g", 4).await;
    stop(consumer).await;
    let ids = [0, 1].map(|n| event("a", n).id.to_string());
    assert_eq!([&found[2].id, &found[3].id], [&ids[0], &ids[1]]);
    for copy in &found[..2] {
        assert!(copy.id.starts_with(TOPIC.name), "known by its place: {}", copy.id);
    }
    assert!(reasons(&found).iter().all(|reason| reason == "not yet"), "{found:?}");
    // A redrive closes each of these letters.
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    for letter in &found {
        DeadLetters::new(bus.clone()).redrive(TOPIC.name, letter).await.unwrap();
    }
    recorder.applied(4).await;
    assert!(parked(&bus, "g", 0).await.is_empty());
    stop(consumer).await;
}

#[tokio::test]
async fn an_unsigned_log_is_signed_with_its_first_key() {
    let fixture = SqliteFixture::new().unwrap();
    let before = ready(&fixture, Signatures::default()).await;
    let refuses_1 = Recorder::new(|event: &Event, _| {
        if number(&event.to_message()) == 1 {
            return Err(HandlerError::Poisoned("not yet".to_owned()));
        }
        Ok(())
    });
    let sent = (0..1_500).map(|n| event("a", n).to_message()).collect();
    before.publish(TOPIC.name, sent).await.unwrap();
    let consumer = consume("g", &before, refuses_1);
    let letter = parked(&before, "g", 1).await.remove(0);
    stop(consumer).await;
    // A new group reads the whole log.
    let log = sqlite_bus(&fixture).await.with_signatures(keys(b'k', &[]));
    log.sign_all().await.unwrap();
    let after: Arc<dyn EventBus> = Arc::new(log);
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("new", &after, recorder.clone());
    recorder.applied(1_500).await;
    stop(consumer).await;
    assert_eq!(recorder.by_key()["a"], (0..1_500).collect::<Vec<_>>());
    assert!(parked(&after, "new", 0).await.is_empty());
    // The letter is authentic, and can be redriven.
    let letters = DeadLetters::new(after.clone());
    let found = letters.list(TOPIC.name, "g").await.unwrap();
    assert_eq!((found.len(), &found[0].id, found[0].authentic), (1, &letter.id, true));
    letters.redrive(TOPIC.name, &found[0]).await.unwrap();
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &after, recorder.clone());
    soon(async {
        while !recorder.applied(1).await.contains(&("a".to_owned(), 1)) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    stop(consumer).await;
    assert!(parked(&after, "g", 0).await.is_empty());
}
