//! Two processes of the service on one PostgreSQL database.

use payment::{Store, domain::CheckoutId};
use proto::payment::v1::{Payment, PaymentStatus};
use testing::PostgresDatabase;

use super::{Shop, id, request};
use crate::{harness::PATIENCE, ledger_audit::LedgerAudit};

async fn shop(database: &PostgresDatabase) -> Shop {
    let stores = [Store::Postgres(database.address()), Store::Postgres(database.address())];
    Shop::on(tempfile::tempdir().unwrap(), stores, PATIENCE).await
}

#[tokio::test]
async fn another_process_answers_and_refunds_a_charge() {
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
    let audit = LedgerAudit::of_schema(&database.own_url(), "provider");
    assert_eq!(audit.row_counts(checkout).await, [1, 0, 1, 0]);
    for shop in [here, there] {
        shop.running.stop(PATIENCE).await;
    }
    database.drop().await;
}
