//! Waits and signals.

use futures::future::{join, join_all};
use jiff::{SignedDuration, Timestamp};
use runtime::{Clock, Ids};
use storage::StoreError;

use super::claims::{claim, claim_when_due};
use crate::{
    Claimed, Continuation, Journal, Record, SagaId, Signal, SignalOutcome,
    testing::{
        Sample,
        fixture::{HOUR, Journals, begun, good_end, lease, steps},
    },
};

fn signal() -> Signal {
    Signal {
        id: Ids::random().next(),
        name: "approved".to_owned(),
        payload: "by \"ü\"".to_owned(),
    }
}

fn wait<M: Sample>(until: Timestamp) -> Record<M> {
    Record {
        continuation: Continuation::Wait(until),
        ..Record::new(M::data(1))
    }
}

fn from_now(wait: SignedDuration) -> Timestamp {
    Clock::system().now().checked_add(wait).unwrap()
}

/// Begins a saga that waits until this time.
async fn waiting<M: Sample>(journal: &dyn Journal<M>, key: &str, until: Timestamp) -> Claimed<M> {
    let begun = begun(journal, key, HOUR).await;
    journal.record(&begun, &wait(until), &lease("me", HOUR)).await.unwrap();
    begun
}

const A_DAY: SignedDuration = SignedDuration::from_hours(24);
const SOON: SignedDuration = SignedDuration::from_millis(30);

pub async fn a_waiting_saga_has_no_owner_and_is_due_at_its_time<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    waiting(journal.as_ref(), "long", from_now(A_DAY)).await;
    let soon = waiting(journal.as_ref(), "soon", from_now(SOON)).await;
    let claimed = claim_when_due(journal.as_ref()).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].saga, soon.saga);
    // A waiting saga has no owner, so a restart of its last driver does not make it due.
    journal.release_all("me").await.unwrap();
    assert!(claim(journal.as_ref()).await.is_empty());
}

pub async fn a_signal_makes_a_waiting_saga_due<M: Sample>(fixture: &dyn Journals<M>) {
    let (journal, elsewhere) = (fixture.open().await, fixture.open().await);
    let waits = waiting(journal.as_ref(), "k", from_now(A_DAY)).await;
    let other = waiting(journal.as_ref(), "other", from_now(A_DAY)).await;
    let signal = signal();
    let sent = elsewhere.send(waits.saga.id, &signal).await.unwrap();
    assert_eq!(sent, SignalOutcome::Sent);
    let claimed = claim(journal.as_ref()).await.remove(0);
    assert_eq!(claimed.saga.id, waits.saga.id);
    assert_eq!(
        journal.unread(waits.saga.id).await.unwrap(),
        std::slice::from_ref(&signal)
    );
    assert_eq!(journal.unread(other.saga.id).await.unwrap(), []);
    // After the signal is read, the saga may wait again.
    let again = Record {
        read_signals: vec![signal.id],
        ..wait(from_now(A_DAY))
    };
    journal.record(&claimed, &again, &lease("other", HOUR)).await.unwrap();
    assert_eq!(journal.unread(waits.saga.id).await.unwrap(), []);
    assert!(claim(journal.as_ref()).await.is_empty());
}

pub async fn a_saga_with_an_unread_signal_cannot_wait<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let begun = begun(journal.as_ref(), "k", HOUR).await;
    let signal = signal();
    journal.send(begun.saga.id, &signal).await.unwrap();
    let mine = lease("me", HOUR);
    let waits = journal.record(&begun, &wait(from_now(A_DAY)), &mine).await;
    assert!(matches!(waits, Err(StoreError::Conflict)), "{waits:?}");
    let used = Record {
        read_signals: vec![signal.id],
        ..wait(from_now(A_DAY))
    };
    journal.record(&begun, &used, &mine).await.unwrap();
}

pub async fn a_repeated_signal_is_ignored<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let waits = waiting(journal.as_ref(), "k", from_now(A_DAY)).await;
    let (id, signal) = (waits.saga.id, signal());
    let (there, sends) = (fixture.open().await, signal.clone());
    join_all((0..8).map(|_| there.send(id, &sends)))
        .await
        .into_iter()
        .for_each(|sent| {
            assert_eq!(sent.unwrap(), SignalOutcome::Sent);
        });
    assert_eq!(journal.unread(id).await.unwrap(), std::slice::from_ref(&signal));
    let claimed = claim(journal.as_ref()).await.remove(0);
    let used = Record {
        read_signals: vec![signal.id],
        ..wait(from_now(A_DAY))
    };
    journal.record(&claimed, &used, &lease("other", HOUR)).await.unwrap();
    // A repetition after the signal was read is ignored, too.
    assert_eq!(journal.send(id, &signal).await.unwrap(), SignalOutcome::Sent);
    assert_eq!(journal.unread(id).await.unwrap(), []);
    assert!(claim(journal.as_ref()).await.is_empty());
}

pub async fn a_signal_does_not_take_the_saga_from_its_driver<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let begun = begun(journal.as_ref(), "k", HOUR).await;
    journal.send(begun.saga.id, &signal()).await.unwrap();
    assert!(claim(journal.as_ref()).await.is_empty());
    let ended = steps([good_end::<M>()]);
    journal.record(&begun, &ended, &lease("me", HOUR)).await.unwrap();
}

pub async fn a_signal_to_a_final_or_unknown_saga_is_refused<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let begun = begun(journal.as_ref(), "k", HOUR).await;
    let ended = steps([good_end::<M>()]);
    journal.record(&begun, &ended, &lease("me", HOUR)).await.unwrap();
    let sent = journal.send(begun.saga.id, &signal()).await.unwrap();
    assert_eq!(sent, SignalOutcome::Final);
    let unknown = SagaId(Ids::random().next());
    assert_eq!(journal.send(unknown, &signal()).await.unwrap(), SignalOutcome::NotFound);
    assert_eq!(journal.unread(begun.saga.id).await.unwrap(), []);
}

pub async fn a_concurrent_wait_and_signal_lose_no_signal<M: Sample>(fixture: &dyn Journals<M>) {
    let (journal, elsewhere) = (fixture.open().await, fixture.open().await);
    for n in 0..32 {
        let begun = begun(journal.as_ref(), &format!("k{n}"), HOUR).await;
        let (record, mine, signal) = (wait(from_now(A_DAY)), lease("me", HOUR), signal());
        let waits = journal.record(&begun, &record, &mine);
        let (waits, sent) = join(waits, elsewhere.send(begun.saga.id, &signal)).await;
        assert_eq!(sent.unwrap(), SignalOutcome::Sent);
        let is_due = claim(journal.as_ref())
            .await
            .iter()
            .any(|claim| claim.saga.id == begun.saga.id);
        match waits {
            // The saga waits, and the signal made it due.
            Ok(_) => assert!(is_due, "the signal was lost"),
            // The wait was refused: the driver keeps the saga and reads the signal.
            Err(StoreError::Conflict) => assert!(!is_due, "its driver has it"),
            Err(error) => panic!("{error:?}"),
        }
    }
}
