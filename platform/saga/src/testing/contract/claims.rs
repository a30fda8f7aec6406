//! Claims and leases.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::future::join_all;
use jiff::{Timestamp, ToSpan};
use runtime::Clock;
use storage::StoreError;

use crate::{
    Begun, Claimed, Journal, Saga,
    machine::{Machine, State},
    testing::{
        Sample,
        fixture::{HOUR, Journals, NO_TIME, bad_end, begun, driven, good_end, lease, new, retry, second, steps},
    },
};

const SOON: Duration = Duration::from_millis(20);

pub(super) async fn claim<M: Machine>(journal: &dyn Journal<M>) -> Vec<Claimed<M>> {
    journal.claim_due(&lease("other", HOUR), 100).await.unwrap()
}

/// Repeats the claim until something is due.
pub(super) async fn claim_when_due<M: Machine>(journal: &dyn Journal<M>) -> Vec<Claimed<M>> {
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

pub async fn only_due_sagas_without_a_live_lease_are_claimed<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    assert!(claim(journal.as_ref()).await.is_empty());
    begun(journal.as_ref(), "owned", HOUR).await;
    for (key, end) in [("good", good_end::<M>()), ("bad", bad_end::<M>())] {
        let ended = begun(journal.as_ref(), key, NO_TIME).await;
        journal
            .record(&ended, &steps([end]), &lease("me", NO_TIME))
            .await
            .unwrap();
    }
    let mut free = BTreeMap::new();
    let states = [M::happy_path().split_off(1), M::other_states()].concat();
    for state in states
        .into_iter()
        .filter(|state| !M::TABLE.final_states.contains(&state.name()))
    {
        let claimed = begun(journal.as_ref(), state.name(), NO_TIME).await;
        journal
            .record(&claimed, &steps([state]), &lease("me", NO_TIME))
            .await
            .unwrap();
        free.insert(claimed.saga.id, claimed.fence);
    }
    let first = begun(journal.as_ref(), "first", NO_TIME).await;
    free.insert(first.saga.id, first.fence);

    let claimed = claim(journal.as_ref()).await;
    assert_eq!(claimed.len(), free.len());
    for claim in claimed {
        assert!(claim.fence.0 > free[&claim.saga.id].0);
        assert_eq!(journal.get(claim.saga.id, None).await.unwrap().unwrap().0, claim.saga);
    }
    assert!(claim(journal.as_ref()).await.is_empty(), "they have an owner now");
}

pub async fn a_saga_is_not_due_before_its_retry<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let later = begun(journal.as_ref(), "later", NO_TIME).await;
    let soon = begun(journal.as_ref(), "soon", NO_TIME).await;
    let mine = lease("me", NO_TIME);
    journal.record(&later, &retry(HOUR, 1, false), &mine).await.unwrap();
    journal.record(&soon, &retry(SOON, 1, false), &mine).await.unwrap();
    let claimed = claim_when_due(journal.as_ref()).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!((claimed[0].saga.id, claimed[0].saga.attempts), (soon.saga.id, 1));
}

pub async fn leases_expire_by_the_clock_of_the_store_not_of_the_service<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let now = Clock::system().now();
    let begin = async |key: &str, now: Timestamp, ttl| {
        let new = Saga {
            created_at: now,
            updated_at: now,
            ..new::<M>("user-1")
        };
        let begun = journal.begin(&new, key, &lease("me", ttl)).await.unwrap();
        assert!(matches!(begun, Begun::Created(_)));
        new.id
    };
    begin("behind, running", now - 12.hours(), HOUR).await;
    begin("ahead, running", now + 12.hours(), HOUR).await;
    let behind = begin("behind, over", now - 12.hours(), NO_TIME).await;
    let ahead = begin("ahead, over", now + 12.hours(), NO_TIME).await;
    let claimed: BTreeSet<_> = claim(journal.as_ref())
        .await
        .iter()
        .map(|claim| claim.saga.id)
        .collect();
    assert_eq!(claimed, [behind, ahead].into());
    let soon = begin("ahead, soon over", now + 12.hours(), SOON).await;
    assert_eq!(claim_when_due(journal.as_ref()).await[0].saga.id, soon);
}

pub async fn a_record_extends_the_lease<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let claimed = begun(journal.as_ref(), "k", NO_TIME).await;
    driven(journal.as_ref(), claimed, &steps([second::<M>()])).await;
    assert!(claim(journal.as_ref()).await.is_empty());
}

pub async fn a_claim_takes_no_more_than_its_limit<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    for n in 0..5 {
        begun(journal.as_ref(), &format!("k{n}"), NO_TIME).await;
    }
    for expected in [2, 2, 1, 0] {
        let claimed = journal.claim_due(&lease("other", HOUR), 2).await.unwrap();
        assert_eq!(claimed.len(), expected);
    }
}

pub async fn sixty_four_concurrent_claims_take_each_saga_once<M: Sample>(fixture: &dyn Journals<M>) {
    let replicas = [fixture.open().await, fixture.open().await];
    for n in 0..20 {
        begun(replicas[0].as_ref(), &format!("k{n}"), NO_TIME).await;
    }
    let claims = (0..64).map(|n| {
        let journal = replicas[n % 2].clone();
        async move { journal.claim_due(&lease(&format!("owner-{n}"), HOUR), 3).await.unwrap() }
    });
    let claimed = join_all(claims).await.concat();
    let ids: BTreeSet<_> = claimed.iter().map(|claim| claim.saga.id).collect();
    assert_eq!((claimed.len(), ids.len()), (20, 20));
    // Each claim is real: its owner can persist a record.
    for claim in claimed {
        driven(replicas[1].as_ref(), claim, &steps([second::<M>()])).await;
    }
}

pub async fn a_concurrent_claim_and_record_leave_one_owner<M: Sample>(fixture: &dyn Journals<M>) {
    let replicas = [fixture.open().await, fixture.open().await];
    let mut old = Vec::new();
    for n in 0..32 {
        old.push(begun(replicas[0].as_ref(), &format!("k{n}"), NO_TIME).await);
    }
    let record = steps([second::<M>()]);
    let mine = lease("me", HOUR);
    let records = join_all(old.iter().map(|owned| replicas[0].record(owned, &record, &mine)));
    let claims = join_all((0..8).map(|_| claim(replicas[1].as_ref())));
    let (recorded, claimed) = futures::join!(records, claims);
    let claimed = claimed.concat();
    let claimed: BTreeMap<_, _> = claimed.iter().map(|claim| (claim.saga.id, claim.fence.0)).collect();
    let left: BTreeSet<_> = claim(replicas[0].as_ref())
        .await
        .iter()
        .map(|claim| claim.saga.id)
        .collect();
    for (owned, recorded) in old.iter().zip(recorded) {
        let id = owned.saga.id;
        match recorded {
            Ok(version) => assert!(version == 2 && !claimed.contains_key(&id) && !left.contains(&id)),
            Err(StoreError::Conflict) => assert_eq!(claimed[&id], owned.fence.0 + 1),
            Err(error) => panic!("{error:?}"),
        }
    }
}

pub async fn a_saga_with_a_released_lease_is_claimed_at_once<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let claimed = begun(journal.as_ref(), "k", HOUR).await;
    let over = lease("me", NO_TIME);
    journal
        .record(&claimed, &retry(NO_TIME, 3, false), &over)
        .await
        .unwrap();
    let taken = claim(journal.as_ref()).await;
    assert_eq!((taken[0].saga.id, taken[0].saga.attempts), (claimed.saga.id, 3));
}

pub async fn releasing_the_leases_of_an_owner_affects_only_its_unfinished_sagas<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let mine = begun(journal.as_ref(), "mine", HOUR).await;
    let waiting = begun(journal.as_ref(), "waiting", HOUR).await;
    driven(journal.as_ref(), waiting.clone(), &retry(HOUR, 13, true)).await;
    let ended = begun(journal.as_ref(), "ended", HOUR).await;
    driven(journal.as_ref(), ended, &steps([good_end::<M>()])).await;
    let theirs = new::<M>("user-1");
    journal.begin(&theirs, "theirs", &lease("them", HOUR)).await.unwrap();

    journal.release_all("me").await.unwrap();
    let claimed: BTreeSet<_> = claim(journal.as_ref())
        .await
        .iter()
        .map(|claim| claim.saga.id)
        .collect();
    assert_eq!(claimed, [mine.saga.id, waiting.saga.id].into());
    journal.release_all("them").await.unwrap();
    assert_eq!(claim(journal.as_ref()).await[0].saga.id, theirs.id);
}

pub async fn a_corrupt_row_does_not_stop_claims_of_other_sagas<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let corrupt = begun(journal.as_ref(), "corrupt", NO_TIME).await;
    let sound = begun(journal.as_ref(), "sound", NO_TIME).await;
    fixture.corrupt(corrupt.saga.id).await;
    let claimed = claim(journal.as_ref()).await;
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].saga, sound.saga);
    assert!(journal.get(corrupt.saga.id, None).await.is_err());
    assert!(journal.get(sound.saga.id, None).await.is_ok());
}

/// An older process beside a newer one must not drive what it does not know.
pub async fn sagas_of_a_later_version_are_not_claimed<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let later = begun(journal.as_ref(), "later", NO_TIME).await.saga.id;
    fixture.raise_version(later).await;
    let known = begun(journal.as_ref(), "known", NO_TIME).await.saga.id;
    let claimed = claim_when_due(journal.as_ref()).await;
    let ids: Vec<_> = claimed.iter().map(|claimed| claimed.saga.id).collect();
    assert_eq!(ids, [known]);
}
