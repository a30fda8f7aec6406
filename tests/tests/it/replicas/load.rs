//! Customers who shop without a pause, through both gateways as a load balancer would use them.

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
use cartwright::http::Reply;
use futures::{StreamExt, TryStreamExt, future::join_all, stream};
use http::{Method, StatusCode};
use proto::cart::v1::{GetCartRequest, cart_service_client::CartServiceClient};
use serde_json::{Value, json};
use system_tests::{process::customer, shops::until};
use tokio::sync::watch;
use tonic::transport::Channel;

const CLIENTS: u64 = 8;
/// How long a few purchases may take.
const PATIENCE: Duration = Duration::from_mins(1);
const METHODS: [&str; 4] = ["pm_card_ok", "pm_card_ok", "pm_card_ok", "pm_card_declined"];

/// What may go wrong for a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tolerance {
    /// Nothing: whatever fails is a finding.
    Nothing,
    /// A process is gone all of a sudden: 503, 504, a lost connection. Whoever sees one goes away, or asks again with the key.
    Crashes,
}

/// A purchase that was asked for.
struct Purchase {
    customer: String,
    method: &'static str,
    /// What the customer was told at the end of it.
    answer: Option<Value>,
}

pub(super) struct Load {
    gateways: Vec<SocketAddr>,
    turn: AtomicUsize,
    tolerance: Tolerance,
    purchases: Mutex<Vec<Purchase>>,
    findings: Mutex<Vec<String>>,
    over: watch::Sender<bool>,
    /// Purchases that have ended.
    ended: watch::Sender<u64>,
    requests: AtomicU64,
    resent: AtomicU64,
    failed: AtomicU64,
    /// Carts that were seen only after a while as they are.
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

/// Why a customer went away early.
enum Departure {
    /// As the tolerance has it.
    Crash,
    Finding(anyhow::Error),
}

impl From<anyhow::Error> for Departure {
    fn from(error: anyhow::Error) -> Self {
        Self::Finding(error)
    }
}

type Visit<T> = Result<T, Departure>;

impl Load {
    pub(super) fn on(gateways: Vec<SocketAddr>, tolerance: Tolerance) -> Self {
        Self {
            gateways,
            turn: AtomicUsize::new(0),
            tolerance,
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
                if let Err(Departure::Finding(finding)) = self.visit(&name, client + round).await {
                    self.findings.lock().unwrap().push(format!("{name}: {finding:#}"));
                }
            }
        }))
        .await;
    }

    /// Lets the customers finish what they are about.
    pub(super) fn end(&self) {
        self.over.send_replace(true);
    }

    /// Waits until so many more purchases have ended.
    pub(super) async fn more(&self, count: u64) -> Result<()> {
        let mut ended = self.ended.subscribe();
        let enough = *ended.borrow() + count;
        let waited = tokio::time::timeout(PATIENCE, ended.wait_for(|now| *now >= enough)).await;
        waited.with_context(|| format!("no {count} purchases within {PATIENCE:?}"))??;
        Ok(())
    }

    pub(super) fn findings(&self) -> Vec<String> {
        self.findings.lock().unwrap().clone()
    }

    /// Sends a request to the gateway whose turn it is, and to the other one if the connection fails.
    async fn call(&self, name: &str, method: Method, path: &str, body: Option<&Value>) -> Visit<Reply> {
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
                    if crash && self.tolerance == Tolerance::Crashes {
                        return Err(Departure::Crash);
                    }
                    return Err(anyhow::anyhow!("{method} {path}: {reply:?}").into());
                }
                Ok(reply) => return Ok(reply),
                Err(error) => {
                    self.resent.fetch_add(1, Ordering::Relaxed);
                    last = error.context(format!("{method} {path} by {gateway}"));
                    // Whether it was carried out is not known, and there is no key in it: a second one may be one too many.
                    if self.tolerance == Tolerance::Crashes && method == Method::POST && path.ends_with("/items") {
                        break;
                    }
                }
            }
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
        match self.tolerance {
            Tolerance::Nothing => Err(last.into()),
            Tolerance::Crashes => Err(Departure::Crash),
        }
    }

    /// A customer who looks around, fills a cart, buys it, and reads the orders.
    async fn visit(&self, name: &str, number: u64) -> Visit<()> {
        let shown = self.call(name, Method::GET, "/api/v1/products", None).await?;
        is(&shown, StatusCode::OK)?;
        let product = 2 + number % 4;
        let item = format!("/api/v1/cart/items/{product}");
        let one = json!({"product_id": product, "quantity": 1});
        let added = self.call(name, Method::POST, "/api/v1/cart/items", Some(&one)).await?;
        holds(&added, StatusCode::CREATED, 1)?;
        let two = json!({"product_id": product, "quantity": 2});
        let added = self.call(name, Method::POST, "/api/v1/cart/items", Some(&two)).await?;
        holds(&added, StatusCode::OK, 3)?;
        let set = self
            .call(name, Method::PUT, &item, Some(&json!({"quantity": 2})))
            .await?;
        holds(&set, StatusCode::OK, 2)?;
        self.look_into_cart(name).await?;
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
        is(&orders, StatusCode::OK)?;
        Ok(())
    }

    /// The cart as it was made. One replica that does not reach the cache for a moment lets the others see it late, as the
    /// service's README has it: such carts are counted, and none stays so.
    async fn look_into_cart(&self, name: &str) -> Visit<()> {
        let mut looks = 0;
        let seen = until("the cart is seen as it is", async || {
            looks += 1;
            match self.call(name, Method::GET, "/api/v1/cart", None).await {
                Ok(cart) => Ok(holds(&cart, StatusCode::OK, 2).ok().map(Ok)),
                Err(departure) => Ok(Some(Err(departure))),
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

    /// Asks once to buy what is in the cart; none while the purchase is under way.
    async fn ask(&self, name: &str, method: &str) -> Visit<Option<Value>> {
        let body = json!({"idempotency_key": "the cart", "payment_method": method});
        let reply = self.call(name, Method::POST, "/api/v1/checkout", Some(&body)).await?;
        match reply.status {
            StatusCode::CREATED => Ok(Some(reply.json())),
            StatusCode::ACCEPTED => Ok(None),
            _ => Err(anyhow::anyhow!("checkout: {reply:?}").into()),
        }
    }

    /// Asks with the same key until the purchase has ended.
    async fn buy(&self, name: &str, method: &str) -> Visit<Value> {
        let mut finding = None;
        let answer = until("the purchase has ended", async || match self.ask(name, method).await {
            Ok(answer) => Ok(answer.map(Some)),
            Err(Departure::Crash) => Ok(None),
            Err(Departure::Finding(error)) => {
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

    /// Compares what the customers were told with what is there now that the shop is at rest.
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
            Err(Departure::Finding(finding)) => Err(finding),
            Err(Departure::Crash) => bail!("{path}: no answer"),
        };
        let now = match self.ask(name, purchase.method).await {
            Ok(now) => now,
            // Nothing is bought by the key: the first request never arrived, and what it would have bought is not there.
            Err(Departure::Finding(_)) if purchase.answer.is_none() => None,
            Err(Departure::Finding(finding)) => return Err(finding),
            Err(Departure::Crash) => bail!("{name}: no answer"),
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
            Ok((quantities == kept).then_some(()))
        });
        seen.await.with_context(|| name.clone())
    }
}

fn is(reply: &Reply, status: StatusCode) -> Result<()> {
    ensure!(reply.status == status, "not {status}: {reply:?}");
    Ok(())
}

/// Whether the answer is a cart with so many pieces of one product.
fn holds(reply: &Reply, status: StatusCode, quantity: i64) -> Result<()> {
    is(reply, status)?;
    let cart = reply.json();
    let lines = cart["items"].as_array().map(Vec::len);
    ensure!(
        lines == Some(1) && cart["items"][0]["quantity"] == quantity,
        "not {quantity} in the cart: {cart}"
    );
    Ok(())
}

/// The end that this payment method leads to.
fn expected(answer: Value, method: &str) -> Result<Value> {
    let good = match method {
        "pm_card_declined" => answer["status"] == "FAILED" && answer["failure"]["reason"] == "CARD_DECLINED",
        _ => answer["status"] == "COMPLETED",
    };
    ensure!(good, "{method}: {answer}");
    Ok(answer)
}
