//! The service on PostgreSQL, where several processes share one store.

use payment::{Store, domain::CheckoutId};
use proto::payment::v1::{Payment, PaymentStatus};
use testing::PostgresDatabase;

use super::{Shop, id, request};
use crate::{books::Books, harness::PATIENCE};

async fn shop(database: &PostgresDatabase) -> Shop {
    let stores = [Store::Postgres(database.address()), Store::Postgres(database.address())];
    Shop::on(tempfile::tempdir().unwrap(), stores, PATIENCE).await
}

#[tokio::test]
async fn what_one_process_charged_another_one_answers_and_refunds() {
    let Some(database) = PostgresDatabase::create().await else {
        return;
    };
    let (here, there, id) = (shop(&database).await, shop(&database).await, id());
    let payment = here.charge(request(&id, "pm_card_ok")).await.unwrap();
    assert_eq!(here.commits(), ["payment.intent", "provider.charge", "payment.settle"]);
    assert_eq!(there.charge(request(&id, "pm_card_ok")).await.unwrap(), payment);
    let refunded = Payment {
        status: PaymentStatus::Refunded.into(),
        ..payment
    };
    assert_eq!(there.refund(&id).await.unwrap(), refunded);
    assert_eq!(there.commits(), ["payment.intent", "provider.refund", "payment.refund"]);
    assert_eq!(here.get(&id).await.unwrap(), refunded);
    let checkout = CheckoutId(id.parse().unwrap());
    let books = Books::of_schema(&database.own_url(), "provider");
    assert_eq!(books.lines(checkout).await, [1, 0, 1, 0]);
    for shop in [here, there] {
        shop.running.stop(PATIENCE).await;
    }
    database.drop().await;
}
