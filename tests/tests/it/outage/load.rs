//! Customers who buy all the time and obey `Retry-After`, and a record of every response.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use cartwright::http::{Customer, HttpResponse};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use http::{Method, StatusCode, header::RETRY_AFTER};
use serde_json::{Value, json};
use system_tests::process::ShopProcess;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

const CLIENTS: usize = 8;
/// How long a customer retries a request.
const TIMEOUT: Duration = Duration::from_mins(1);
/// How long a slow machine may take for a batch of purchases.
const PURCHASES_TIMEOUT: Duration = Duration::from_mins(3);
/// How often a customer reads the filled cart.
const CART_READS: usize = 5;
const METHODS: [&str; 4] = ["pm_card_ok", "pm_card_ok", "pm_card_ok", "pm_card_declined"];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    ReadCart,
    FillCart,
    Buy,
    ReadCheckout,
}

#[derive(Debug, Clone)]
pub(super) struct Response {
    pub(super) operation: Operation,
    pub(super) at: Instant,
    pub(super) took: Duration,
    pub(super) status: StatusCode,
}

/// The customers of a shop. Each fills a cart once, buys it, and reads the checkout.
pub(super) struct Load<'a> {
    shop: &'a ShopProcess,
    responses: Mutex<Vec<Response>>,
    /// The final checkout of each customer.
    outcomes: Mutex<BTreeMap<(usize, u64), Value>>,
    bought: watch::Sender<u64>,
    is_over: watch::Sender<bool>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn name((client, purchase): (usize, u64)) -> String {
    format!("client-{client}-{purchase}")
}

fn method(purchase: u64) -> &'static str {
    METHODS[usize::try_from(purchase).unwrap_or_default() % METHODS.len()]
}

fn checkout_body(purchase: u64) -> Value {
    json!({"idempotency_key": format!("purchase {purchase}"), "payment_method": method(purchase)})
}

/// The products and quantities of a cart.
fn lines(cart: &Value) -> Vec<(i64, i64)> {
    let lines = cart["items"].as_array().into_iter().flatten();
    lines
        .filter_map(|line| Some((line["product_id"].as_i64()?, line["quantity"].as_i64()?)))
        .collect()
}

impl<'a> Load<'a> {
    pub(super) fn on(shop: &'a ShopProcess) -> Self {
        Self {
            shop,
            responses: Mutex::default(),
            outcomes: Mutex::default(),
            bought: watch::Sender::new(0),
            is_over: watch::Sender::new(false),
        }
    }

    /// Runs `events` while customers buy. When it returns, every customer has finished the purchase that was begun.
    pub(super) async fn during<T>(&self, events: impl Future<Output = Result<T>>) -> Result<T> {
        let mut clients = Box::pin(try_join_all((0..CLIENTS).map(|client| self.run_client(client))));
        let outcome = tokio::select! {
            ended = &mut clients => bail!("the customers ended before the test did: {ended:?}"),
            outcome = events => outcome?,
        };
        self.is_over.send_replace(true);
        timeout(TIMEOUT, clients).await.context("a purchase has no end")??;
        Ok(outcome)
    }

    /// Waits for `count` more purchases; returns how long they took.
    pub(super) async fn purchases(&self, count: u64) -> Result<Duration> {
        let (began, mut bought) = (Instant::now(), self.bought.subscribe());
        let enough = *bought.borrow() + count;
        let counted = timeout(PURCHASES_TIMEOUT, bought.wait_for(|now| *now >= enough)).await;
        counted.with_context(|| format!("no {count} purchases within {PURCHASES_TIMEOUT:?}"))??;
        Ok(began.elapsed())
    }

    /// All responses to requests since then.
    pub(super) fn responses_since(&self, since: Instant) -> Vec<Response> {
        lock(&self.responses)
            .iter()
            .filter(|response| response.at >= since)
            .cloned()
            .collect()
    }

    /// All responses without a 2xx status.
    pub(super) fn failures(&self) -> Vec<Response> {
        let responses = lock(&self.responses);
        responses
            .iter()
            .filter(|response| !response.status.is_success())
            .cloned()
            .collect()
    }

    async fn run_client(&self, client: usize) -> Result<()> {
        for purchase in 0.. {
            if *self.is_over.borrow() {
                break;
            }
            self.run_customer((client, purchase))
                .await
                .with_context(|| name((client, purchase)))?;
        }
        Ok(())
    }

    async fn run_customer(&self, who: (usize, u64)) -> Result<()> {
        let customer = self.shop.customer(&name(who))?;
        let product = 2 + i64::try_from(who.1)? % 4;
        let cart = self
            .ask(&customer, Operation::ReadCart, Method::GET, "/api/v1/cart", None)
            .await?;
        ensure!(lines(&cart).is_empty(), "a new customer has a cart: {cart}");
        let item = json!({"product_id": product, "quantity": 2});
        let filled = self
            .ask(
                &customer,
                Operation::FillCart,
                Method::POST,
                "/api/v1/cart/items",
                Some(&item),
            )
            .await?;
        // After a 503 the customer does not know whether the pieces were added; the retry may add them twice.
        let quantity = match lines(&filled)[..] {
            [(of, quantity)] if of == product && quantity >= 2 => quantity,
            _ => bail!("not what was put in: {filled}"),
        };
        for _ in 0..CART_READS {
            let cart = self
                .ask(&customer, Operation::ReadCart, Method::GET, "/api/v1/cart", None)
                .await?;
            ensure!(lines(&cart) == [(product, quantity)], "filled {filled}, reads {cart}");
        }
        let checkout = self
            .ask(
                &customer,
                Operation::Buy,
                Method::POST,
                "/api/v1/checkout",
                Some(&checkout_body(who.1)),
            )
            .await?;
        let bought = match method(who.1) {
            "pm_card_declined" => checkout["failure"]["reason"] == "CARD_DECLINED",
            _ => checkout["status"] == "COMPLETED",
        };
        ensure!(
            bought && lines(&checkout) == [(product, quantity)],
            "filled {filled}, bought {checkout}"
        );
        lock(&self.outcomes).insert(who, checkout.clone());
        self.bought.send_modify(|count| *count += 1);
        let path = format!(
            "/api/v1/checkout/{}",
            checkout["checkout_id"].as_str().unwrap_or_default()
        );
        let read = self
            .ask(&customer, Operation::ReadCheckout, Method::GET, &path, None)
            .await?;
        ensure!(read["status"] == checkout["status"], "was {checkout}, is {read}");
        Ok(())
    }

    /// Retries until the request succeeds, as a well-behaved client does.
    async fn ask(
        &self,
        customer: &Customer,
        operation: Operation,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let until = Instant::now() + TIMEOUT;
        loop {
            let at = Instant::now();
            let reply = customer.call(method.clone(), path, body).await?;
            let (status, took) = (reply.status, at.elapsed());
            lock(&self.responses).push(Response {
                operation,
                at,
                took,
                status,
            });
            if matches!(status, StatusCode::OK | StatusCode::CREATED) {
                return Ok(reply.json());
            }
            // Any other response is an error of the shop.
            let pause = retry_after(&reply).with_context(|| format!("{operation:?} after {took:?}: {reply:?}"))?;
            ensure!(at < until, "{operation:?}: still {reply:?}");
            tokio::time::sleep(pause).await;
        }
    }

    /// Repeats every checkout: the response must be the acknowledged one.
    pub(super) async fn check_replays(&self) -> Result<()> {
        let outcomes = lock(&self.outcomes).clone();
        let checks = outcomes.iter().map(|(who, before)| async move {
            let customer = self.shop.customer(&name(*who))?;
            let reply = customer.post("/api/v1/checkout", &checkout_body(who.1)).await?;
            let is_same = reply.status == StatusCode::CREATED && reply.json() == *before;
            ensure!(is_same, "{}: was {before}, is {reply:?}", name(*who));
            Ok(())
        });
        stream::iter(checks).buffer_unordered(CLIENTS).try_collect().await
    }

    /// Checks the carts of an idle shop: a completed purchase left its cart, a failed one left the cart unchanged.
    pub(super) async fn check_carts(&self) -> Result<()> {
        let outcomes = lock(&self.outcomes).clone();
        let checks = outcomes.iter().map(|(who, checkout)| async move {
            let cart = self.shop.customer(&name(*who))?.get("/api/v1/cart").await?;
            let left = lines(&cart.json());
            let expected = if checkout["status"] == "COMPLETED" {
                Vec::new()
            } else {
                lines(checkout)
            };
            ensure!(left == expected, "{checkout} left {cart:?}");
            Ok(())
        });
        stream::iter(checks).buffer_unordered(CLIENTS).try_collect().await
    }

    /// The number of responses by operation and status.
    pub(super) fn summary(&self) -> String {
        let mut counts = BTreeMap::<(Operation, u16), usize>::new();
        for response in lock(&self.responses).iter() {
            *counts
                .entry((response.operation, response.status.as_u16()))
                .or_default() += 1;
        }
        let count =
            |((operation, status), count): (&(Operation, u16), &usize)| format!("{operation:?} {status}: {count}");
        counts.iter().map(count).collect::<Vec<_>>().join(", ")
    }
}

/// The time of `Retry-After`; `None` for a response that asks for no retry.
pub(super) fn retry_after(reply: &HttpResponse) -> Option<Duration> {
    let later = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::ACCEPTED];
    let after = reply.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    later.contains(&reply.status).then(|| Duration::from_secs(after))
}
