//! Who may drive a saga, and for how long.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use checkout::{
    domain::Checkout,
    ports::{Begun, Claimed, Journal, Record, Retry},
    saga::State,
};
use futures::future::join_all;
use jiff::{Timestamp, ToSpan};
use proto::Reason;
use runtime::Clock;
use storage::StoreError;

use super::fixture::{Fixture, HOUR, begun, checkout, driven, lease, request, steps};
use crate::ledger::failure;

const NO_TIME: Duration = Duration::ZERO;

async fn claim(journal: &dyn Journal) -> Vec<Claimed> {
    journal.claim_due(&lease("other", HOUR), 100).await.unwrap()
}

/// Claims until there is something to claim.
async fn claim_when_due(journal: &dyn Journal) -> Vec<Claimed> {
    let due = async {
        loop {
            let claimed = claim(journal).await;
            if !claimed.is_empty() {
                break claimed;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), due).await.unwrap()
}

pub(super) async fn only_sagas_that_are_due_and_have_no_owner_are_claimed(fixture: impl Fixture) {
    let journal = fixture.journal();
    assert!(claim(journal.as_ref()).await.is_empty());
    begun(journal.as_ref(), "owned", HOUR).await;
    for (key, end) in [
        ("completed", State::Completed),
        ("failed", State::Failed(failure(Reason::CardDeclined))),
    ] {
        let ended = begun(journal.as_ref(), key, NO_TIME).await;
        let record = steps([end]);
        journal.record(&ended, &record, &lease("me", NO_TIME)).await.unwrap();
    }
    let mut free = BTreeMap::new();
    let unfinished = [
        State::InventoryReserved,
        State::CartHeld,
        State::PaymentPending,
        State::PaymentCompleted,
        State::Releasing(failure(Reason::CardDeclined)),
        State::GivingBack(failure(Reason::CardDeclined)),
        State::Refunding(failure(Reason::ReservationExpired)),
    ];
    for state in unfinished {
        let claimed = begun(journal.as_ref(), state.name(), NO_TIME).await;
        let record = steps([state]);
        journal.record(&claimed, &record, &lease("me", NO_TIME)).await.unwrap();
        free.insert(claimed.checkout.id, claimed.fence);
    }
    let initiated = begun(journal.as_ref(), "initiated", NO_TIME).await;
    free.insert(initiated.checkout.id, initiated.fence);

    let claimed = claim(journal.as_ref()).await;
    assert_eq!(claimed.len(), free.len());
    for claim in claimed {
        assert!(claim.fence.0 > free[&claim.checkout.id].0);
        assert_eq!(
            journal.get(claim.checkout.id, None).await.unwrap().unwrap().0,
            claim.checkout
        );
    }
    assert!(claim(journal.as_ref()).await.is_empty(), "they have an owner now");
}

pub(super) async fn a_saga_that_is_to_be_tried_later_is_not_due_before(fixture: impl Fixture) {
    let journal = fixture.journal();
    let retry = |after| Record {
        retry: Some(Retry {
            after,
            attempts: 1,
            needs_attention: false,
        }),
        ..Record::default()
    };
    let later = begun(journal.as_ref(), "later", NO_TIME).await;
    let soon = begun(journal.as_ref(), "soon", NO_TIME).await;
    journal
        .record(&later, &retry(HOUR), &lease("me", NO_TIME))
        .await
        .unwrap();
    let short = Duration::from_millis(20);
    journal
        .record(&soon, &retry(short), &lease("me", NO_TIME))
        .await
        .unwrap();
    let claimed = claim_when_due(journal.as_ref()).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(
        (claimed[0].checkout.id, claimed[0].checkout.attempts),
        (soon.checkout.id, 1)
    );
}

pub(super) async fn a_lease_is_measured_by_the_clock_of_the_store_however_wrong_that_of_the_service_is(
    fixture: impl Fixture,
) {
    let journal = fixture.journal();
    let now = Clock::system().now();
    let begin = async |key: &str, now: Timestamp, ttl| {
        let request = request("user-1", key);
        let new = Checkout {
            created_at: now,
            updated_at: now,
            ..checkout(&request)
        };
        let begun = journal.begin(&new, &request, &lease("me", ttl)).await.unwrap();
        assert!(matches!(begun, Begun::Created(_)));
        new.id
    };
    begin("behind, running", now - 12.hours(), HOUR).await;
    begin("ahead, running", now + 12.hours(), HOUR).await;
    let behind = begin("behind, over", now - 12.hours(), NO_TIME).await;
    let ahead = begin("ahead, over", now + 12.hours(), NO_TIME).await;
    let claimed: Vec<_> = claim(journal.as_ref())
        .await
        .iter()
        .map(|claim| claim.checkout.id)
        .collect();
    assert_eq!(claimed.len(), 2);
    assert!(claimed.contains(&behind) && claimed.contains(&ahead));
    let soon = begin("ahead, soon over", now + 12.hours(), Duration::from_millis(20)).await;
    assert_eq!(claim_when_due(journal.as_ref()).await[0].checkout.id, soon);
}

pub(super) async fn a_record_extends_the_lease(fixture: impl Fixture) {
    let journal = fixture.journal();
    let claimed = begun(journal.as_ref(), "k", NO_TIME).await;
    driven(journal.as_ref(), claimed, &steps([State::InventoryReserved])).await;
    assert!(claim(journal.as_ref()).await.is_empty());
}

pub(super) async fn a_claim_takes_no_more_than_its_limit(fixture: impl Fixture) {
    let journal = fixture.journal();
    for n in 0..5 {
        begun(journal.as_ref(), &format!("k{n}"), NO_TIME).await;
    }
    for expected in [2, 2, 1, 0] {
        assert_eq!(
            journal.claim_due(&lease("other", HOUR), 2).await.unwrap().len(),
            expected
        );
    }
}

pub(super) async fn sixty_four_racing_claims_take_each_saga_once(fixture: impl Fixture) {
    let replicas = [fixture.journal(), fixture.replica().await];
    for n in 0..20 {
        begun(replicas[0].as_ref(), &format!("k{n}"), NO_TIME).await;
    }
    let claims = (0..64).map(|n| {
        let journal = replicas[n % 2].clone();
        async move { journal.claim_due(&lease(&format!("owner-{n}"), HOUR), 3).await.unwrap() }
    });
    let claimed = join_all(claims).await.concat();
    let ids: BTreeSet<_> = claimed.iter().map(|claim| claim.checkout.id).collect();
    assert_eq!((claimed.len(), ids.len()), (20, 20));
    // Whoever was told that it has one does have it.
    for claim in claimed {
        driven(replicas[1].as_ref(), claim, &steps([State::InventoryReserved])).await;
    }
}

pub(super) async fn a_claim_and_a_record_of_one_saga_at_once_leave_it_with_one_owner(fixture: impl Fixture) {
    let replicas = [fixture.journal(), fixture.replica().await];
    let mut old = Vec::new();
    for n in 0..32 {
        old.push(begun(replicas[0].as_ref(), &format!("k{n}"), NO_TIME).await);
    }
    let record = steps([State::InventoryReserved]);
    let mine = lease("me", HOUR);
    let records = join_all(old.iter().map(|owned| replicas[0].record(owned, &record, &mine)));
    let claims = join_all((0..8).map(|_| claim(replicas[1].as_ref())));
    let (recorded, claimed) = futures::join!(records, claims);
    let claimed = claimed.concat();
    let claimed: BTreeMap<_, _> = claimed.iter().map(|claim| (claim.checkout.id, claim.fence.0)).collect();
    let left: BTreeSet<_> = claim(replicas[0].as_ref())
        .await
        .iter()
        .map(|claim| claim.checkout.id)
        .collect();
    for (owned, recorded) in old.iter().zip(recorded) {
        let id = owned.checkout.id;
        match recorded {
            Ok(version) => assert!(version == 2 && !claimed.contains_key(&id) && !left.contains(&id)),
            Err(StoreError::Conflict) => assert_eq!(claimed[&id], owned.fence.0 + 1),
            Err(error) => panic!("{error:?}"),
        }
    }
}

pub(super) async fn a_saga_that_is_given_up_is_due_at_once(fixture: impl Fixture) {
    let journal = fixture.journal();
    let claimed = begun(journal.as_ref(), "k", HOUR).await;
    let record = Record {
        retry: Some(Retry {
            after: NO_TIME,
            attempts: 3,
            needs_attention: false,
        }),
        ..Record::default()
    };
    journal.record(&claimed, &record, &lease("me", NO_TIME)).await.unwrap();
    let taken = claim(journal.as_ref()).await;
    assert_eq!(
        (taken[0].checkout.id, taken[0].checkout.attempts),
        (claimed.checkout.id, 3)
    );
}

pub(super) async fn disowning_frees_the_unfinished_sagas_of_that_owner_alone(fixture: impl Fixture) {
    let journal = fixture.journal();
    let mine = begun(journal.as_ref(), "mine", HOUR).await;
    let waiting = begun(journal.as_ref(), "waiting", HOUR).await;
    let record = Record {
        retry: Some(Retry {
            after: HOUR,
            attempts: 13,
            needs_attention: true,
        }),
        ..Record::default()
    };
    driven(journal.as_ref(), waiting.clone(), &record).await;
    let ended = begun(journal.as_ref(), "ended", HOUR).await;
    driven(journal.as_ref(), ended, &steps([State::Completed])).await;
    let request = request("user-1", "theirs");
    let theirs = checkout(&request);
    journal.begin(&theirs, &request, &lease("them", HOUR)).await.unwrap();

    journal.disown("me").await.unwrap();
    let mut claimed: Vec<_> = claim(journal.as_ref())
        .await
        .iter()
        .map(|claim| claim.checkout.id)
        .collect();
    claimed.sort();
    assert_eq!(claimed, [mine.checkout.id, waiting.checkout.id]);
    journal.disown("them").await.unwrap();
    assert_eq!(claim(journal.as_ref()).await[0].checkout.id, theirs.id);
}

pub(super) async fn a_row_that_cannot_be_read_does_not_stop_the_others(fixture: impl Fixture) {
    let journal = fixture.journal();
    let spoilt = begun(journal.as_ref(), "spoilt", NO_TIME).await;
    let sound = begun(journal.as_ref(), "sound", NO_TIME).await;
    fixture.spoil(spoilt.checkout.id).await;
    let claimed = claim(journal.as_ref()).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].checkout, sound.checkout);
    assert!(journal.get(spoilt.checkout.id, None).await.is_err());
    assert!(journal.get(sound.checkout.id, None).await.is_ok());
}
