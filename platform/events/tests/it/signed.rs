//! Events that are ours, and those of anybody else who can write to the bus.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use events::{
    DeadLetters, Event, EventBus, HandlerError, Message, Parked, Signatures, SigningKey, Unproven, dead_letter_topic,
};
use testing::{Fixture, KafkaFixture, SqliteFixture};

use crate::{
    places::{Buses, sqlite_bus},
    support::{Recorder, TOPIC, consume, event, number, parked, soon, stop},
};

testing::contract! { signed_suite:
    an_event_that_is_not_signed_is_parked_with_the_reason_and_the_others_go_on,
    an_event_of_ours_at_another_place_is_parked,
    a_key_is_changed_without_parking_anything,
    a_forged_event_is_parked_again_however_often_it_is_sent_through_again,
    a_parked_event_of_ours_keeps_its_signature_and_is_applied_when_it_is_sent_through_again,
    nobody_hides_a_letter_or_writes_one_that_looks_like_ours,
    a_forged_event_with_the_id_and_the_redrives_of_another_is_a_letter_of_its_own,
    a_copy_of_an_event_of_ours_hides_no_letter_whatever_was_written_beside_it,
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

/// The event of key `a` with this number, as its relay publishes it.
fn signed(with: u8, n: u32) -> Message {
    keys(with, &[]).sign(TOPIC.name, event("a", n).to_message())
}

/// Which of the letters have which reason.
fn reasons(letters: &[Parked]) -> Vec<String> {
    letters.iter().map(|letter| letter.reason.clone()).collect()
}

async fn an_event_that_is_not_signed_is_parked_with_the_reason_and_the_others_go_on(fixture: &dyn Buses) {
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
    let (unsigned, wrong) = (Unproven::Unsigned.to_string(), Unproven::Wrong.to_string());
    assert_eq!(reasons(&letters), [unsigned, wrong.clone(), wrong]);
    assert!(letters.iter().all(|letter| letter.proven), "the letters are ours");
}

async fn an_event_of_ours_at_another_place_is_parked(fixture: &dyn Buses) {
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
            .all(|letter| letter.reason == Unproven::Wrong.to_string())
    );
}

async fn a_key_is_changed_without_parking_anything(fixture: &dyn Buses) {
    // Who publishes gets the new key when all who consume accept it.
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

/// The letter of a group, once it was parked again.
async fn parked_again(bus: &Arc<dyn EventBus>, before: &Parked) -> Parked {
    soon(async {
        loop {
            let again = parked(bus, "g", 1).await.pop();
            if let Some(again) = again.filter(|letter| letter.origin != before.origin) {
                return again;
            }
        }
    })
    .await
}

async fn a_forged_event_is_parked_again_however_often_it_is_sent_through_again(fixture: &dyn Buses) {
    let bus = ready(fixture, keys(b'k', &[])).await;
    bus.publish(TOPIC.name, vec![event("a", 0).to_message()]).await.unwrap();
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("g", &bus, recorder.clone());
    let letters = DeadLetters::new(bus.clone());
    let mut letter = parked(&bus, "g", 1).await.remove(0);
    for _ in 0..2 {
        letters.redrive(TOPIC.name, &letter).await.unwrap();
        letter = parked_again(&bus, &letter).await;
        assert_eq!(letter.reason, Unproven::Unsigned.to_string());
    }
    stop(consumer).await;
    assert!(recorder.by_key().is_empty());
}

async fn a_parked_event_of_ours_keeps_its_signature_and_is_applied_when_it_is_sent_through_again(fixture: &dyn Buses) {
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

async fn nobody_hides_a_letter_or_writes_one_that_looks_like_ours(fixture: &dyn Buses) {
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
        .map(|letter| (letter.id.as_str(), letter.proven))
        .collect();
    let forged = event("b", 0).id.to_string();
    assert_eq!(found, [(ours.id.as_str(), true), (forged.as_str(), false)]);
    // Nothing says where it stood, so that the place of the letter itself does.
    assert!(letters[1].origin.starts_with(&own_topic), "{}", letters[1].origin);
}

async fn a_forged_event_with_the_id_and_the_redrives_of_another_is_a_letter_of_its_own(fixture: &dyn Buses) {
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
    // Nor does sending the one through again close the other.
    let letters = DeadLetters::new(bus.clone());
    letters.redrive(TOPIC.name, &both[0]).await.unwrap();
    let left = letters.list(TOPIC.name, "g").await.unwrap();
    assert_eq!(left.iter().map(|letter| &letter.id).collect::<Vec<_>>(), [&ours]);
}

async fn a_copy_of_an_event_of_ours_hides_no_letter_whatever_was_written_beside_it(fixture: &dyn Buses) {
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
    // Each is sent through again as any other, and that closes it.
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
async fn a_log_of_a_version_that_signed_nothing_goes_on_with_its_first_key() {
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
    // A group that has read nothing so far reads all of it.
    let log = sqlite_bus(&fixture).await.signed(keys(b'k', &[]));
    log.sign_all().await.unwrap();
    let after: Arc<dyn EventBus> = Arc::new(log);
    let recorder = Recorder::new(|_, _| Ok(()));
    let consumer = consume("new", &after, recorder.clone());
    recorder.applied(1_500).await;
    stop(consumer).await;
    assert_eq!(recorder.by_key()["a"], (0..1_500).collect::<Vec<_>>());
    assert!(parked(&after, "new", 0).await.is_empty());
    // The letter can be sent through again, and is ours.
    let letters = DeadLetters::new(after.clone());
    let found = letters.list(TOPIC.name, "g").await.unwrap();
    assert_eq!((found.len(), &found[0].id, found[0].proven), (1, &letter.id, true));
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
