//! The gRPC interface, over a real client and server.

use std::{collections::HashSet, path::PathBuf, sync::Arc, time::Duration};

use events::{EventBus, Handler, SqliteBus};
use orders::{Config, OrderRecorder, Store, store::SqliteOrderStore};
use proto::{
    Reason,
    orders::v1::{
        GetOrderRequest, ListOrdersRequest, ListOrdersResponse, Order, OrderStatus,
        orders_service_client::OrdersServiceClient,
    },
    status,
};
use runtime::{Points, Runtime, channel::Peer, serve::Running};
use testing::test_policy;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::support::{BOUGHT_AT, event, purchase};

const GRPC_CONTRACT: testing::GrpcContract = (proto::FILE_DESCRIPTOR_SET, status::add_status_details);

type Client = OrdersServiceClient<Peer>;

struct Api {
    client: Client,
    bus: Arc<dyn EventBus>,
    running: Running,
    folder: tempfile::TempDir,
}

fn database(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("orders.db")
}

/// A service whose store has an order for each of these purchases.
async fn start(purchases: impl IntoIterator<Item = (u128, &'static str)>) -> Api {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::system();
    let store = SqliteOrderStore::open(&database(&folder), &Points::none())
        .await
        .unwrap();
    let recorder = OrderRecorder::new(Arc::new(store), runtime.clock.clone());
    for (n, user) in purchases {
        recorder.handle(&event(n, &purchase(n, user))).await.unwrap();
    }
    let bus = SqliteBus::open(&folder.path().join("bus.db"), &Points::none())
        .await
        .unwrap();
    let bus: Arc<dyn EventBus> = Arc::new(bus);
    let config = Config {
        store: Store::Sqlite(database(&folder)),
    };
    let service = orders::build(config, bus.clone(), &runtime).await.unwrap();
    assert_eq!((service.name, service.grpc_name), ("orders", "orders.v1.OrdersService"));
    assert!(!service.probes.is_empty());
    let (peer, running) = testing::serve(service, GRPC_CONTRACT, test_policy(), &runtime).await;
    Api {
        client: Client::new(peer),
        bus,
        running,
        folder,
    }
}

impl Api {
    async fn get(&self, user_id: &str, order_id: &str) -> Result<Order, Status> {
        let request = GetOrderRequest {
            user_id: user_id.to_owned(),
            order_id: order_id.to_owned(),
        };
        self.client
            .clone()
            .get_order(request)
            .await
            .map(|answer| answer.into_inner().order.unwrap())
    }

    async fn list(&self, user_id: &str, page_size: i32, page_token: &str) -> Result<ListOrdersResponse, Status> {
        let (user_id, page_token) = (user_id.to_owned(), page_token.to_owned());
        let request = ListOrdersRequest {
            user_id,
            page_size,
            page_token,
        };
        self.client
            .clone()
            .list_orders(request)
            .await
            .map(tonic::Response::into_inner)
    }

    async fn stop(self) {
        self.running.stop(Duration::from_secs(10)).await;
    }
}

fn id(n: u128) -> String {
    purchase(n, "").order_id.to_string()
}

fn assert_refused(status: &Status, reason: Reason, field: Option<&str>, message: &str) {
    assert_eq!(status.code(), reason.code(), "{status:?}");
    assert_eq!(status::reason(status), Some(reason));
    assert_eq!(status.message(), message);
    let fields: Vec<String> = status::fields(status).into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, field.into_iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn an_event_on_the_bus_becomes_an_order_at_the_interface() {
    let api = start([]).await;
    let topic = proto::events::CHECKOUTS.name;
    // The consumer or this test creates the topic; either may be first.
    api.bus
        .ensure_topic(topic, proto::events::CHECKOUTS.partitions)
        .await
        .unwrap();
    api.bus
        .publish(topic, vec![event(1, &purchase(1, "ann")).to_message()])
        .await
        .unwrap();
    let order = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            match api.get("ann", &id(1)).await {
                Ok(order) => return order,
                Err(status) => assert_eq!(status.code(), Code::NotFound),
            }
        }
    });
    let order = order.await.unwrap();
    assert_eq!(order.checkout_id, purchase(1, "").checkout_id.to_string());
    assert_eq!(order.status(), OrderStatus::Confirmed);
    assert_eq!(order.total_amount.as_ref().unwrap().minor_units, 262_997);
    assert_eq!(order.total_amount.unwrap().currency_code, "USD");
    let created_at = order.created_at.unwrap();
    assert_eq!(
        created_at.seconds * 1000 + i64::from(created_at.nanos) / 1_000_000,
        BOUGHT_AT
    );
    assert_eq!(order.updated_at, Some(created_at));
    let items: Vec<_> = order
        .items
        .iter()
        .map(|i| {
            (
                i.product_id,
                i.product_name.as_str(),
                i.quantity,
                i.subtotal.as_ref().unwrap().minor_units,
            )
        })
        .collect();
    assert_eq!(items, [(1, "Laptop", 2, 259_998), (2, "Mouse", 1, 2_999)]);
    api.stop().await;
}

#[tokio::test]
async fn an_order_of_another_user_is_answered_like_a_missing_one() {
    let api = start([(1, "ann"), (2, "bob")]).await;
    assert_eq!(api.get("ann", &id(1)).await.unwrap().user_id, "ann");
    for (user, n) in [("bob", 1), ("ann", 2), ("ann", 3), ("Ann", 1)] {
        let status = api.get(user, &id(n)).await.unwrap_err();
        assert_refused(
            &status,
            Reason::OrderNotFound,
            None,
            &format!("order not found: {}", id(n)),
        );
    }
    for (user, n) in [("ann", 1), ("bob", 2)] {
        let orders = api.list(user, 0, "").await.unwrap().orders;
        assert_eq!(orders.iter().map(|o| o.id.clone()).collect::<Vec<_>>(), [id(n)]);
    }
    api.stop().await;
}

#[tokio::test]
async fn an_invalid_order_id_is_an_invalid_argument() {
    let api = start([]).await;
    for wrong in [
        "",
        "1",
        "not-a-uuid",
        "' OR 1=1 --",
        "\u{1}\n\u{7f}",
        "çà",
        &format!("{}0", Uuid::nil()),
        &Uuid::nil().simple().to_string(),
        &Uuid::nil().braced().to_string(),
    ] {
        let status = api.get("ann", wrong).await.unwrap_err();
        assert_refused(
            &status,
            Reason::InvalidArgument,
            Some("order_id"),
            &format!("invalid order_id: {wrong}"),
        );
    }
    let status = api.get("ann", &"é".repeat(100_000)).await.unwrap_err();
    let repeated = format!("invalid order_id: {}…", "é".repeat(100));
    assert_refused(&status, Reason::InvalidArgument, Some("order_id"), &repeated);
    api.stop().await;
}

#[tokio::test]
async fn an_invalid_user_id_is_an_invalid_argument() {
    let api = start([]).await;
    let message = "user_id must be 1 to 128 characters without control characters";
    for wrong in ["", "a\u{0}", "a\nb", &"x".repeat(129), &"x".repeat(200_000)] {
        for status in [
            api.get(wrong, &id(1)).await.unwrap_err(),
            api.list(wrong, 0, "").await.unwrap_err(),
        ] {
            assert_refused(&status, Reason::InvalidArgument, Some("user_id"), message);
        }
    }
    for fine in ["x", &"é".repeat(128), "' OR 1=1 --"] {
        assert!(api.list(fine, 0, "").await.unwrap().orders.is_empty());
    }
    api.stop().await;
}

#[tokio::test]
async fn an_invalid_page_is_an_invalid_argument() {
    let api = start((0..3).map(|n| (n, "ann"))).await;
    for size in [-1, i32::MIN] {
        let status = api.list("ann", size, "").await.unwrap_err();
        assert_refused(
            &status,
            Reason::InvalidArgument,
            Some("page_size"),
            "page_size must not be negative",
        );
    }
    let good = api.list("ann", 1, "").await.unwrap().next_page_token;
    let message = "page_token must be the next_page_token of another page of this list";
    for wrong in [
        "0",
        "?",
        " ",
        &good[1..],
        &format!("{good}="),
        &"A".repeat(200_000),
        &id(1),
    ] {
        let status = api.list("ann", 0, wrong).await.unwrap_err();
        assert_refused(&status, Reason::InvalidArgument, Some("page_token"), message);
    }
    // A token of another user's list, and a token in the format of an earlier version.
    for (user, token) in [("bob", good.as_str()), ("ann", "AAABjCiGqHsAAAAAAAAAAAAAAAAAAAAB")] {
        let status = api.list(user, 1, token).await.unwrap_err();
        assert_refused(&status, Reason::InvalidArgument, Some("page_token"), message);
    }
    api.stop().await;
}

#[tokio::test]
async fn orders_of_one_moment_are_paged_without_gap_or_duplicate() {
    let api = start((0..250).map(|n| (n, "ann"))).await;
    for (size, pages) in [(0, 13), (7, 36), (100, 3), (i32::MAX, 3)] {
        let (mut found, mut token, mut count) = (Vec::new(), String::new(), 0);
        loop {
            let page = api.list("ann", size, &token).await.unwrap();
            count += 1;
            assert!(page.orders.iter().all(|order| order.items.len() == 2));
            found.extend(page.orders.into_iter().map(|order| order.id));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(count, pages, "pages of {size}");
        let newest_first: Vec<String> = (0..250).rev().map(id).collect();
        assert_eq!(found, newest_first, "pages of {size}");
        assert_eq!(found.iter().collect::<HashSet<_>>().len(), 250);
    }
    api.stop().await;
}

#[tokio::test]
async fn errors_of_a_broken_store_reveal_no_internals() {
    let api = start([(1, "ann")]).await;
    let file = sqlx::SqlitePool::connect(database(&api.folder).to_str().unwrap())
        .await
        .unwrap();
    sqlx::query("UPDATE orders SET currency = 'dollars'")
        .execute(&file)
        .await
        .unwrap();
    for status in [
        api.get("ann", &id(1)).await.unwrap_err(),
        api.list("ann", 0, "").await.unwrap_err(),
    ] {
        assert_refused(&status, Reason::Internal, None, "internal error");
    }
    for table in ["DROP TABLE order_lines", "DROP TABLE orders"] {
        sqlx::query(table).execute(&file).await.unwrap();
    }
    for status in [
        api.get("ann", &id(1)).await.unwrap_err(),
        api.list("ann", 0, "").await.unwrap_err(),
    ] {
        assert_refused(
            &status,
            Reason::ServiceUnavailable,
            None,
            "temporarily unavailable, try again",
        );
    }
    api.stop().await;
}
