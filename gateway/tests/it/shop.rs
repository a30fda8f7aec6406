//! A router over fake services, and a client for tests.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use gateway::{
    Config, ForwardedFor, Peers, Secret,
    token::{self, ExpectedClaims},
};
use http_body_util::BodyExt;
use proto::{
    cart::v1::cart_service_server::CartServiceServer, checkout::v1::checkout_service_server::CheckoutServiceServer,
    orders::v1::orders_service_server::OrdersServiceServer, product::v1::product_service_server::ProductServiceServer,
};
use runtime::{
    Clock, Health, Probe, Runtime, Service,
    channel::{Peer, Policy},
    http::{self, HttpTimeouts},
    serve::{Capacity, Running},
};
use serde_json::Value;
use testing::test_policy;
use tokio::net::TcpListener;
use tower::ServiceExt;

use crate::fakes::Fakes;

pub(crate) const USER: &str = "customer-7";
const GRPC_CONTRACT: testing::GrpcContract = (proto::FILE_DESCRIPTOR_SET, proto::status::add_status_details);
/// A timeout that no test reaches.
const LONG: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) deadline: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) checkout_timeout: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) max_per_caller: usize,
    pub(crate) forwarded_for: ForwardedFor,
    pub(crate) expected_claims: ExpectedClaims,
    pub(crate) probes: Vec<Probe>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            deadline: LONG,
            request_timeout: LONG,
            checkout_timeout: Duration::from_secs(5),
            max_in_flight: 64,
            max_per_caller: 64,
            forwarded_for: ForwardedFor::Ignored,
            expected_claims: ExpectedClaims::default(),
            probes: Vec::new(),
        }
    }
}

pub(crate) struct Shop {
    pub(crate) router: Router,
    pub(crate) fakes: Fakes,
    peers: Vec<Running>,
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Shop {
    /// Serves the router on a free port.
    pub(crate) async fn listen(&self, capacity: Capacity, timeouts: HttpTimeouts) -> http::Running {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = http::Server {
            name: "gateway",
            router: self.router.clone(),
            timeouts,
            capacity,
            render_refusal: gateway::problem_of,
            runtime: Runtime::system(),
        };
        http::serve(server, listener).unwrap()
    }

    pub(crate) async fn open() -> Self {
        Self::with(Setup::default()).await
    }

    pub(crate) async fn with(setup: Setup) -> Self {
        let fakes = Fakes::new();
        let runtime = Runtime::system();
        let tasks = || runtime.with_own_tasks().tasks;
        let policy = Policy {
            deadline: setup.deadline,
            ..test_policy()
        };
        let mut peers = Vec::new();
        let mut channels = Vec::new();
        for service in [
            Service::new("product", ProductServiceServer::new(fakes.clone()), tasks()),
            Service::new("cart", CartServiceServer::new(fakes.clone()), tasks()),
            Service::new("checkout", CheckoutServiceServer::new(fakes.clone()), tasks()),
            Service::new("orders", OrdersServiceServer::new(fakes.clone()), tasks()),
        ] {
            let (channel, peer) = testing::serve(service, GRPC_CONTRACT, policy.clone(), &runtime).await;
            channels.push(channel);
            peers.push(peer);
        }
        let [product, cart, checkout, orders] = <[Peer; 4]>::try_from(channels).unwrap();
        let channels = Peers {
            product,
            cart,
            checkout,
            orders,
        };
        Self {
            router: router(channels, setup, &runtime),
            fakes,
            peers,
        }
    }

    /// A shop whose services cannot be reached.
    pub(crate) fn without_services() -> Self {
        let unreachable = || Peer::in_process(test_policy()).0;
        let channels = Peers {
            product: unreachable(),
            cart: unreachable(),
            checkout: unreachable(),
            orders: unreachable(),
        };
        let router = router(channels, Setup::default(), &Runtime::system());
        Self {
            router,
            fakes: Fakes::new(),
            peers: Vec::new(),
        }
    }

    /// Stops the services.
    pub(crate) async fn stop_peers(&mut self) {
        for peer in self.peers.drain(..) {
            peer.stop(Duration::from_secs(5)).await;
        }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        let reply = Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        };
        assert!(
            reply.header("x-request-id").is_some(),
            "{} {:?}",
            reply.status,
            reply.headers
        );
        reply
    }

    /// Sends a GET as the signed-in customer.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(signed_in(Method::GET, path, "")).await
    }

    /// Sends JSON as the signed-in customer.
    pub(crate) async fn json(&self, method: Method, path: &str, json: &str) -> Reply {
        self.send(signed_in(method, path, json.to_owned())).await
    }
}

fn router(peers: Peers, setup: Setup, runtime: &Runtime) -> Router {
    let config = Config {
        keys: secret().into(),
        expected_claims: setup.expected_claims,
        checkout_timeout: setup.checkout_timeout,
        request_timeout: setup.request_timeout,
        max_in_flight: setup.max_in_flight,
        max_per_caller: setup.max_per_caller,
        forwarded_for: setup.forwarded_for,
    };
    gateway::router(config, peers, Health::new(setup.probes), runtime)
}

pub(crate) fn secret() -> Secret {
    Secret::new(*b"0123456789abcdef0123456789abcdef").unwrap()
}

pub(crate) fn bearer() -> String {
    bearer_of(USER)
}

pub(crate) fn bearer_of(user: &str) -> String {
    let token = token::sign(&secret(), user, None, Duration::from_mins(1), Clock::system().now()).unwrap();
    format!("Bearer {token}")
}

pub(crate) fn signed_in(method: Method, path: &str, body: impl Into<Body>) -> Request<Body> {
    let mut request = anonymous(method, path, body);
    request
        .headers_mut()
        .insert(header::AUTHORIZATION, bearer().parse().unwrap());
    request
        .headers_mut()
        .insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    request
}

pub(crate) fn anonymous(method: Method, path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder().method(method).uri(path).body(body.into()).unwrap()
}

/// Adds a header.
pub(crate) fn and(mut request: Request<Body>, name: &'static str, value: impl AsRef<[u8]>) -> Request<Body> {
    let value = header::HeaderValue::from_bytes(value.as_ref()).unwrap();
    request.headers_mut().append(name, value);
    request
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.body))
    }

    /// Asserts that this is a complete problem with these values, and returns it.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str, reason: &str) -> Value {
        let problem = self.value();
        assert_eq!(
            (self.status.as_u16(), &problem["reason"]),
            (status, &Value::from(reason)),
            "{}",
            self.body
        );
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(problem["code"], code);
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("/docs/errors#{reason}"));
        assert_eq!(problem["error"], problem["detail"]);
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        assert!(problem["title"].is_string() && problem["instance"].as_str().unwrap().starts_with('/'));
        problem
    }

    /// The fields in the problem's `errors`.
    pub(crate) fn error_fields(&self) -> Vec<String> {
        let problem = self.value();
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|e| e["field"].as_str().unwrap().to_owned()).collect()
    }
}
