//! The service over gRPC servers of the fake peers, on a temporary data directory, with a client.

use std::{
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use checkout::{Config, Peers, Store, domain::PaymentMethod};
use events::{EventBus, SqliteBus};
use proto::{
    cart::v1::cart_service_server::CartServiceServer,
    checkout::v1::{
        Checkout, GetCheckoutRequest, InitiateCheckoutRequest, InitiateCheckoutResponse, ListCheckoutsRequest,
        ListCheckoutsResponse, checkout_service_client::CheckoutServiceClient,
    },
    inventory::v1::inventory_service_server::InventoryServiceServer,
    money::v1::Money,
    payment::v1::payment_service_server::PaymentServiceServer,
    product::v1::product_service_server::ProductServiceServer,
};
use runtime::{
    Faults, Points, Runtime, Service, Tasks,
    channel::{Peer, Policy},
    serve::Running,
};
use sqlx::{Connection, SqliteConnection};
use tempfile::TempDir;
use tonic::Status;

use super::peers::PeerServers;
use crate::fake_peers::{FakePeers, Fault, PeerCall};

pub(super) use testing::DEADLINE;

const GRPC_CONTRACT: testing::GrpcContract = (proto::FILE_DESCRIPTOR_SET, proto::status::add_status_details);

pub(super) struct Shop {
    pub(super) client: CheckoutServiceClient<Peer>,
    pub(super) peers: Arc<FakePeers>,
    pub(super) answers: Arc<Mutex<Vec<(PeerCall, Status)>>>,
    bus: SqliteBus,
    running: Vec<Running>,
    folder: Arc<TempDir>,
    setup: Setup,
}

/// How the service is started.
#[derive(Clone)]
pub(super) struct Setup {
    pub(super) store: Store,
    pub(super) owner: String,
    /// How long callers wait for the end of their saga.
    pub(super) timeout: Duration,
    /// The method of a purchase that names none.
    pub(super) default_method: Option<&'static str>,
}

fn peer_call(name: &str) -> Option<PeerCall> {
    Some(match name {
        "cart.GetCart" => PeerCall::GetCart,
        "product.BatchGetProducts" => PeerCall::GetPrices,
        "inventory.Reserve" => PeerCall::Reserve,
        "inventory.Confirm" => PeerCall::Confirm,
        "inventory.Release" => PeerCall::Release,
        "cart.Hold" => PeerCall::Hold,
        "cart.GiveBack" => PeerCall::GiveBack,
        "payment.Charge" => PeerCall::Charge,
        "payment.Refund" => PeerCall::Refund,
        "payment.GetPayment" => PeerCall::GetPayment,
        _ => return None,
    })
}

/// Injects the scripted faults into connections.
fn policy(peers: &Arc<FakePeers>) -> Policy {
    let peers = peers.clone();
    let fault = move |name: &str| {
        peers.next_fault(peer_call(name)?).map(|fault| match fault {
            Fault::NeverArrives => runtime::Fault::NeverArrives,
            Fault::AnswerLost => runtime::Fault::AnswerLost,
            Fault::Twice => runtime::Fault::Twice,
            Fault::AnswerLate | Fault::Overtaken(_) => panic!("not a fault of a connection"),
        })
    };
    Policy {
        deadline: DEADLINE,
        points: Points::none(),
        faults: Faults::from_fn(fault),
    }
}

impl Shop {
    pub(super) async fn open() -> Self {
        Self::with_timeout(DEADLINE).await
    }

    pub(super) async fn with_timeout(timeout: Duration) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let setup = Setup {
            store: Store::Sqlite(folder.path().join("checkout.db")),
            owner: "me".to_owned(),
            timeout,
            default_method: Some("pm_card_ok"),
        };
        Self::start(folder, FakePeers::new(), setup).await
    }

    pub(super) async fn without_a_default_method() -> Self {
        let Self {
            folder, peers, setup, ..
        } = Self::open().await;
        let setup = Setup {
            default_method: None,
            ..setup
        };
        Self::start(folder, peers, setup).await
    }

    /// Starts the service over these peers, with a bus in this folder.
    pub(super) async fn start(folder: Arc<TempDir>, peers: Arc<FakePeers>, setup: Setup) -> Self {
        let runtime = Runtime::system();
        let answers = Arc::default();
        let (channels, mut running) = serve_peers(&peers, &answers, &runtime).await;
        let bus = SqliteBus::open(&folder.path().join("bus.db"), &runtime.points)
            .await
            .unwrap();
        let config = Config {
            store: setup.store.clone(),
            default_method: setup.default_method.map(|name| PaymentMethod::new(name).unwrap()),
            timeout: setup.timeout,
            owner: setup.owner.clone(),
            outbox_poll: Duration::from_secs(1),
            outbox_batch: 100,
            outbox_retention: Duration::from_hours(1),
        };
        let service = checkout::build(config, channels, Arc::new(bus.clone()), &runtime)
            .await
            .unwrap();
        assert_eq!(
            (service.name, service.grpc_name),
            ("checkout", "checkout.v1.CheckoutService")
        );
        let probe = match setup.store {
            Store::Sqlite(_) => "\"checkout-store\"",
            Store::Postgres(_) => "\"checkout-postgresql\"",
        };
        assert!(format!("{:?}", service.probes).contains(probe));
        let (peer, checkout) = testing::serve(service, GRPC_CONTRACT, policy(&peers), &runtime).await;
        running.insert(0, checkout);
        Self {
            client: CheckoutServiceClient::new(peer),
            peers,
            answers,
            bus,
            running,
            folder,
            setup,
        }
    }

    /// Stops the service, and starts it again on the same data and peers.
    pub(super) async fn restarted(self, timeout: Duration) -> Self {
        let (folder, peers) = (self.folder.clone(), self.peers.clone());
        let setup = Setup {
            timeout,
            ..self.setup.clone()
        };
        self.stop().await;
        Self::start(folder, peers, setup).await
    }

    pub(super) async fn stop(self) {
        for running in self.running {
            running.stop(Duration::from_millis(100)).await;
        }
    }

    /// The next call of this kind gets this status, and is not executed.
    pub(super) fn answer_next(&self, call: PeerCall, status: Status) {
        self.answers.lock().unwrap().push((call, status));
    }

    pub(super) async fn mark_needs_attention(&self, checkout_id: &str) {
        let path = self.folder.path().join("checkout.db");
        let mut db = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
        sqlx::query("UPDATE checkouts SET needs_attention = 1 WHERE id = ?")
            .bind(checkout_id)
            .execute(&mut db)
            .await
            .unwrap();
    }

    pub(super) fn initiate(
        &self,
        request: InitiateCheckoutRequest,
    ) -> impl Future<Output = Result<InitiateCheckoutResponse, Status>> + 'static {
        let mut client = self.client.clone();
        async move { Ok(client.initiate_checkout(request).await?.into_inner()) }
    }

    pub(super) async fn buy(&self, request: InitiateCheckoutRequest) -> Checkout {
        self.initiate(request).await.unwrap().checkout.unwrap()
    }

    pub(super) async fn get(&self, user_id: &str, checkout_id: &str) -> Result<Checkout, Status> {
        let request = GetCheckoutRequest {
            user_id: user_id.to_owned(),
            checkout_id: checkout_id.to_owned(),
        };
        let response = self.client.clone().get_checkout(request).await?.into_inner();
        Ok(response.checkout.unwrap())
    }

    pub(super) async fn list(&self, request: ListCheckoutsRequest) -> Result<ListCheckoutsResponse, Status> {
        Ok(self.client.clone().list_checkouts(request).await?.into_inner())
    }

    /// The next events on the bus.
    pub(super) async fn published(&self, count: usize) -> Vec<events::Message> {
        let topic = proto::events::CHECKOUTS;
        self.bus.ensure_topic(topic.name, topic.partitions).await.unwrap();
        let mut subscription = self.bus.subscribe("test", topic).await.unwrap();
        let mut messages = Vec::new();
        let read = async {
            while messages.len() < count {
                let deliveries = subscription.next().await.unwrap();
                messages.extend(deliveries.into_iter().map(|delivery| delivery.message));
            }
        };
        tokio::time::timeout(DEADLINE, read).await.unwrap();
        messages
    }
}

async fn serve_peers(
    fakes: &Arc<FakePeers>,
    answers: &Arc<Mutex<Vec<(PeerCall, Status)>>>,
    runtime: &Runtime,
) -> (Peers, Vec<Running>) {
    let servers = PeerServers {
        peers: fakes.clone(),
        answers: answers.clone(),
    };
    let tasks = Tasks::new;
    let services = [
        Service::new("product", ProductServiceServer::new(servers.clone()), tasks()),
        Service::new("cart", CartServiceServer::new(servers.clone()), tasks()),
        Service::new("inventory", InventoryServiceServer::new(servers.clone()), tasks()),
        Service::new("payment", PaymentServiceServer::new(servers), tasks()),
    ];
    let (mut peers, mut running) = (Vec::new(), Vec::new());
    for service in services {
        let (peer, server) = testing::serve(service, GRPC_CONTRACT, policy(fakes), runtime).await;
        peers.push(peer);
        running.push(server);
    }
    let [product, cart, inventory, payment] = <[Peer; 4]>::try_from(peers).unwrap();
    let peers = Peers {
        product,
        cart,
        inventory,
        payment,
    };
    (peers, running)
}

/// A request with this key. Each key has its own customer.
pub(super) fn request(key: &str) -> InitiateCheckoutRequest {
    InitiateCheckoutRequest {
        user_id: format!("user-of-{key}"),
        idempotency_key: key.to_owned(),
        ..InitiateCheckoutRequest::default()
    }
}

pub(super) fn paid_with(key: &str, method: &str) -> InitiateCheckoutRequest {
    InitiateCheckoutRequest {
        payment_method: method.to_owned(),
        ..request(key)
    }
}

pub(super) fn usd(minor_units: i64) -> Money {
    Money {
        currency_code: "USD".to_owned(),
        minor_units,
    }
}
