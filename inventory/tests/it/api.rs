//! The gRPC interface.

use std::time::Duration;

use futures::future::join_all;
use inventory::{Config, Store};
use proto::{
    Reason,
    inventory::v1::{
        AddStockRequest, ConfirmRequest, GetStockRequest, Line, ReleaseRequest, ReserveRequest, Stock,
        inventory_service_client::InventoryServiceClient,
    },
    status,
};
use runtime::{Clock, Ids, Runtime, channel::Peer, serve::Running};
use testing::test_policy;
use tonic::Code;

const GRPC_CONTRACT: testing::GrpcContract = (proto::FILE_DESCRIPTOR_SET, status::add_status_details);
const HOUR: Duration = Duration::from_hours(1);

/// A running service.
struct Api {
    client: InventoryServiceClient<Peer>,
    running: Running,
}

impl Api {
    async fn start(folder: &tempfile::TempDir, reservation_ttl: Duration) -> Self {
        // A fixed clock far in the past, which must not affect reservations.
        let runtime = Runtime {
            clock: Clock::from_fn(|| jiff::Timestamp::UNIX_EPOCH),
            ..Runtime::system()
        };
        let config = Config {
            store: Store::Sqlite(folder.path().join("inventory.db")),
            reservation_ttl,
        };
        let service = inventory::build(config, &runtime).await.unwrap();
        assert_eq!(service.name, "inventory");
        let (peer, running) = testing::serve(service, GRPC_CONTRACT, test_policy(), &runtime).await;
        Self {
            client: InventoryServiceClient::new(peer),
            running,
        }
    }

    async fn reserve(&self, checkout: &str, lines: &[(i64, i64)]) -> Result<jiff::Timestamp, tonic::Status> {
        let answer = self.client.clone().reserve(reserve(checkout, lines)).await?;
        Ok(proto::convert::from_timestamp(answer.into_inner().expires_at.as_ref()).unwrap())
    }

    async fn confirm(&self, checkout: &str) -> Result<(), tonic::Status> {
        self.client
            .clone()
            .confirm(ConfirmRequest {
                checkout_id: checkout.to_owned(),
            })
            .await
            .map(|_| ())
    }

    async fn release(&self, checkout: &str) -> Result<(), tonic::Status> {
        self.client
            .clone()
            .release(ReleaseRequest {
                checkout_id: checkout.to_owned(),
            })
            .await
            .map(|_| ())
    }

    async fn stock(&self, product_ids: &[i64]) -> Vec<Stock> {
        let request = GetStockRequest {
            product_ids: product_ids.to_vec(),
        };
        self.client.clone().get_stock(request).await.unwrap().into_inner().stock
    }

    async fn add_stock(&self, request: AddStockRequest) -> Result<Stock, tonic::Status> {
        self.client
            .clone()
            .add_stock(request)
            .await
            .map(|answer| answer.into_inner().stock.unwrap())
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn new_checkout() -> String {
    Ids::random().next().to_string()
}

fn reserve(checkout: &str, lines: &[(i64, i64)]) -> ReserveRequest {
    let lines = lines
        .iter()
        .map(|&(product_id, quantity)| Line { product_id, quantity })
        .collect();
    ReserveRequest {
        checkout_id: checkout.to_owned(),
        lines,
    }
}

fn laptops(on_hand: i64, held: i64) -> Stock {
    Stock {
        product_id: 1,
        on_hand,
        held,
        available: on_hand - held,
    }
}

fn delivery(product_id: i64, quantity: i64, key: &str) -> AddStockRequest {
    AddStockRequest {
        product_id,
        quantity,
        idempotency_key: key.to_owned(),
    }
}

/// Asserts the reason of a refusal and its invalid fields.
fn assert_refused(refused: &tonic::Status, reason: Reason, fields: &[&str]) {
    assert_eq!(status::refused(refused), Some(reason), "{refused:?}");
    assert_eq!(refused.code(), reason.code());
    let invalid: Vec<_> = status::fields(refused).into_iter().map(|(field, _)| field).collect();
    assert_eq!(invalid, fields);
}

#[tokio::test]
async fn stock_is_listed_for_all_or_the_named_products() {
    let folder = folder();
    let api = Api::start(&folder, HOUR).await;
    let all = api.stock(&[]).await;
    let available: Vec<_> = all.iter().map(|stock| (stock.product_id, stock.available)).collect();
    assert_eq!(available, [(1, 100), (2, 500), (3, 300), (4, 150), (5, 200)]);
    assert_eq!(api.stock(&[77, 1]).await, [laptops(100, 0)]);
    assert_eq!(api.stock(&[77]).await, []);
}

#[tokio::test]
async fn a_bad_stock_request_names_its_field() {
    let folder = folder();
    let mut api = Api::start(&folder, HOUR).await;
    let refused = api
        .client
        .get_stock(GetStockRequest {
            product_ids: vec![1, 0],
        })
        .await
        .unwrap_err();
    assert_refused(&refused, Reason::InvalidProductId, &["product_ids[1]"]);
    assert!(
        api.client
            .get_stock(GetStockRequest {
                product_ids: vec![1; 1_000]
            })
            .await
            .is_ok()
    );
    let refused = api
        .client
        .get_stock(GetStockRequest {
            product_ids: vec![1; 1_001],
        })
        .await
        .unwrap_err();
    assert_refused(&refused, Reason::InvalidArgument, &["product_ids"]);
}

#[tokio::test]
async fn a_sale_counts_once() {
    let folder = folder();
    let api = Api::start(&folder, HOUR).await;
    let checkout = new_checkout();
    let first = api.reserve(&checkout, &[(1, 2), (2, 1), (1, 1)]).await.unwrap();
    assert_eq!(api.reserve(&checkout, &[(2, 1), (1, 3)]).await.unwrap(), first);
    assert_eq!(
        api.reserve(&checkout.to_uppercase(), &[(2, 1), (1, 3)]).await.unwrap(),
        first,
        "the same UUID"
    );
    assert_eq!(api.stock(&[1]).await, [laptops(100, 3)]);
    for _ in 0..2 {
        api.confirm(&checkout).await.unwrap();
        assert_eq!(api.stock(&[1]).await, [laptops(97, 0)]);
    }
    let refused = api.release(&checkout).await.unwrap_err();
    assert_refused(&refused, Reason::ReservationConfirmed, &[]);
    assert_eq!(api.stock(&[1]).await, [laptops(97, 0)]);
}

#[tokio::test]
async fn a_reservation_expires_by_the_clock_of_the_database() {
    let folder = folder();
    let api = Api::start(&folder, HOUR).await;
    let before = Clock::system().now();
    let expires_at = api.reserve(&new_checkout(), &[(1, 1)]).await.unwrap();
    let after = Clock::system().now();
    assert!(
        expires_at >= before + HOUR - Duration::from_secs(1) && expires_at <= after + HOUR,
        "{expires_at}"
    );
}

#[tokio::test]
async fn a_released_reservation_returns_its_stock() {
    let folder = folder();
    let api = Api::start(&folder, HOUR).await;
    let checkout = new_checkout();
    api.reserve(&checkout, &[(1, 3)]).await.unwrap();
    for _ in 0..2 {
        api.release(&checkout).await.unwrap();
        assert_eq!(api.stock(&[1]).await, [laptops(100, 0)]);
    }
    assert_refused(
        &api.confirm(&checkout).await.unwrap_err(),
        Reason::ReservationReleased,
        &[],
    );
    assert_refused(
        &api.reserve(&checkout, &[(1, 3)]).await.unwrap_err(),
        Reason::ReservationReleased,
        &[],
    );
}

#[tokio::test]
async fn a_refusal_lists_the_shortages() {
    let folder = folder();
    let api = Api::start(&folder, HOUR).await;
    let checkout = new_checkout();
    for _ in 0..2 {
        let refused = api
            .reserve(&checkout, &[(77, 1), (1, 60), (1, 60), (2, 1)])
            .await
            .unwrap_err();
        assert_refused(&refused, Reason::OutOfStock, &[]);
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(
            status::metadata(&refused, "shortages").unwrap(),
            r#"[{"product_id":1,"requested":120,"available":100},{"product_id":77,"requested":1,"available":0}]"#
        );
    }
    assert_refused(
        &api.confirm(&checkout).await.unwrap_err(),
        Reason::ReservationNotFound,
        &[],
    );
    api.release(&checkout).await.unwrap();
    assert_eq!(api.stock(&[1]).await, [laptops(100, 0)]);
}

#[tokio::test]
async fn other_lines_for_the_same_checkout_are_a_mismatch() {
    let folder = folder();
    let api = Api::start(&folder, HOUR).await;
    let checkout = new_checkout();
    api.reserve(&checkout, &[(1, 3)]).await.unwrap();
    assert_refused(
        &api.reserve(&checkout, &[(1, 4)]).await.unwrap_err(),
        Reason::ReservationMismatch,
        &[],
    );
    assert_eq!(api.stock(&[1]).await, [laptops(100, 3)]);
}

#[tokio::test]
async fn a_bad_reserve_names_its_field() {
    let folder = folder();
    let api = Api::start(&folder, HOUR).await;
    let good = new_checkout();
    let bad = [
        (reserve("", &[(1, 1)]), Reason::InvalidArgument, "checkout_id"),
        (reserve("not-a-uuid", &[(1, 1)]), Reason::InvalidArgument, "checkout_id"),
        (reserve("\0", &[(1, 1)]), Reason::InvalidArgument, "checkout_id"),
        (
            reserve(&good.replace('-', ""), &[(1, 1)]),
            Reason::InvalidArgument,
            "checkout_id",
        ),
        (
            reserve(&format!("{{{good}}}"), &[(1, 1)]),
            Reason::InvalidArgument,
            "checkout_id",
        ),
        (
            reserve(&"a".repeat(100_000), &[(1, 1)]),
            Reason::InvalidArgument,
            "checkout_id",
        ),
        (reserve(&good, &[]), Reason::InvalidArgument, "lines"),
        (reserve(&good, &[(1, 1); 101]), Reason::InvalidArgument, "lines"),
        (
            reserve(&good, &[(1, 1), (0, 1)]),
            Reason::InvalidProductId,
            "lines[1].product_id",
        ),
        (
            reserve(&good, &[(i64::MIN, 1)]),
            Reason::InvalidProductId,
            "lines[0].product_id",
        ),
        (reserve(&good, &[(1, 0)]), Reason::InvalidQuantity, "lines[0].quantity"),
        (reserve(&good, &[(1, -1)]), Reason::InvalidQuantity, "lines[0].quantity"),
        (
            reserve(&good, &[(1, i64::MAX)]),
            Reason::InvalidQuantity,
            "lines[0].quantity",
        ),
        (
            reserve(&good, &[(1, 1_000_000), (1, 1)]),
            Reason::InvalidQuantity,
            "lines",
        ),
    ];
    for (request, reason, field) in bad {
        let refused = api.client.clone().reserve(request).await.unwrap_err();
        assert_refused(&refused, reason, &[field]);
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    // The refusals were not stored.
    api.reserve(&good, &[(1, 1); 100]).await.unwrap();
}

#[tokio::test]
async fn confirm_and_release_need_a_checkout_id_and_confirm_a_reservation() {
    let folder = folder();
    let api = Api::start(&folder, HOUR).await;
    for wrong in ["", "42", "\u{7f}", &"a".repeat(1_000)] {
        assert_refused(
            &api.confirm(wrong).await.unwrap_err(),
            Reason::InvalidArgument,
            &["checkout_id"],
        );
        assert_refused(
            &api.release(wrong).await.unwrap_err(),
            Reason::InvalidArgument,
            &["checkout_id"],
        );
    }
    let refused = api.confirm(&new_checkout()).await.unwrap_err();
    assert_refused(&refused, Reason::ReservationNotFound, &[]);
    assert_eq!(refused.code(), Code::NotFound);
}

#[tokio::test]
async fn goods_received_count_once() {
    let folder = folder();
    let api = Api::start(&folder, HOUR).await;
    for _ in 0..2 {
        assert_eq!(api.add_stock(delivery(1, 5, "truck 1")).await.unwrap(), laptops(105, 0));
    }
    assert_eq!(api.stock(&[1]).await, [laptops(105, 0)]);
    let refused = api.add_stock(delivery(1, 6, "truck 1")).await.unwrap_err();
    assert_refused(&refused, Reason::InvalidArgument, &["idempotency_key"]);
    let new = api.add_stock(delivery(77, 1_000_000, "truck 2")).await.unwrap();
    assert_eq!(
        new,
        Stock {
            product_id: 77,
            on_hand: 1_000_000,
            held: 0,
            available: 1_000_000
        }
    );
}

#[tokio::test]
async fn a_bad_delivery_names_its_field() {
    let folder = folder();
    let api = Api::start(&folder, HOUR).await;
    let bad = [
        (delivery(0, 1, "k"), Reason::InvalidProductId, "product_id"),
        (delivery(-1, 1, "k"), Reason::InvalidProductId, "product_id"),
        (delivery(1, 0, "k"), Reason::InvalidQuantity, "quantity"),
        (delivery(1, i64::MIN, "k"), Reason::InvalidQuantity, "quantity"),
        (delivery(1, 1_000_001, "k"), Reason::InvalidQuantity, "quantity"),
        (delivery(1, 1, ""), Reason::InvalidArgument, "idempotency_key"),
        (delivery(1, 1, "a\nb"), Reason::InvalidArgument, "idempotency_key"),
        (
            delivery(1, 1, &"k".repeat(256)),
            Reason::InvalidArgument,
            "idempotency_key",
        ),
    ];
    for (request, reason, field) in bad {
        assert_refused(&api.add_stock(request).await.unwrap_err(), reason, &[field]);
    }
    assert_eq!(api.stock(&[1]).await, [laptops(100, 0)]);
}

#[tokio::test]
async fn five_hundred_callers_share_a_hundred_pieces() {
    let folder = folder();
    let api = Api::start(&folder, HOUR).await;
    let answers = join_all((0..500).map(async |_| api.reserve(&new_checkout(), &[(1, 1)]).await)).await;
    let (held, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((held.len(), refused.len()), (100, 400));
    for refused in refused {
        assert_refused(&refused.unwrap_err(), Reason::OutOfStock, &[]);
    }
    assert_eq!(api.stock(&[1]).await, [laptops(100, 100)]);
}

#[tokio::test]
async fn the_expiry_task_returns_the_stock_of_expired_reservations() {
    let folder = folder();
    let api = Api::start(&folder, Duration::from_millis(1)).await;
    let checkout = new_checkout();
    api.reserve(&checkout, &[(1, 100)]).await.unwrap();
    let expired = async {
        while api.stock(&[1]).await != [laptops(100, 0)] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), expired).await.unwrap();
    api.confirm(&checkout).await.unwrap();
    assert_eq!(api.stock(&[1]).await, [laptops(0, 0)]);
}

#[tokio::test]
async fn an_expired_reservation_whose_stock_is_gone_cannot_be_confirmed() {
    let folder = folder();
    let short = Api::start(&folder, Duration::ZERO).await;
    let late = new_checkout();
    short.reserve(&late, &[(1, 100)]).await.unwrap();
    short.running.stop(Duration::from_secs(5)).await;

    let api = Api::start(&folder, HOUR).await;
    api.reserve(&new_checkout(), &[(1, 1)]).await.unwrap();
    for _ in 0..2 {
        assert_refused(&api.confirm(&late).await.unwrap_err(), Reason::ReservationExpired, &[]);
    }
    assert_eq!(api.stock(&[1]).await, [laptops(100, 1)]);
    api.release(&late).await.unwrap();
}

#[tokio::test]
async fn stock_and_reservations_survive_a_restart() {
    let folder = folder();
    let checkout = new_checkout();
    let first = {
        let api = Api::start(&folder, HOUR).await;
        let first = api.reserve(&checkout, &[(1, 4)]).await.unwrap();
        let address = api.running.address;
        let stopped = tokio::time::timeout(Duration::from_secs(5), api.running.stop(Duration::from_mins(1)));
        assert!(stopped.await.is_ok(), "the expiry task stops");
        assert!(tokio::net::TcpStream::connect(address).await.is_err());
        first
    };
    let api = Api::start(&folder, HOUR).await;
    assert_eq!(api.stock(&[1]).await, [laptops(100, 4)]);
    assert_eq!(api.reserve(&checkout, &[(1, 4)]).await.unwrap(), first);
    api.confirm(&checkout).await.unwrap();
    assert_eq!(api.stock(&[1]).await, [laptops(96, 0)]);
}
