//! Several processes over one journal in PostgreSQL.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use checkout::Store;
use futures::future::{join, join_all};
use proto::checkout::v1::{Checkout, CheckoutStatus};
use runtime::Tasks;
use sqlx::{Connection, PgConnection};
use testing::PostgresDatabase;
use tokio::task::yield_now;
use tonic::Code;

use super::shop::{DEADLINE, Setup, Shop, paid_with, request};
use crate::fake_peers::{FakePeers, Fault, PeerCall, ledger::Reservation};

/// One process over these peers.
async fn shop(database: &PostgresDatabase, owner: &str, peers: &Arc<FakePeers>) -> Shop {
    let setup = Setup {
        store: Store::Postgres(database.address()),
        owner: owner.to_owned(),
        timeout: DEADLINE,
        default_method: Some("pm_card_ok"),
    };
    Shop::start(Arc::new(tempfile::tempdir().unwrap()), peers.clone(), setup).await
}

async fn close(database: PostgresDatabase, shops: impl IntoIterator<Item = Shop>) {
    for shop in shops {
        shop.stop().await;
    }
    database.drop().await;
}

#[tokio::test]
async fn purchases_are_published_and_survive_a_restart() {
    let Some(database) = PostgresDatabase::create().await else {
        return;
    };
    let shop = shop(&database, "first process", &FakePeers::new()).await;
    let bought = shop.buy(request("good")).await;
    let declined = shop.buy(paid_with("bad", "pm_card_declined")).await;
    assert_eq!(
        (bought.status(), declined.status()),
        (CheckoutStatus::Completed, CheckoutStatus::Failed)
    );
    let mut published: Vec<_> = shop.published(2).await.into_iter().map(|message| message.key).collect();
    published.sort();
    let mut expected = [bought.checkout_id.clone(), declined.checkout_id.clone()];
    expected.sort();
    assert_eq!(published, expected);
    let shown = shop.get(&bought.user_id, &bought.checkout_id).await.unwrap();

    let shop = shop.restarted(DEADLINE).await;
    let again = shop.initiate(request("good")).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.checkout.unwrap(), bought);
    assert_eq!(shop.get(&bought.user_id, &bought.checkout_id).await.unwrap(), shown);
    close(database, [shop]).await;
}

#[tokio::test]
async fn two_replicas_make_one_purchase_of_one_key() {
    let Some(database) = PostgresDatabase::create().await else {
        return;
    };
    let peers = FakePeers::new();
    let shops = [
        shop(&database, "one", &peers).await,
        shop(&database, "two", &peers).await,
    ];
    for n in 0..10 {
        let calls = (0..8).map(|call| shops[call % 2].initiate(request(&format!("k{n}"))));
        let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers.iter().filter(|answer| !answer.replayed).count(), 1);
        let first = answers[0].checkout.clone().unwrap();
        assert_eq!(first.status(), CheckoutStatus::Completed);
        assert!(answers.iter().all(|answer| answer.checkout.as_ref() == Some(&first)));
    }
    assert_eq!(peers.calls_of(PeerCall::Charge), 10);
    close(database, shops).await;
}

#[tokio::test]
async fn another_replica_finishes_the_saga_of_a_stopped_one() {
    let Some(database) = PostgresDatabase::create().await else {
        return;
    };
    let peers = FakePeers::new();
    let (one, two) = (
        shop(&database, "one", &peers).await,
        shop(&database, "two", &peers).await,
    );
    peers.always(PeerCall::Confirm, Fault::AnswerLost);
    let (pause, tasks) = (peers.pause_after(PeerCall::Confirm), Tasks::new());
    let buying = tasks.spawn(one.initiate(request("k")));
    pause.reached().await;
    let waiting = tasks.spawn(two.initiate(request("k")));
    pause.resume();
    // The client of the stopped replica gets an error or the right checkout.
    one.stop().await;
    peers.clear_faults();
    let ended = tokio::time::timeout(Duration::from_secs(10), waiting).await;
    let ended = ended.unwrap().unwrap().unwrap().checkout.unwrap();
    assert_eq!(ended.status(), CheckoutStatus::Completed);
    if let Ok(answer) = buying.await.unwrap() {
        assert_eq!(answer.checkout.unwrap().checkout_id, ended.checkout_id);
    }
    close(database, [two]).await;
}

/// Repeats the request until the purchase completes.
async fn buy_with_retries(shop: &Shop, key: &str) -> Checkout {
    loop {
        let answer = shop.initiate(request(key)).await;
        match answer.map(|answer| answer.checkout.unwrap()) {
            Ok(checkout) if checkout.status() == CheckoutStatus::Completed => break checkout,
            Ok(checkout) => assert_ne!(checkout.status(), CheckoutStatus::Failed),
            Err(failed) => assert_eq!(failed.code(), Code::Unavailable, "{failed:?}"),
        }
    }
}

#[tokio::test]
async fn purchases_with_cut_connections_to_the_journal_are_made_once() {
    let Some(database) = PostgresDatabase::create().await else {
        return;
    };
    let peers = FakePeers::new();
    let shops = [
        shop(&database, "one", &peers).await,
        shop(&database, "two", &peers).await,
    ];
    let mut admin = PgConnection::connect(&database.url).await.unwrap();
    let mut bought = BTreeSet::new();
    for round in 0..5 {
        let purchases = (0..16).map(|n| {
            let shop = &shops[n % 2];
            // Each key goes to both replicas.
            async move { buy_with_retries(shop, &format!("{round}-{}", n / 2)).await.checkout_id }
        });
        // Cuts the connections at several moments: each of the eight sagas makes six calls.
        let before = peers.calls().len();
        let (peers, admin, database) = (&peers, &mut admin, &database);
        let cuts = async move {
            for calls in [4, 14, 24, 34, 44] {
                while peers.calls().len() < before + calls {
                    yield_now().await;
                }
                database.cut(admin).await;
            }
        };
        let (made, ()) = join(join_all(purchases), cuts).await;
        bought.extend(made);
    }
    assert_eq!(bought.len(), 40);
    {
        let ledger = peers.ledger();
        assert_eq!((ledger.payments.len(), ledger.money.len()), (40, 40));
        assert!(
            ledger
                .reservations
                .values()
                .all(|(state, _)| *state == Reservation::Sold)
        );
    }
    close(database, shops).await;
}
