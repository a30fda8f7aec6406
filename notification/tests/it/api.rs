//! The gRPC interface, over a real client and server.

use std::{path::PathBuf, sync::Arc, time::Duration};

use events::{EventBus, Handler, SqliteBus};
use notification::{Config, Notifier, Store, store::SqliteNotificationStore};
use proto::{
    Reason,
    notification::v1::{
        ListNotificationsRequest, ListNotificationsResponse, NotificationKind,
        notification_service_client::NotificationServiceClient,
    },
    status,
};
use runtime::{Points, Runtime, channel::Peer, serve::Running};
use testing::test_policy;
use tonic::Status;
use uuid::Uuid;

use crate::support::{ENDED_AT, completed, failed, purchase, refusal};

const GRPC_CONTRACT: testing::GrpcContract = (proto::FILE_DESCRIPTOR_SET, status::add_status_details);

type Client = NotificationServiceClient<Peer>;

struct Api {
    client: Client,
    bus: Arc<dyn EventBus>,
    running: Running,
    folder: tempfile::TempDir,
}

fn database(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("notification.db")
}

/// A service whose store has a notification for each of these purchases.
async fn start(purchases: impl IntoIterator<Item = (u128, &'static str)>) -> Api {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::system();
    let store = SqliteNotificationStore::open(&database(&folder), &Points::none())
        .await
        .unwrap();
    let notifier = Notifier::new(Arc::new(store), runtime.clock.clone());
    for (n, user) in purchases {
        notifier.handle(&completed(n, &purchase(n, user))).await.unwrap();
    }
    let bus = SqliteBus::open(&folder.path().join("bus.db"), &Points::none())
        .await
        .unwrap();
    let bus: Arc<dyn EventBus> = Arc::new(bus);
    let config = Config {
        store: Store::Sqlite(database(&folder)),
    };
    let service = notification::build(config, bus.clone(), &runtime).await.unwrap();
    assert_eq!(
        (service.name, service.grpc_name),
        ("notification", "notification.v1.NotificationService")
    );
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
    async fn list(&self, user: &str, page_size: i32, token: &str) -> Result<ListNotificationsResponse, Status> {
        let (user_id, page_token) = (user.to_owned(), token.to_owned());
        let request = ListNotificationsRequest {
            user_id,
            page_size,
            page_token,
        };
        self.client
            .clone()
            .list_notifications(request)
            .await
            .map(tonic::Response::into_inner)
    }

    async fn stop(self) {
        self.running.stop(Duration::from_secs(10)).await;
    }
}

fn assert_refused(status: &Status, reason: Reason, field: Option<&str>, message: &str) {
    assert_eq!(status.code(), reason.code(), "{status:?}");
    assert_eq!(status::reason(status), Some(reason));
    assert_eq!(status.message(), message);
    let fields: Vec<String> = status::fields(status).into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, field.into_iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn events_on_the_bus_become_notifications_at_the_interface() {
    let api = start([]).await;
    let topic = proto::events::CHECKOUTS.name;
    // The consumer or this test creates the topic; either may be first.
    api.bus
        .ensure_topic(topic, proto::events::CHECKOUTS.partitions)
        .await
        .unwrap();
    let events = [
        failed(1, &refusal(1, "ann")),
        completed(2, &purchase(2, "ann")),
        completed(3, &purchase(3, "bob")),
    ];
    api.bus
        .publish(topic, events.iter().map(events::Event::to_message).collect())
        .await
        .unwrap();
    let notifications = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let notifications = api.list("ann", 0, "").await.unwrap().notifications;
            if notifications.len() == 2 {
                return notifications;
            }
        }
    });
    let notifications = notifications.await.unwrap();
    let newest = &notifications[0];
    let kinds: Vec<_> = notifications.iter().map(|n| (n.id.clone(), n.kind())).collect();
    let id = |n| Uuid::from_u128(n).to_string();
    assert_eq!(
        kinds,
        [
            (id(2), NotificationKind::OrderConfirmed),
            (id(1), NotificationKind::CheckoutFailed)
        ]
    );
    assert!(newest.text.ends_with("3 items, 2629.97 USD."), "{}", newest.text);
    assert_eq!(
        (newest.user_id.as_str(), newest.checkout_id.as_str()),
        ("ann", id(1_000_002).as_str())
    );
    let created_at = newest.created_at.unwrap();
    assert_eq!(
        created_at.seconds * 1000 + i64::from(created_at.nanos) / 1_000_000,
        ENDED_AT
    );
    api.stop().await;
}

#[tokio::test]
async fn an_invalid_user_id_is_an_invalid_argument() {
    let api = start([]).await;
    let message = "user_id must be 1 to 128 characters without control characters";
    for wrong in ["", "a\u{0}", "a\nb", &"x".repeat(129), &"x".repeat(200_000)] {
        let status = api.list(wrong, 0, "").await.unwrap_err();
        assert_refused(&status, Reason::InvalidArgument, Some("user_id"), message);
    }
    for fine in ["x", &"é".repeat(128), "' OR 1=1 --"] {
        assert!(api.list(fine, 0, "").await.unwrap().notifications.is_empty());
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
    for wrong in ["0", "?", " ", &good[1..], &format!("{good}="), &"A".repeat(200_000)] {
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
async fn notifications_of_one_moment_are_paged_without_gap_or_duplicate() {
    let api = start((0..250).map(|n| (n, "ann"))).await;
    for (size, pages) in [(0, 13), (7, 36), (100, 3), (i32::MAX, 3)] {
        let (mut found, mut token, mut count) = (Vec::new(), String::new(), 0);
        loop {
            let page = api.list("ann", size, &token).await.unwrap();
            count += 1;
            found.extend(page.notifications.into_iter().map(|notification| notification.id));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(count, pages, "pages of {size}");
        let newest_first: Vec<String> = (0..250).rev().map(|n| Uuid::from_u128(n).to_string()).collect();
        assert_eq!(found, newest_first, "pages of {size}");
    }
    api.stop().await;
}

#[tokio::test]
async fn errors_of_a_broken_store_reveal_no_internals() {
    let api = start([(1, "ann")]).await;
    let file = sqlx::SqlitePool::connect(database(&api.folder).to_str().unwrap())
        .await
        .unwrap();
    sqlx::query("UPDATE notifications SET checkout_id = 'x'")
        .execute(&file)
        .await
        .unwrap();
    let status = api.list("ann", 0, "").await.unwrap_err();
    assert_refused(&status, Reason::Internal, None, "internal error");
    sqlx::query("DROP TABLE notifications").execute(&file).await.unwrap();
    let status = api.list("ann", 0, "").await.unwrap_err();
    assert_refused(
        &status,
        Reason::ServiceUnavailable,
        None,
        "temporarily unavailable, try again",
    );
    api.stop().await;
}
