//! Customers who buy all the time and do what `Retry-After` says, and a note of every answer that they got.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use cartwright::http::{Customer, Reply};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use http::{Method, StatusCode, header::RETRY_AFTER};
use serde_json::{Value, json};
use system_tests::process::ShopProcess;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

const CLIENTS: usize = 8;
/// How long a customer goes on asking for one thing.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long a slow machine may take for some purchases.
const LONG: Duration = Duration::from_mins(3);
/// How often a customer looks at a cart that is full.
const LOOKS: usize = 5;
const METHODS: [&str; 4] = ["pm_card_ok", "pm_card_ok", "pm_card_ok", "pm_card_declined"];

/// What a customer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    ReadCart,
    FillCart,
    Buy,
    ReadCheckout,
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Note {
    pub(super) wish: Wish,
    pub(super) at: Instant,
    pub(super) took: Duration,
    pub(super) status: StatusCode,
}

/// The customers of a shop. Each comes once, fills a cart, buys it, and looks at the purchase.
pub(super) struct Load<'a> {
    shop: &'a ShopProcess,
    notes: Mutex<Vec<Note>>,
    /// What each was told in the end.
    said: Mutex<BTreeMap<(usize, u64), Value>>,
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

fn order(purchase: u64) -> Value {
    json!({"idempotency_key": format!("purchase {purchase}"), "payment_method": method(purchase)})
}

/// How often each product of a cart is in it.
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
            notes: Mutex::default(),
            said: Mutex::default(),
            bought: watch::Sender::new(0),
            is_over: watch::Sender::new(false),
        }
    }

    /// Goes through `events` while customers buy. Afterwards each of them has finished the purchase that was begun.
    pub(super) async fn during<T>(&self, events: impl Future<Output = Result<T>>) -> Result<T> {
        let mut clients = Box::pin(try_join_all((0..CLIENTS).map(|client| self.buy_on(client))));
        let outcome = tokio::select! {
            ended = &mut clients => bail!("the customers ended before the test did: {ended:?}"),
            outcome = events => outcome?,
        };
        self.is_over.send_replace(true);
        timeout(PATIENCE, clients).await.context("a purchase has no end")??;
        Ok(outcome)
    }

    /// Waits for so many more purchases, and says how long that took.
    pub(super) async fn purchases(&self, count: u64) -> Result<Duration> {
        let (began, mut bought) = (Instant::now(), self.bought.subscribe());
        let enough = *bought.borrow() + count;
        let counted = timeout(LONG, bought.wait_for(|now| *now >= enough)).await;
        counted.with_context(|| format!("no {count} purchases within {LONG:?}"))??;
        Ok(began.elapsed())
    }

    /// All answers to what was asked since.
    pub(super) fn notes(&self, since: Instant) -> Vec<Note> {
        lock(&self.notes)
            .iter()
            .filter(|note| note.at >= since)
            .cloned()
            .collect()
    }

    /// All answers that did not give what was asked for.
    pub(super) fn failures(&self) -> Vec<Note> {
        let notes = lock(&self.notes);
        notes.iter().filter(|note| !note.status.is_success()).cloned().collect()
    }

    async fn buy_on(&self, client: usize) -> Result<()> {
        for purchase in 0.. {
            if *self.is_over.borrow() {
                break;
            }
            self.visit((client, purchase))
                .await
                .with_context(|| name((client, purchase)))?;
        }
        Ok(())
    }

    async fn visit(&self, who: (usize, u64)) -> Result<()> {
        let customer = self.shop.customer(&name(who))?;
        let product = 2 + i64::try_from(who.1)? % 4;
        let cart = self
            .ask(&customer, Wish::ReadCart, Method::GET, "/api/v1/cart", None)
            .await?;
        ensure!(lines(&cart).is_empty(), "a new customer has a cart: {cart}");
        let item = json!({"product_id": product, "quantity": 2});
        let filled = self
            .ask(
                &customer,
                Wish::FillCart,
                Method::POST,
                "/api/v1/cart/items",
                Some(&item),
            )
            .await?;
        // Whoever was told 503 does not know whether the pieces are in; asked again, they may be in twice.
        let quantity = match lines(&filled)[..] {
            [(of, quantity)] if of == product && quantity >= 2 => quantity,
            _ => bail!("not what was put in: {filled}"),
        };
        for _ in 0..LOOKS {
            let cart = self
                .ask(&customer, Wish::ReadCart, Method::GET, "/api/v1/cart", None)
                .await?;
            ensure!(lines(&cart) == [(product, quantity)], "filled {filled}, reads {cart}");
        }
        let checkout = self
            .ask(
                &customer,
                Wish::Buy,
                Method::POST,
                "/api/v1/checkout",
                Some(&order(who.1)),
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
        lock(&self.said).insert(who, checkout.clone());
        self.bought.send_modify(|count| *count += 1);
        let path = format!(
            "/api/v1/checkout/{}",
            checkout["checkout_id"].as_str().unwrap_or_default()
        );
        let read = self
            .ask(&customer, Wish::ReadCheckout, Method::GET, &path, None)
            .await?;
        ensure!(read["status"] == checkout["status"], "was {checkout}, is {read}");
        Ok(())
    }

    /// Asks until there is an answer, as a well-behaved client does.
    async fn ask(
        &self,
        customer: &Customer,
        wish: Wish,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let at = Instant::now();
            let reply = customer.call(method.clone(), path, body).await?;
            let (status, took) = (reply.status, at.elapsed());
            lock(&self.notes).push(Note { wish, at, took, status });
            if matches!(status, StatusCode::OK | StatusCode::CREATED) {
                return Ok(reply.json());
            }
            // Anything else must not be said, whatever is the matter.
            let pause = pause_of(&reply).with_context(|| format!("{wish:?} after {took:?}: {reply:?}"))?;
            ensure!(at < until, "{wish:?}: still {reply:?}");
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks everybody's question again: what was acknowledged is what is answered now.
    pub(super) async fn ask_all_again(&self) -> Result<()> {
        let said = lock(&self.said).clone();
        let checks = said.iter().map(|(who, before)| async move {
            let customer = self.shop.customer(&name(*who))?;
            let reply = customer.post("/api/v1/checkout", &order(who.1)).await?;
            let is_same = reply.status == StatusCode::CREATED && reply.json() == *before;
            ensure!(is_same, "{}: was {before}, is {reply:?}", name(*who));
            Ok(())
        });
        stream::iter(checks).buffer_unordered(CLIENTS).try_collect().await
    }

    /// The shop is at rest: every purchase was taken off its cart, and whatever failed left its cart alone.
    pub(super) async fn look_into_carts(&self) -> Result<()> {
        let said = lock(&self.said).clone();
        let checks = said.iter().map(|(who, checkout)| async move {
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

    /// How many of which answers there were.
    pub(super) fn summary(&self) -> String {
        let mut counts = BTreeMap::<(Wish, u16), usize>::new();
        for note in lock(&self.notes).iter() {
            *counts.entry((note.wish, note.status.as_u16())).or_default() += 1;
        }
        let count = |((wish, status), count): (&(Wish, u16), &usize)| format!("{wish:?} {status}: {count}");
        counts.iter().map(count).collect::<Vec<_>>().join(", ")
    }
}

/// After which time to ask again. None for an answer that does not say so.
pub(super) fn pause_of(reply: &Reply) -> Option<Duration> {
    let later = [StatusCode::SERVICE_UNAVAILABLE, StatusCode::ACCEPTED];
    let after = reply.headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    later.contains(&reply.status).then(|| Duration::from_secs(after))
}
