//! The gRPC interface, through a real client.

mod bad_input;
mod replicas;

use std::time::Duration;

use payment::{Config, Provider, Simulation, Store, SuccessRate};
use proto::{
    Reason,
    money::v1::Money,
    payment::v1::{
        ChargeRequest, GetPaymentRequest, Payment, PaymentStatus, RefundRequest,
        payment_service_client::PaymentServiceClient,
    },
    status::reason,
};
use runtime::{Points, Runtime, channel::Peer, serve::Running};
use tempfile::TempDir;
use testing::test_policy;
use tonic::{Code, Status};

use crate::{
    harness::{IMPATIENCE, PATIENCE, checkout},
    ledger_audit::LedgerAudit,
};

const GRPC_CONTRACT: testing::GrpcContract = (proto::FILE_DESCRIPTOR_SET, proto::status::add_status_details);

struct Shop {
    client: PaymentServiceClient<Peer>,
    running: Running,
    trace: std::path::PathBuf,
    folder: TempDir,
}

impl Shop {
    async fn open() -> Self {
        Self::with(PATIENCE).await
    }

    async fn with(provider_timeout: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [store, ledger] = ["payment.db", "provider.db"].map(|name| Store::Sqlite(folder.path().join(name)));
        Self::on(folder, [store, ledger], provider_timeout).await
    }

    /// On these databases: of the payments, and of the provider's ledger. The folder holds the trace.
    async fn on(folder: TempDir, [store, ledger]: [Store; 2], provider_timeout: Duration) -> Self {
        let trace = folder.path().join("trace");
        let runtime = Runtime {
            points: Points::armed(None, Some(&trace)).unwrap(),
            ..Runtime::system()
        };
        let probe = match &store {
            Store::Sqlite(_) => "\"payment-store\"",
            Store::Postgres(_) => "\"payment-postgresql\"",
        };
        let config = Config {
            store,
            provider: Provider::Simulated(Simulation {
                ledger,
                success_rate: SuccessRate::ALWAYS,
                min_latency: Duration::ZERO,
                max_latency: Duration::ZERO,
            }),
            provider_timeout,
        };
        let service = payment::build(config, &runtime).await.unwrap();
        assert_eq!(
            (service.name, service.grpc_name),
            ("payment", "payment.v1.PaymentService")
        );
        assert!(format!("{:?}", service.probes).contains(probe));
        let (peer, running) = testing::serve(service, GRPC_CONTRACT, test_policy(), &runtime).await;
        Self {
            client: PaymentServiceClient::new(peer),
            running,
            trace,
            folder,
        }
    }

    async fn charge(&self, request: ChargeRequest) -> Result<Payment, Status> {
        Ok(self.client.clone().charge(request).await?.into_inner().payment.unwrap())
    }

    async fn refund(&self, checkout_id: &str) -> Result<Payment, Status> {
        let request = RefundRequest {
            checkout_id: checkout_id.to_owned(),
        };
        Ok(self.client.clone().refund(request).await?.into_inner().payment.unwrap())
    }

    async fn get(&self, checkout_id: &str) -> Result<Payment, Status> {
        let request = GetPaymentRequest {
            checkout_id: checkout_id.to_owned(),
        };
        Ok(self
            .client
            .clone()
            .get_payment(request)
            .await?
            .into_inner()
            .payment
            .unwrap())
    }

    /// The labels of all commits since the start.
    fn commits(&self) -> Vec<String> {
        let trace = std::fs::read_to_string(&self.trace).unwrap_or_default();
        let label = |point: &str| Some(point.strip_prefix("commit:")?.strip_suffix(":after")?.to_owned());
        trace.lines().filter_map(label).collect()
    }
}

fn request(checkout_id: &str, method: &str) -> ChargeRequest {
    ChargeRequest {
        checkout_id: checkout_id.to_owned(),
        amount: Some(dollars(4200)),
        payment_method: method.to_owned(),
    }
}

fn dollars(minor_units: i64) -> Money {
    Money {
        currency_code: "USD".to_owned(),
        minor_units,
    }
}

fn id() -> String {
    checkout().to_string()
}

fn refused(result: Result<Payment, Status>) -> (Code, Option<Reason>) {
    let status = result.unwrap_err();
    (status.code(), reason(&status))
}

#[tokio::test]
async fn a_charge_is_answered_with_its_payment_in_two_commits_and_one_of_the_provider() {
    let (shop, id) = (Shop::open().await, id());
    let payment = shop.charge(request(&id, "pm_card_ok")).await.unwrap();
    assert_eq!(shop.commits(), ["payment.intent", "provider.charge", "payment.settle"]);
    assert_eq!(payment.checkout_id, id);
    assert_eq!(payment.payment_id.len(), 36);
    assert_eq!(payment.amount, Some(dollars(4200)));
    assert_eq!(payment.status(), PaymentStatus::Succeeded);
    assert_eq!(payment.decline_reason, "");
    assert!(payment.created_at.is_some_and(|at| at.seconds > 1_700_000_000));
    assert_eq!(shop.charge(request(&id, "pm_card_ok")).await.unwrap(), payment);
    assert_eq!(shop.get(&id).await.unwrap(), payment);
    let refunded = Payment {
        status: PaymentStatus::Refunded.into(),
        ..payment
    };
    for _ in 0..2 {
        assert_eq!(shop.refund(&id).await.unwrap(), refunded);
    }
    assert_eq!(shop.get(&id).await.unwrap(), refunded);
    let late = shop.charge(request(&id, "pm_card_ok")).await;
    assert_eq!(
        refused(late),
        (Code::FailedPrecondition, Some(Reason::PaymentCancelled))
    );
    let audit = LedgerAudit::of_file(&shop.folder.path().join("provider.db")).await;
    assert_eq!(
        audit.row_counts(payment::domain::CheckoutId(id.parse().unwrap())).await,
        [1, 0, 1, 0]
    );
}

#[tokio::test]
async fn each_refusal_has_its_code_and_reason() {
    let shop = Shop::open().await;
    for (method, expected) in [
        ("pm_card_declined", Reason::CardDeclined),
        ("pm_card_insufficient_funds", Reason::InsufficientFunds),
        ("pm_card_expired", Reason::CardExpired),
        ("pm_card_invalid_cvc", Reason::InvalidCvc),
        ("no_such_card", Reason::InvalidPaymentMethod),
    ] {
        let id = id();
        for _ in 0..2 {
            let answer = refused(shop.charge(request(&id, method)).await);
            assert_eq!(answer, (Code::FailedPrecondition, Some(expected)), "{method}");
        }
        let declined = shop.get(&id).await.unwrap();
        assert_eq!(
            (declined.status(), declined.decline_reason.as_str()),
            (PaymentStatus::Declined, expected.as_str())
        );
        assert_eq!(
            shop.refund(&id).await.unwrap(),
            declined,
            "there is nothing to give back"
        );
    }
}

#[tokio::test]
async fn other_terms_for_the_same_checkout_are_a_mismatch() {
    let (shop, id) = (Shop::open().await, id());
    shop.charge(request(&id, "pm_card_ok")).await.unwrap();
    let euro = Some(Money {
        currency_code: "EUR".to_owned(),
        minor_units: 4200,
    });
    for other in [
        ChargeRequest {
            amount: Some(dollars(4201)),
            ..request(&id, "pm_card_ok")
        },
        ChargeRequest {
            amount: euro,
            ..request(&id, "pm_card_ok")
        },
        request(&id, "pm_card_slow"),
    ] {
        let answer = refused(shop.charge(other).await);
        assert_eq!(answer, (Code::FailedPrecondition, Some(Reason::PaymentMismatch)));
    }
}

#[tokio::test]
async fn a_refund_before_its_charge_is_a_cancelled_payment_without_an_amount() {
    let (shop, id) = (Shop::open().await, id());
    let cancelled = shop.refund(&id).await.unwrap();
    assert_eq!(cancelled.status(), PaymentStatus::Cancelled);
    assert_eq!(
        (
            cancelled.payment_id.as_str(),
            &cancelled.amount,
            cancelled.checkout_id.as_str()
        ),
        ("", &None, &*id)
    );
    assert_eq!(shop.get(&id).await.unwrap(), cancelled);
    let late = shop.charge(request(&id, "pm_card_ok")).await;
    assert_eq!(
        refused(late),
        (Code::FailedPrecondition, Some(Reason::PaymentCancelled))
    );
    assert_eq!(shop.refund(&id).await.unwrap(), cancelled);
}

#[tokio::test]
async fn a_missing_payment_is_not_found() {
    let shop = Shop::open().await;
    assert_eq!(
        refused(shop.get(&id()).await),
        (Code::NotFound, Some(Reason::PaymentNotFound))
    );
}

#[tokio::test]
async fn an_unknown_outcome_is_unavailable_and_later_known() {
    let shop = Shop::with(IMPATIENCE).await;
    for method in ["pm_card_charged_reply_lost", "pm_card_slow"] {
        let id = id();
        let unknown = refused(shop.charge(request(&id, method)).await);
        assert_eq!(
            unknown,
            (Code::Unavailable, Some(Reason::ServiceUnavailable)),
            "{method}"
        );
        assert_eq!(
            shop.get(&id).await.unwrap().status(),
            PaymentStatus::Succeeded,
            "{method}"
        );
    }
    let id = id();
    for _ in 0..3 {
        let unknown = refused(shop.charge(request(&id, "pm_card_unavailable")).await);
        assert_eq!(unknown, (Code::Unavailable, Some(Reason::ServiceUnavailable)));
        assert_eq!(shop.get(&id).await.unwrap().status(), PaymentStatus::Pending);
    }
    let charged = shop.charge(request(&id, "pm_card_unavailable")).await.unwrap();
    assert_eq!(charged.status(), PaymentStatus::Succeeded);
}

#[tokio::test]
async fn the_largest_amount_and_other_currencies_are_charged_exactly() {
    let shop = Shop::open().await;
    for (currency, minor_units) in [("USD", money::Money::MAX_MINOR_UNITS), ("EUR", 1), ("JPY", 1_000_000)] {
        let id = id();
        let amount = Some(Money {
            currency_code: currency.to_owned(),
            minor_units,
        });
        let charged = shop
            .charge(ChargeRequest {
                amount: amount.clone(),
                ..request(&id, "pm_card_ok")
            })
            .await;
        assert_eq!(charged.unwrap().amount, amount);
        assert_eq!(shop.refund(&id).await.unwrap().amount, amount);
    }
}

#[tokio::test]
async fn a_checkout_id_in_capitals_is_the_same_id() {
    let (shop, id) = (Shop::open().await, id());
    let payment = shop.charge(request(&id, "pm_card_ok")).await.unwrap();
    assert_eq!(
        shop.charge(request(&id.to_uppercase(), "pm_card_ok")).await.unwrap(),
        payment
    );
}

#[tokio::test]
async fn the_service_stops_without_waiting_for_a_lost_answer() {
    let shop = Shop::with(IMPATIENCE).await;
    let id = id();
    let unknown = refused(shop.charge(request(&id, "pm_card_charged_reply_lost")).await);
    assert_eq!(unknown.0, Code::Unavailable);
    let Shop { client, running, .. } = shop;
    drop(client);
    // Nothing still waits for the lost answer.
    tokio::time::timeout(PATIENCE, running.stop(PATIENCE * 2))
        .await
        .unwrap();
}
