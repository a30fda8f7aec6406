//! Beginning sagas and finding them.

use std::collections::{HashMap, HashSet};

use futures::future::join_all;

use crate::{
    Begun, Entry, Fence,
    machine::State,
    testing::{
        Sample,
        fixture::{BEGAN, HOUR, Journals, at, begun, driven, event, good_end, history, lease, new, second, steps},
    },
};

pub async fn a_begun_saga_is_read_back_unchanged<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    assert_eq!(journal.find("user-1", "k").await.unwrap(), None);
    let new = new::<M>("user-1");
    assert!(journal.get(new.id, None).await.unwrap().is_none());
    let created = journal.begin(&new, "k", &lease("me", HOUR)).await.unwrap();
    assert!(matches!(created, Begun::Created(Fence(1))), "{created:?}");
    assert_eq!(journal.find("user-1", "k").await.unwrap().as_ref(), Some(&new));
    let first = Entry {
        state: new.state.name().to_owned(),
        at: at(BEGAN),
        detail: M::detail(&new.state, None),
    };
    assert_eq!(journal.get(new.id, None).await.unwrap(), Some((new, vec![first])));
}

pub async fn a_second_begin_with_the_same_key_returns_the_first_saga<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let first = begun(journal.as_ref(), "k", HOUR).await;
    let first = driven(journal.as_ref(), first, &steps([second::<M>()])).await;
    let other = new::<M>("user-1");
    match journal.begin(&other, "k", &lease("other", HOUR)).await.unwrap() {
        Begun::Exists(known) => assert_eq!(*known, first.saga),
        unexpected @ (Begun::Created(_) | Begun::Refused) => panic!("began again: {unexpected:?}"),
    }
    assert!(journal.get(other.id, None).await.unwrap().is_none());
    // The first owner still holds the lease.
    driven(journal.as_ref(), first, &steps([good_end::<M>()])).await;
}

pub async fn two_scopes_may_use_the_same_key<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let mut begun = Vec::new();
    for scope in ["user-1", "user-2", "User-1"] {
        let new = new::<M>(scope);
        let created = journal.begin(&new, "k", &lease("me", HOUR)).await.unwrap();
        assert!(matches!(created, Begun::Created(_)), "{scope}");
        begun.push(new);
    }
    for new in begun {
        assert_eq!(journal.find(&new.scope, "k").await.unwrap(), Some(new));
    }
}

/// Nothing of it is read: a row that cannot be read is an error to its owner alone.
pub async fn a_saga_is_hidden_from_other_scopes<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let id = begun(journal.as_ref(), "k", HOUR).await.saga.id;
    let found = journal.get(id, Some("user-1")).await.unwrap();
    assert_eq!(found, journal.get(id, None).await.unwrap());
    assert!(found.is_some());
    assert_eq!(journal.get(id, Some("user-2")).await.unwrap(), None);
    fixture.corrupt(id).await;
    assert!(journal.get(id, Some("user-1")).await.is_err());
    assert_eq!(journal.get(id, Some("user-2")).await.unwrap(), None);
}

pub async fn sixty_four_concurrent_begins_with_one_key_store_one_saga<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let begins = (0..64).map(|_| async {
        let new = new::<M>("user-1");
        match journal.begin(&new, "k", &lease("me", HOUR)).await.unwrap() {
            Begun::Created(_) => (true, new.id),
            Begun::Exists(known) => (false, known.id),
            Begun::Refused => panic!("refused"),
        }
    });
    let answers = join_all(begins).await;
    assert_eq!(answers.iter().filter(|(created, _)| *created).count(), 1);
    let ids: HashSet<_> = answers.iter().map(|(_, id)| *id).collect();
    assert_eq!(ids.len(), 1, "all callers get the same saga");
}

pub async fn sixty_four_concurrent_begins_with_different_keys_all_succeed<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let begins = (0..64).map(|n| {
        let journal = journal.clone();
        async move { begun(journal.as_ref(), &format!("k{n}"), HOUR).await.saga }
    });
    for saga in join_all(begins).await {
        assert_eq!(journal.get(saga.id, None).await.unwrap().unwrap().0, saga);
    }
}

pub async fn two_replicas_that_begin_with_one_key_store_one_saga<M: Sample>(fixture: &dyn Journals<M>) {
    let replicas = [fixture.open().await, fixture.open().await];
    let begins = (0..64).map(|n| {
        let (journal, key) = (replicas[n % 2].clone(), format!("k{}", n / 4));
        async move {
            let new = new::<M>("user-1");
            match journal.begin(&new, &key, &lease("me", HOUR)).await.unwrap() {
                Begun::Created(_) => (key, true, new),
                Begun::Exists(known) => (key, false, *known),
                Begun::Refused => panic!("refused"),
            }
        }
    });
    let mut sagas = HashMap::new();
    let mut created = 0;
    for (key, is_new, saga) in join_all(begins).await {
        created += usize::from(is_new);
        let known = sagas.entry(key).or_insert_with(|| saga.clone());
        assert_eq!(*known, saga, "all callers get the same saga");
    }
    assert_eq!((created, sagas.len()), (16, 16));
    for saga in sagas.values() {
        assert_eq!(history(replicas[0].as_ref(), saga.id).await, [saga.state.name()]);
    }
}

pub async fn sagas_events_and_leases_survive_a_reopen<M: Sample>(fixture: &dyn Journals<M>) {
    let journal = fixture.open().await;
    let ended = begun(journal.as_ref(), "ended", HOUR).await;
    let mut record = steps(M::happy_path().split_off(1));
    record.event = Some(("topic", event(&ended.saga)));
    let ended = driven(journal.as_ref(), ended, &record).await.saga;
    let running = begun(journal.as_ref(), "running", HOUR).await;
    let saga = journal.get(ended.id, None).await.unwrap();
    let event_id = record.event.unwrap().1.id;
    drop(journal);

    let journal = fixture.open().await;
    assert_eq!(journal.get(ended.id, None).await.unwrap(), saga);
    assert_eq!(fixture.outbox().await, [event_id]);
    assert_eq!(journal.find("user-1", "ended").await.unwrap(), Some(ended));
    // Its lease has not expired.
    assert!(journal.claim_due(&lease("other", HOUR), 10).await.unwrap().is_empty());
    driven(journal.as_ref(), running, &steps([second::<M>()])).await;
}
