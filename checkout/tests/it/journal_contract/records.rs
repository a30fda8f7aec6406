//! What drivers write down.

use std::{collections::BTreeSet, time::Duration};

use checkout::{
    domain::{Failure, Shortage, Status},
    ports::{Claimed, Record, Retry},
    saga::State,
};
use futures::future::join_all;
use proto::Reason;
use storage::StoreError;

use super::fixture::{BEGAN, Fixture, HOUR, at, begun, driven, event, history, lease, older, steps};
use crate::ledger::failure;

pub(super) async fn a_record_moves_the_saga_and_its_history_on(fixture: impl Fixture) {
    let journal = fixture.journal();
    let began = begun(journal.as_ref(), "k", HOUR).await;
    let id = began.checkout.id;
    let reserved = driven(
        journal.as_ref(),
        began,
        &steps([State::InventoryReserved, State::CartHeld, State::PaymentPending]),
    )
    .await;
    assert_eq!(
        (reserved.checkout.version, &reserved.checkout.state),
        (4, &State::PaymentPending)
    );
    assert_eq!(reserved.checkout.updated_at, at(BEGAN + 3000));
    let mut record = steps([State::PaymentCompleted]);
    record.payment_id = Some("pay_1".to_owned());
    let paid = driven(journal.as_ref(), reserved, &record).await;
    let done = driven(journal.as_ref(), paid, &steps([State::Completed]))
        .await
        .checkout;
    // What was known before stays.
    assert_eq!(done.payment_id.as_deref(), Some("pay_1"));
    assert_eq!(
        (done.version, done.status(), done.created_at),
        (6, Status::Completed, at(BEGAN))
    );
    let expected = [
        "INITIATED",
        "INVENTORY_RESERVED",
        "CART_HELD",
        "PAYMENT_PENDING",
        "PAYMENT_COMPLETED",
        "COMPLETED",
    ];
    assert_eq!(history(journal.as_ref(), id).await, expected);
    let (_, entries) = journal.get(id, None).await.unwrap().unwrap();
    assert_eq!(
        (entries[3].at, entries[3].detail.as_str()),
        (at(BEGAN + 3000), "now PAYMENT_PENDING")
    );
}

/// That this cannot be written down, and that nothing is.
async fn assert_lost(fixture: &impl Fixture, claimed: &Claimed, record: &Record) {
    let journal = fixture.journal();
    let (before, outbox) = (
        journal.get(claimed.checkout.id, None).await.unwrap(),
        fixture.outbox().await,
    );
    let written = journal.record(claimed, record, &lease("me", HOUR)).await;
    assert!(matches!(written, Err(StoreError::Conflict)), "{written:?}");
    assert_eq!(journal.get(claimed.checkout.id, None).await.unwrap(), before);
    assert_eq!(fixture.outbox().await, outbox);
}

fn retry(attempts: u32, needs_attention: bool) -> Record {
    Record {
        retry: Some(Retry {
            after: Duration::ZERO,
            attempts,
            needs_attention,
        }),
        ..Record::default()
    }
}

pub(super) async fn a_record_of_an_old_version_is_a_conflict_and_writes_nothing(fixture: impl Fixture) {
    let journal = fixture.journal();
    let old = begun(journal.as_ref(), "k", HOUR).await;
    driven(journal.as_ref(), old.clone(), &steps([State::InventoryReserved])).await;
    let mut record = steps([State::Failed(failure(Reason::OutOfStock))]);
    record.event = Some(event(&old));
    assert_lost(&fixture, &old, &record).await;
    assert_lost(&fixture, &old, &retry(1, true)).await;
}

pub(super) async fn a_record_of_an_old_fence_is_a_conflict_and_writes_nothing(fixture: impl Fixture) {
    let journal = fixture.journal();
    let old = begun(journal.as_ref(), "k", Duration::ZERO).await;
    let claimed = journal.claim_due(&lease("other", HOUR), 1).await.unwrap().remove(0);
    assert_eq!(claimed.checkout, old.checkout, "a claim changes nothing but the owner");
    assert_eq!(older(claimed.fence), old.fence);
    let mut record = steps([State::Failed(failure(Reason::OutOfStock))]);
    record.event = Some(event(&old));
    assert_lost(&fixture, &old, &record).await;
    assert_lost(&fixture, &old, &retry(1, false)).await;
    driven(journal.as_ref(), claimed, &record).await;
    assert_eq!(fixture.outbox().await.len(), 1);
}

pub(super) async fn a_step_and_its_event_are_written_together_or_not_at_all(fixture: impl Fixture) {
    let journal = fixture.journal();
    let first = begun(journal.as_ref(), "first", HOUR).await;
    let second = begun(journal.as_ref(), "second", HOUR).await;
    let mut record = steps([State::Failed(failure(Reason::OutOfStock))]);
    record.event = Some(event(&first));
    driven(journal.as_ref(), first, &record).await;
    assert_eq!(fixture.outbox().await, [record.event.clone().unwrap().id]);
    // An event with an id that is taken cannot be stored, and then the step is not taken either.
    assert_lost(&fixture, &second, &record).await;
    record.event = Some(event(&second));
    driven(journal.as_ref(), second, &record).await;
    assert_eq!(fixture.outbox().await.len(), 2);
}

pub(super) async fn an_outcome_that_is_unknown_is_noted_until_the_next_step(fixture: impl Fixture) {
    let journal = fixture.journal();
    let began = begun(journal.as_ref(), "k", HOUR).await;
    let id = began.checkout.id;
    let tried = driven(journal.as_ref(), began, &retry(13, true)).await;
    assert_eq!((tried.checkout.attempts, tried.checkout.needs_attention), (13, true));
    assert_eq!((tried.checkout.version, &tried.checkout.state), (1, &State::Initiated));
    let again = driven(journal.as_ref(), tried, &retry(14, true)).await;
    assert_eq!(again.checkout.attempts, 14);
    let done = driven(journal.as_ref(), again, &steps([State::InventoryReserved])).await;
    assert_eq!((done.checkout.attempts, done.checkout.needs_attention), (0, false));
    assert_eq!(history(journal.as_ref(), id).await, ["INITIATED", "INVENTORY_RESERVED"]);
}

pub(super) async fn a_failure_comes_back_with_all_that_was_short(fixture: impl Fixture) {
    let journal = fixture.journal();
    let shortage = |product_id| Shortage {
        product_id,
        requested: 2,
        available: 0,
    };
    let failure = Failure {
        reason: Reason::OutOfStock,
        message: "not enough: \"ü\"".to_owned(),
        shortages: vec![shortage(1), shortage(i64::MAX)],
    };
    let mut claimed = begun(journal.as_ref(), "k", HOUR).await;
    for state in [State::Refunding, State::GivingBack, State::Releasing, State::Failed] {
        claimed = driven(journal.as_ref(), claimed, &steps([state(failure.clone())])).await;
        assert_eq!(claimed.checkout.state, state(failure.clone()));
    }
}

pub(super) async fn sixty_four_racing_records_of_one_version_are_one(fixture: impl Fixture) {
    let journal = fixture.journal();
    let claimed = begun(journal.as_ref(), "k", HOUR).await;
    let (claimed, journal) = (&claimed, &journal);
    let records = (0..64).map(|n| async move {
        let mut record = if n % 2 == 0 {
            steps([State::InventoryReserved, State::CartHeld, State::PaymentPending])
        } else {
            steps([State::Failed(failure(Reason::OutOfStock))])
        };
        record.event = Some(event(claimed));
        journal.record(claimed, &record, &lease("me", HOUR)).await
    });
    let written = join_all(records).await;
    assert_eq!(written.iter().filter(|result| result.is_ok()).count(), 1);
    let lost = |result: &&Result<i64, StoreError>| matches!(result, Err(StoreError::Conflict));
    assert_eq!(written.iter().filter(lost).count(), 63);
    assert_eq!(fixture.outbox().await.len(), 1);
    let version = written.into_iter().find_map(Result::ok).unwrap();
    let entries = history(journal.as_ref(), claimed.checkout.id).await.len();
    assert_eq!(i64::try_from(entries).unwrap(), version);
    assert!(
        matches!(journal.as_ref().get(claimed.checkout.id, None).await, Ok(Some((found, _))) if found.version == version)
    );
}

pub(super) async fn sixty_four_sagas_are_driven_at_once_by_two_replicas(fixture: impl Fixture) {
    let replicas = [fixture.journal(), fixture.replica().await];
    let sagas = (0..64).map(|n| {
        let journal = replicas[n % 2].clone();
        async move {
            let began = begun(journal.as_ref(), &format!("k{n}"), HOUR).await;
            let reserved = steps([State::InventoryReserved, State::CartHeld, State::PaymentPending]);
            let reserved = driven(journal.as_ref(), began, &reserved).await;
            let mut ended = steps([State::PaymentCompleted, State::Completed]);
            ended.payment_id = Some(format!("pay_{n}"));
            ended.event = Some(event(&reserved));
            (driven(journal.as_ref(), reserved, &ended).await, ended)
        }
    });
    let outbox = join_all(sagas).await.into_iter().map(|(ended, record)| {
        assert_eq!(
            (ended.checkout.version, ended.checkout.status()),
            (6, Status::Completed)
        );
        assert_eq!(ended.checkout.payment_id, record.payment_id);
        record.event.unwrap().id
    });
    let told: BTreeSet<_> = outbox.collect();
    assert_eq!(fixture.outbox().await.into_iter().collect::<BTreeSet<_>>(), told);
    assert_eq!(told.len(), 64);
}
