//! Customers who shop without a pause, over both gateways like behind a load balancer.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use cartwright::http::HttpResponse;
use futures::{StreamExt, TryStreamExt, future::join_all, stream};
use http::{Method, StatusCode};
use proto::cart::v1::{GetCartRequest, cart_service_client::CartServiceClient};
use serde_json::{Value, json};
use system_tests::{
    process::customer,
    shops::{until, wait_for},
};
use tokio::sync::watch;
use tonic::transport::Channel;

const CLIENTS: u64 = 8;
const TIMEOUT: Duration = Duration::from_mins(1);
const METHODS: [&str; 4] = ["pm_card_ok", "pm_card_ok", "pm_card_ok", "pm_card_declined"];

/// The failures that are not findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AllowedFailures {
    None,
    /// A killed process: 503, 504, a lost connection. The customer leaves, or retries with the key.
    Crashes,
}

/// A requested purchase.
struct Purchase {
    customer: String,
    method: &'static str,
    /// The final response.
    answer: Option<Value>,
}

pub(super) struct Load {
    gateways: Vec<SocketAddr>,
    turn: AtomicUsize,
    allowed: AllowedFailures,
    purchases: Mutex<Vec<Purchase>>,
    findings: Mutex<Vec<String>>,
    over: watch::Sender<bool>,
    /// The number of ended purchases.
    ended: watch::Sender<u64>,
    requests: AtomicU64,
    resent: AtomicU64,
    failed: AtomicU64,
    /// The number of reads that showed an old cart first.
    late: AtomicU64,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        write!(
            f,
            "{} purchases, {} requests, {} of them sent to the other gateway, {} failed, {} carts seen late",
            *self.ended.borrow(),
            count(&self.requests),
            count(&self.resent),
            count(&self.failed),
            count(&self.late)
        )
    }
}

/// Why a customer stopped early.
enum Aborted {
    /// A failure that is allowed.
    Crash,
    Finding(anyhow::Error),
}

impl From<anyhow::Error> for Aborted {
    fn from(error: anyhow::Error) -> Self {
        Self::Finding(error)
    }
}

type StepResult<T> = Result<T, Aborted>;

impl Load {
    pub(super) fn on(gateways: Vec<SocketAddr>, allowed: AllowedFailures) -> Self {
        Self {
            gateways,
            turn: AtomicUsize::new(0),
            allowed,
            purchases: Mutex::default(),
            findings: Mutex::default(),
            over: watch::Sender::new(false),
            ended: watch::Sender::new(0),
            resent: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            late: AtomicU64::new(0),
        }
    }

    /// Shops until [`Load::end`].
    pub(super) async fn run(&self) {
        join_all((0..CLIENTS).map(|client| async move {
            for round in 0.. {
                if *self.over.borrow() {
                    return;
                }
                let name = format!("customer-{client}-{round}");
                if let Err(Aborted::Finding(finding)) = self.run_customer(&name, client + round).await {
                    self.findings.lock().unwrap().push(format!("{name}: {finding:#}"));
                }
            }
        }))
        .await;
    }

    /// Lets the customers finish their current round.
    pub(super) fn end(&self) {
        self.over.send_replace(true);
    }

    /// Waits until `count` more purchases have ended.
    pub(super) async fn wait_for_purchases(&self, count: u64) -> Result<()> {
        let mut ended = self.ended.subscribe();
        let enough = *ended.borrow() + count;
        let waited = tokio::time::timeout(TIMEOUT, ended.wait_for(|now| *now >= enough)).await;
        waited.with_context(|| format!("no {count} purchases within {TIMEOUT:?}"))??;
        Ok(())
    }

    pub(super) fn findings(&self) -> Vec<String> {
        self.findings.lock().unwrap().clone()
    }

    /// Sends a request to the next gateway in turn, and to the other one if the connection fails.
    async fn call(&self, name: &str, method: Method, path: &str, body: Option<&Value>) -> StepResult<HttpResponse> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        let mut last = anyhow::anyhow!("there is no gateway");
        for step in 0..self.gateways.len() {
            let gateway = self.gateways[(turn + step) % self.gateways.len()];
            match customer(gateway, name)?.call(method.clone(), path, body).await {
                Ok(reply) if reply.status.is_server_error() => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    let crash = matches!(
                        reply.status,
                        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
                    );
                    if crash && self.allowed == AllowedFailures::Crashes {
                        return Err(Aborted::Crash);
                    }
                    return Err(anyhow::anyhow!("{method} {path}: {reply:?}").into());
                }
                Ok(reply) => return Ok(reply),
                Err(error) => {
                    self.resent.fetch_add(1, Ordering::Relaxed);
                    last = error.context(format!("{method} {path} by {gateway}"));
                    // The request may have been executed and has no key: a retry could add the pieces twice.
                    if self.allowed == AllowedFailures::Crashes && method == Method::POST && path.ends_with("/items") {
                        break;
                    }
                }
            }
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        match self.allowed {
            AllowedFailures::None => Err(last.into()),
            AllowedFailures::Crashes => Err(Aborted::Crash),
        }
    }

    /// A customer reads the catalogue, fills a cart, buys it, and reads the orders.
    async fn run_customer(&self, name: &str, number: u64) -> StepResult<()> {
        let shown = self.call(name, Method::GET, "/api/v1/products", None).await?;
        check_status(&shown, StatusCode::OK)?;
        let product = 2 + number % 4;
        let item = format!("/api/v1/cart/items/{product}");
        let one = json!({"product_id": product, "quantity": 1});
        let added = self.call(name, Method::POST, "/api/v1/cart/items", Some(&one)).await?;
        check_line(&added, StatusCode::CREATED, 1)?;
        let two = json!({"product_id": product, "quantity": 2});
        let added = self.call(name, Method::POST, "/api/v1/cart/items", Some(&two)).await?;
        check_line(&added, StatusCode::OK, 3)?;
        let set = self
            .call(name, Method::PUT, &item, Some(&json!({"quantity": 2})))
            .await?;
        check_line(&set, StatusCode::OK, 2)?;
        self.check_cart(name).await?;
        let method = METHODS[usize::try_from(number).unwrap_or_default() % METHODS.len()];
        let place = self.begin(name, method);
        let answer = self.buy(name, method).await?;
        let again = self.ask(name, method).await?;
        if let Some(again) = &again
            && *again != answer
        {
            return Err(anyhow::anyhow!("bought {answer}, and then {again}").into());
        }
        self.purchases.lock().unwrap()[place].answer = Some(answer);
        self.ended.send_modify(|ended| *ended += 1);
        let orders = self.call(name, Method::GET, "/api/v1/orders", None).await?;
        check_status(&orders, StatusCode::OK)?;
        Ok(())
    }

    /// Waits until the cart is current. While one replica does not reach the cache, the others may show an old cart (see
    /// `cart/README.md`). Such reads are counted.
    async fn check_cart(&self, name: &str) -> StepResult<()> {
        let mut looks = 0;
        let seen = wait_for("the cart is seen as it is", async || {
            looks += 1;
            match self.call(name, Method::GET, "/api/v1/cart", None).await {
                Ok(cart) => Ok(check_line(&cart, StatusCode::OK, 2).ok().map(Ok)),
                Err(aborted) => Ok(Some(Err(aborted))),
            }
        });
        let seen = seen.await?;
        self.late.fetch_add(u64::from(looks > 1), Ordering::Relaxed);
        seen
    }

    fn begin(&self, name: &str, method: &'static str) -> usize {
        let mut purchases = self.purchases.lock().unwrap();
        purchases.push(Purchase {
            customer: name.to_owned(),
            method,
            answer: None,
        });
        purchases.len() - 1
    }

    /// Asks once to buy what is in the cart; `None` while the saga runs.
    async fn ask(&self, name: &str, method: &str) -> StepResult<Option<Value>> {
        let body = json!({"idempotency_key": "the cart", "payment_method": method});
        let reply = self.call(name, Method::POST, "/api/v1/checkout", Some(&body)).await?;
        match reply.status {
            StatusCode::CREATED => Ok(Some(reply.json())),
            StatusCode::ACCEPTED => Ok(None),
            _ => Err(anyhow::anyhow!("checkout: {reply:?}").into()),
        }
    }

    /// Retries with the same key until the purchase has ended.
    async fn buy(&self, name: &str, method: &str) -> StepResult<Value> {
        let mut finding = None;
        let answer = wait_for("the purchase has ended", async || match self.ask(name, method).await {
            Ok(answer) => Ok(answer.map(Some)),
            Err(Aborted::Crash) => Ok(None),
            Err(Aborted::Finding(error)) => {
                finding = Some(error);
                Ok(Some(None))
            }
        })
        .await?;
        match (answer, finding) {
            (Some(answer), _) => Ok(expected(answer, method)?),
            (None, finding) => Err(finding.unwrap_or_else(|| anyhow::anyhow!("no answer")).into()),
        }
    }

    /// Compares the responses that the customers got with the idle shop.
    pub(super) async fn check(&self, carts: SocketAddr) -> Result<()> {
        let carts = CartServiceClient::connect(format!("http://{carts}")).await?;
        let purchases = std::mem::take(&mut *self.purchases.lock().unwrap());
        let checks = purchases.iter().map(|purchase| self.check_one(purchase, carts.clone()));
        stream::iter(checks)
            .buffer_unordered(8)
            .try_collect::<Vec<()>>()
            .await?;
        Ok(())
    }

    async fn check_one(&self, purchase: &Purchase, mut carts: CartServiceClient<Channel>) -> Result<()> {
        let name = &purchase.customer;
        let read = async |path| match self.call(name, Method::GET, path, None).await {
            Ok(reply) if reply.status == StatusCode::OK => Ok(reply.json()),
            Ok(reply) => bail!("{path}: {reply:?}"),
            Err(Aborted::Finding(finding)) => Err(finding),
            Err(Aborted::Crash) => bail!("{path}: no answer"),
        };
        let now = match self.ask(name, purchase.method).await {
            Ok(now) => now,
            // The first request never arrived, and the cart of this key is empty.
            Err(Aborted::Finding(_)) if purchase.answer.is_none() => None,
            Err(Aborted::Finding(finding)) => return Err(finding),
            Err(Aborted::Crash) => bail!("{name}: no answer"),
        };
        let Some(answer) = &purchase.answer else { return Ok(()) };
        ensure!(now.as_ref() == Some(answer), "{name}: was {answer}, is {now:?}");
        let orders = read("/api/v1/orders").await?;
        let orders: Vec<_> = orders
            .as_array()
            .into_iter()
            .flatten()
            .map(|order| &order["id"])
            .collect();
        let (ordered, kept) = match purchase.method {
            "pm_card_declined" => (vec![], vec![2]),
            _ => (vec![&answer["order_id"]], vec![]),
        };
        ensure!(orders == ordered, "{name}: {orders:?}, {answer}");
        let fresh = GetCartRequest {
            user_id: name.clone(),
            fresh: true,
        };
        let cart = carts.get_cart(fresh).await?.into_inner().cart.unwrap_or_default();
        let left: Vec<_> = cart.items.iter().map(|item| item.quantity).collect();
        ensure!(left == kept, "{name}: {left:?} in the cart, not {kept:?}");
        let seen = until("the cart is seen as it is", async || {
            let cart = read("/api/v1/cart").await?;
            let items = cart["items"].as_array().into_iter().flatten();
            let quantities: Vec<_> = items.map(|item| item["quantity"].clone()).collect();
            Ok(quantities == kept)
        });
        seen.await.with_context(|| name.clone())
    }
}

fn check_status(reply: &HttpResponse, status: StatusCode) -> Result<()> {
    ensure!(reply.status == status, "not {status}: {reply:?}");
    Ok(())
}

/// Checks that the reply is a cart with `quantity` pieces of one product.
fn check_line(reply: &HttpResponse, status: StatusCode, quantity: i64) -> Result<()> {
    check_status(reply, status)?;
    let cart = reply.json();
    let lines = cart["items"].as_array().map(Vec::len);
    ensure!(
        lines == Some(1) && cart["items"][0]["quantity"] == quantity,
        "not {quantity} in the cart: {cart}"
    );
    Ok(())
}

/// Checks the outcome that this payment method leads to.
fn expected(answer: Value, method: &str) -> Result<Value> {
    let good = match method {
        "pm_card_declined" => answer["status"] == "FAILED" && answer["failure"]["reason"] == "CARD_DECLINED",
        _ => answer["status"] == "COMPLETED",
    };
    ensure!(good, "{method}: {answer}");
    Ok(answer)
}
