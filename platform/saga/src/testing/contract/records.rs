//! Records: what drivers persist.

use std::collections::BTreeSet;

use futures::future::join_all;
use storage::StoreError;

use crate::{
    Claimed, Record,
    machine::State,
    testing::{
        Sample,
        fixture::{
            BEGAN, HOUR, Journals, NO_TIME, at, bad_end, begun, driven, event, good_end, history, lease, older, retry,
            second, steps,
        },
    },
};

pub async fn a_record_updates_the_saga_and_appends_to_its_history<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let began = begun(journal.as_ref(), "k", HOUR).await;
    let id = began.saga.id;
    let way = M::happy_path();
    let (middle, end) = way[1..].split_at(way.len() - 2);
    let moved = driven(journal.as_ref(), began, &steps(middle.to_vec())).await;
    let steps_taken = i64::try_from(middle.len()).unwrap();
    assert_eq!(
        (moved.saga.version, &moved.saga.state),
        (1 + steps_taken, &way[middle.len()])
    );
    assert_eq!(moved.saga.updated_at, at(BEGAN + steps_taken * 1000));
    let mut last = steps(end.to_vec());
    last.data = M::data_in(moved.saga.data.clone(), &end[0]);
    let done = driven(journal.as_ref(), moved, &last).await.saga;
    assert_eq!(
        (done.version, done.is_final(), done.created_at),
        (2 + steps_taken, true, at(BEGAN))
    );
    assert_eq!(
        history(journal.as_ref(), id).await,
        way.iter().map(State::name).collect::<Vec<_>>()
    );
    let (_, entries) = journal.get(id, None).await.unwrap().unwrap();
    let second = (at(BEGAN + 1000), format!("now {}", way[1].name()));
    assert_eq!((entries[1].at, entries[1].detail.clone()), second);
}

/// Asserts that the record is a conflict and changes nothing.
async fn assert_conflict<M: Sample>(fixture: &dyn Journals<M>, claimed: &Claimed<M>, record: &Record<M>) {
    let journal = fixture.open().await;
    let (before, outbox) = (
        journal.get(claimed.saga.id, None).await.unwrap(),
        fixture.outbox().await,
    );
    let written = journal.record(claimed, record, &lease("me", HOUR)).await;
    assert!(matches!(written, Err(StoreError::Conflict)), "{written:?}");
    assert_eq!(journal.get(claimed.saga.id, None).await.unwrap(), before);
    assert_eq!(fixture.outbox().await, outbox);
}

pub async fn a_record_with_an_old_version_conflicts_and_writes_nothing<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let old = begun(journal.as_ref(), "k", HOUR).await;
    driven(journal.as_ref(), old.clone(), &steps([second::<M>()])).await;
    let mut record = steps([bad_end::<M>()]);
    record.event = Some(("topic", event(&old.saga)));
    assert_conflict(fixture, &old, &record).await;
    assert_conflict(fixture, &old, &retry(NO_TIME, 1, true)).await;
}

pub async fn a_record_with_an_old_fence_conflicts_and_writes_nothing<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let old = begun(journal.as_ref(), "k", NO_TIME).await;
    let claimed = journal.claim_due(&lease("other", HOUR), 1).await.unwrap().remove(0);
    assert_eq!(claimed.saga, old.saga, "a claim changes nothing but the owner");
    assert_eq!(older(claimed.fence), old.fence);
    let mut record = steps([bad_end::<M>()]);
    record.event = Some(("topic", event(&old.saga)));
    assert_conflict(fixture, &old, &record).await;
    assert_conflict(fixture, &old, &retry(NO_TIME, 1, false)).await;
    driven(journal.as_ref(), claimed, &record).await;
    assert_eq!(fixture.outbox().await.len(), 1);
}

pub async fn a_step_and_its_event_commit_together_or_not_at_all<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let first = begun(journal.as_ref(), "first", HOUR).await;
    let second = begun(journal.as_ref(), "second", HOUR).await;
    let mut record = steps([bad_end::<M>()]);
    let first_event = event(&first.saga);
    record.event = Some(("topic", first_event.clone()));
    driven(journal.as_ref(), first, &record).await;
    assert_eq!(fixture.outbox().await, [first_event.id]);
    // The id of this event is taken: neither the event nor the step is stored.
    assert_conflict(fixture, &second, &record).await;
    record.event = Some(("topic", event(&second.saga)));
    driven(journal.as_ref(), second, &record).await;
    assert_eq!(fixture.outbox().await.len(), 2);
}

pub async fn attempts_are_counted_until_the_next_step<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let began = begun(journal.as_ref(), "k", HOUR).await;
    let (id, first) = (began.saga.id, began.saga.state.clone());
    let tried = driven(journal.as_ref(), began, &retry(NO_TIME, 13, true)).await;
    assert_eq!((tried.saga.attempts, tried.saga.needs_attention), (13, true));
    assert_eq!((tried.saga.version, &tried.saga.state), (1, &first));
    let again = driven(journal.as_ref(), tried, &retry(NO_TIME, 14, true)).await;
    assert_eq!(again.saga.attempts, 14);
    let done = driven(journal.as_ref(), again, &steps([second::<M>()])).await;
    assert_eq!((done.saga.attempts, done.saga.needs_attention), (0, false));
    assert_eq!(
        history(journal.as_ref(), id).await,
        [first.name(), second::<M>().name()]
    );
}

pub async fn of_sixty_four_concurrent_records_one_is_committed<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let claimed = begun(journal.as_ref(), "k", HOUR).await;
    let (claimed, journal) = (&claimed, &journal);
    let records = (0..64).map(|n| async move {
        let mut record = if n % 2 == 0 {
            steps(M::happy_path().split_off(1))
        } else {
            steps([bad_end::<M>()])
        };
        record.event = Some(("topic", event(&claimed.saga)));
        journal.record(claimed, &record, &lease("me", HOUR)).await
    });
    let written = join_all(records).await;
    assert_eq!(written.iter().filter(|result| result.is_ok()).count(), 1);
    let is_lost = |result: &&Result<i64, StoreError>| matches!(result, Err(StoreError::Conflict));
    assert_eq!(written.iter().filter(is_lost).count(), 63);
    assert_eq!(fixture.outbox().await.len(), 1);
    let version = written.into_iter().find_map(Result::ok).unwrap();
    let (found, entries) = journal.get(claimed.saga.id, None).await.unwrap().unwrap();
    assert_eq!(
        (i64::try_from(entries.len()).unwrap(), found.version),
        (version, version)
    );
}

pub async fn two_replicas_drive_sixty_four_sagas_at_once<M: Sample>(fixture: &dyn Journals<M>) {
    let replicas = [fixture.open().await, fixture.open().await];
    let sagas = (0..64).map(|n| {
        let journal = replicas[n % 2].clone();
        async move {
            let began = begun(journal.as_ref(), &format!("k{n}"), HOUR).await;
            let moved = driven(journal.as_ref(), began, &steps([second::<M>()])).await;
            let mut ended = steps([good_end::<M>()]);
            ended.data = M::data_in(moved.saga.data.clone(), &good_end::<M>());
            let event = event(&moved.saga);
            ended.event = Some(("topic", event.clone()));
            let ended = driven(journal.as_ref(), moved, &ended).await.saga;
            assert_eq!((ended.version, ended.is_final()), (3, true));
            event.id
        }
    });
    let events: BTreeSet<_> = join_all(sagas).await.into_iter().collect();
    assert_eq!(fixture.outbox().await.into_iter().collect::<BTreeSet<_>>(), events);
    assert_eq!(events.len(), 64);
}

pub async fn every_state_is_read_back_unchanged<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    for (n, state) in [M::happy_path(), M::other_states()].concat().into_iter().enumerate() {
        let began = begun(journal.as_ref(), &format!("k{n}"), HOUR).await;
        driven(journal.as_ref(), began, &steps([state])).await;
    }
}
