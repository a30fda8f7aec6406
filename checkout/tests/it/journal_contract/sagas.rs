//! How sagas come into a journal.

use std::collections::{HashMap, HashSet};

use checkout::{
    domain::{CartRef, Checkout, CheckoutId, Entry, Line, ProductId, Purchase, UserId},
    ports::{Begun, Fence},
    saga::State,
};
use futures::future::join_all;
use money::{Money, Quantity};

use super::fixture::{BEGAN, CART, Fixture, HOUR, at, begun, checkout, driven, event, history, lease, request, steps};

pub(super) async fn a_saga_that_began_is_there_as_it_was(fixture: impl Fixture) {
    let journal = fixture.journal();
    let request = request("user-1", "k");
    assert_eq!(journal.find(&request.user, &request.key).await.unwrap(), None);
    let new = checkout(&request);
    assert!(journal.get(new.id, None).await.unwrap().is_none());
    let created = journal.begin(&new, &request, &lease("me", HOUR)).await.unwrap();
    assert!(matches!(created, Begun::Created(Fence(1))), "{created:?}");
    assert_eq!(
        journal.find(&request.user, &request.key).await.unwrap().as_ref(),
        Some(&new)
    );
    let first = Entry {
        state: "INITIATED".to_owned(),
        at: at(BEGAN),
        detail: "cart and prices are frozen".to_owned(),
    };
    assert_eq!(journal.get(new.id, None).await.unwrap(), Some((new, vec![first])));
}

pub(super) async fn beginning_twice_with_one_key_finds_the_first(fixture: impl Fixture) {
    let journal = fixture.journal();
    let first = begun(journal.as_ref(), "k", HOUR).await;
    let first = driven(journal.as_ref(), first, &steps([State::InventoryReserved])).await;
    let request = request("user-1", "k");
    let second = checkout(&request);
    match journal.begin(&second, &request, &lease("other", HOUR)).await.unwrap() {
        Begun::Exists(known) => assert_eq!(*known, first.checkout),
        other @ (Begun::Created(_) | Begun::Unheld { .. }) => panic!("began again: {other:?}"),
    }
    assert!(journal.get(second.id, None).await.unwrap().is_none());
    // The first owner still has it.
    driven(journal.as_ref(), first, &steps([State::PaymentPending])).await;
}

pub(super) async fn two_users_may_use_the_same_key(fixture: impl Fixture) {
    let journal = fixture.journal();
    let mut begun = Vec::new();
    for user in ["user-1", "user-2", "User-1"] {
        let request = request(user, "k");
        let new = checkout(&request);
        let created = journal.begin(&new, &request, &lease("me", HOUR)).await.unwrap();
        assert!(matches!(created, Begun::Created(_)), "{user}");
        begun.push((request, new));
    }
    for (request, new) in begun {
        assert_eq!(journal.find(&request.user, &request.key).await.unwrap(), Some(new));
    }
}

/// Nothing of it is read: a row that cannot be read is an error to its owner alone.
pub(super) async fn to_a_user_the_saga_of_another_is_not_there(fixture: impl Fixture) {
    let journal = fixture.journal();
    let claimed = begun(journal.as_ref(), "k", HOUR).await;
    let (id, owner, other) = (
        claimed.checkout.id,
        UserId("user-1".to_owned()),
        UserId("user-2".to_owned()),
    );
    let found = journal.get(id, Some(&owner)).await.unwrap();
    assert_eq!(found, journal.get(id, None).await.unwrap());
    assert!(found.is_some());
    assert_eq!(journal.get(id, Some(&other)).await.unwrap(), None);
    fixture.spoil(id).await;
    assert!(journal.get(id, Some(&owner)).await.is_err());
    assert_eq!(journal.get(id, Some(&other)).await.unwrap(), None);
}

pub(super) async fn sixty_four_racing_begins_of_one_key_are_one_saga(fixture: impl Fixture) {
    let journal = fixture.journal();
    let request = request("user-1", "k");
    let begins = (0..64).map(|_| async {
        let new = checkout(&request);
        match journal.begin(&new, &request, &lease("me", HOUR)).await.unwrap() {
            Begun::Created(_) => (true, new.id),
            Begun::Exists(known) => (false, known.id),
            unheld @ Begun::Unheld { .. } => panic!("{unheld:?}"),
        }
    });
    let answers = join_all(begins).await;
    assert_eq!(answers.iter().filter(|(created, _)| *created).count(), 1);
    let ids: HashSet<CheckoutId> = answers.iter().map(|(_, id)| *id).collect();
    assert_eq!(ids.len(), 1, "everybody is told of the same one");
}

pub(super) async fn sixty_four_racing_begins_of_their_own_keys_do_not_disturb_each_other(fixture: impl Fixture) {
    let journal = fixture.journal();
    let begins = (0..64).map(|n| {
        let journal = journal.clone();
        async move { begun(journal.as_ref(), &format!("k{n}"), HOUR).await.checkout }
    });
    for checkout in join_all(begins).await {
        assert_eq!(journal.get(checkout.id, None).await.unwrap().unwrap().0, checkout);
    }
}

pub(super) async fn keys_that_two_replicas_use_at_once_are_one_saga_each(fixture: impl Fixture) {
    let replicas = [fixture.journal(), fixture.replica().await];
    let begins = (0..64).map(|n| {
        let (journal, key) = (replicas[n % 2].clone(), format!("k{}", n / 4));
        async move {
            let request = request("user-1", &key);
            let new = checkout(&request);
            match journal.begin(&new, &request, &lease("me", HOUR)).await.unwrap() {
                Begun::Created(_) => (key, true, new),
                Begun::Exists(known) => (key, false, *known),
                unheld @ Begun::Unheld { .. } => panic!("{unheld:?}"),
            }
        }
    });
    let mut sagas = HashMap::new();
    let mut created = 0;
    for (key, is_new, saga) in join_all(begins).await {
        created += usize::from(is_new);
        let known = sagas.entry(key).or_insert_with(|| saga.clone());
        assert_eq!(*known, saga, "everybody is told of the same one");
    }
    assert_eq!((created, sagas.len()), (16, 16));
    for saga in sagas.values() {
        assert_eq!(history(replicas[0].as_ref(), saga.id).await, ["INITIATED"]);
    }
}

pub(super) async fn everything_is_there_after_a_reopen(fixture: impl Fixture) {
    let journal = fixture.journal();
    let ended = begun(journal.as_ref(), "ended", HOUR).await;
    let mut record = steps([State::InventoryReserved, State::PaymentPending, State::PaymentCompleted]);
    record.payment_id = Some("pay_1".to_owned());
    let ended = driven(journal.as_ref(), ended, &record).await;
    let mut record = steps([State::Completed]);
    record.event = Some(event(&ended));
    let ended = driven(journal.as_ref(), ended, &record).await.checkout;
    let running = begun(journal.as_ref(), "running", HOUR).await;
    let (saga, event_id) = (journal.get(ended.id, None).await.unwrap(), record.event.unwrap().id);
    drop(journal);

    let fixture = fixture.reopened().await;
    let journal = fixture.journal();
    assert_eq!(journal.get(ended.id, None).await.unwrap(), saga);
    assert_eq!(fixture.outbox().await, [event_id]);
    let request = request("user-1", "ended");
    assert_eq!(journal.find(&request.user, &request.key).await.unwrap(), Some(ended));
    // Its lease has not run out.
    assert!(journal.claim_due(&lease("other", HOUR), 10).await.unwrap().is_empty());
    driven(journal.as_ref(), running, &steps([State::InventoryReserved])).await;
}

pub(super) async fn fifty_lines_of_long_names_come_back_as_they_were(fixture: impl Fixture) {
    let journal = fixture.journal();
    let request = request(&"u".repeat(128), &"ü".repeat(255));
    let line = |product| Line {
        product: ProductId(product),
        name: "\u{1F4BB}\\\"'".repeat(50),
        quantity: Quantity::new(99).unwrap(),
        unit_price: Money::usd(100_000_000),
    };
    let cart = CartRef {
        version: i64::MAX,
        ..CART
    };
    let purchase = Purchase::new((1..=50).map(line).collect(), cart).unwrap();
    let new = Checkout {
        purchase,
        ..checkout(&request)
    };
    journal.begin(&new, &request, &lease("me", HOUR)).await.unwrap();
    assert_eq!(journal.find(&request.user, &request.key).await.unwrap(), Some(new));
}
