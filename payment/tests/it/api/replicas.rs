//! The service on PostgreSQL, where several processes share one store.

use payment::{Store, domain::CheckoutId};
use proto::payment::v1::{Payment, PaymentStatus};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use storage::PostgresAddress;
use testing::Engine;

use super::{Shop, id, request};
use crate::{bench::PATIENCE, books::Books};

/// A database of its own: a service does not ask in which schema its tables are.
struct Database {
    url: String,
    name: String,
}

impl Database {
    async fn new() -> Option<Self> {
        let (url, name) = (Engine::PostgreSql.address()?, testing::unique_name());
        let database = Self { url, name };
        database.run(format!("CREATE DATABASE {}", database.name)).await;
        Some(database)
    }

    async fn run(&self, statement: String) {
        let mut server = PgConnection::connect(&self.url).await.unwrap();
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut server)
            .await
            .unwrap();
        server.close().await.unwrap();
    }

    async fn shop(&self) -> Shop {
        let address = PostgresAddress::from_url(Engine::PostgreSql.variable(), &self.url).unwrap();
        let address = address.with_database(&self.name);
        let stores = [Store::Postgres(address.clone()), Store::Postgres(address)];
        Shop::on(tempfile::tempdir().unwrap(), stores, PATIENCE).await
    }

    fn books(&self) -> Books {
        let (server, _) = self.url.rsplit_once('/').unwrap();
        Books::of_schema(&format!("{server}/{}", self.name), "provider")
    }

    async fn drop(self) {
        testing::postgres::drop_database(&self.url, &self.name).await.unwrap();
    }
}

#[tokio::test]
async fn what_one_process_charged_another_one_answers_and_refunds() {
    let Some(database) = Database::new().await else {
        return;
    };
    let (here, there, id) = (database.shop().await, database.shop().await, id());
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
    assert_eq!(database.books().lines(checkout).await, [1, 0, 1, 0]);
    for shop in [here, there] {
        shop.running.stop(PATIENCE).await;
    }
    database.drop().await;
}
