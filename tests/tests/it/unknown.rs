//! A call without an answer may have been executed: the purchase still ends correctly, and the books agree.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use runtime::{
    Fault::{self, AnswerLost, NeverArrives, Slow, Twice},
    config::Span,
};
use serde_json::Value;
use system_tests::{
    home::Profile,
    shops::{Buyer, FaultPlan, Shop, until},
};

on_every_profile! {
    a_lost_late_or_repeated_call_does_not_change_a_purchase,
    a_refund_is_made_once_despite_faults_in_its_calls,
    a_slow_silent_or_unavailable_provider_charges_once,
}

/// A product of the catalogue without stock.
const SOLD_OUT: i64 = 66;
const BEYOND_DEADLINES: Fault = Slow(Duration::from_mins(1));
/// The faults of each call, and how often each happens.
const FAULTS: [(Fault, u32); 6] = [
    (NeverArrives, 1),
    (NeverArrives, 3),
    (AnswerLost, 1),
    (AnswerLost, 3),
    (BEYOND_DEADLINES, 1),
    (Twice, 1),
];

/// How a purchase ends, with or without faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Bought,
    Declined,
    OutOfStock,
    /// The purchase was charged and refunded, because its stock was sold to another customer.
    Refunded,
}

impl Outcome {
    const fn method(self) -> &'static str {
        match self {
            Self::Bought | Self::OutOfStock | Self::Refunded => "pm_card_ok",
            Self::Declined => "pm_card_declined",
        }
    }

    /// The calls of such a purchase, including those after a missing answer.
    const fn calls(self) -> &'static [&'static str] {
        match self {
            Self::Bought => &[
                "inventory.Reserve",
                "cart.Hold",
                "payment.Charge",
                "payment.GetPayment",
                "inventory.Confirm",
            ],
            Self::Declined => &[
                "inventory.Reserve",
                "cart.Hold",
                "payment.Charge",
                "payment.GetPayment",
                "cart.GiveBack",
                "inventory.Release",
            ],
            Self::OutOfStock => &["inventory.Reserve"],
            Self::Refunded => &[
                "inventory.Reserve",
                "cart.Hold",
                "payment.Charge",
                "payment.GetPayment",
                "inventory.Confirm",
                "payment.Refund",
                "cart.GiveBack",
                "inventory.Release",
            ],
        }
    }

    /// The status, the reason, the state of the reservation, and the provider's ledger.
    const fn books(self) -> (&'static str, &'static str, &'static str, ProviderLedger) {
        match self {
            Self::Bought => ("COMPLETED", "", "CONFIRMED", ProviderLedger::new(1, 0, 0)),
            Self::Declined => ("FAILED", "CARD_DECLINED", "RELEASED", ProviderLedger::new(0, 1, 0)),
            Self::OutOfStock => ("FAILED", "OUT_OF_STOCK", "REFUSED", ProviderLedger::new(0, 0, 0)),
            Self::Refunded => (
                "FAILED",
                "RESERVATION_EXPIRED",
                "RELEASED",
                ProviderLedger::new(1, 0, 1),
            ),
        }
    }
}

/// The provider's entries under one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ProviderLedger {
    charged: i64,
    declined: i64,
    refunded: i64,
}

impl ProviderLedger {
    const fn new(charged: i64, declined: i64, refunded: i64) -> Self {
        Self {
            charged,
            declined,
            refunded,
        }
    }
}

/// A purchase with faults in one of its calls.
#[derive(Debug, Clone)]
struct Case {
    name: String,
    expected: Outcome,
    call: &'static str,
    fault: Fault,
    times: u32,
}

impl Case {
    fn new(expected: Outcome, call: &'static str, fault: Fault, times: u32) -> Self {
        let name = format!("{expected:?}, {call} {fault:?} {times} times");
        Self {
            name,
            expected,
            call,
            fault,
            times,
        }
    }

    /// Every fault of every call of a purchase with this outcome.
    fn all(expected: Outcome) -> Vec<Self> {
        let mut cases = Vec::new();
        for call in expected.calls() {
            for (fault, times) in FAULTS {
                // After a lost answer the saga asks for the payment; it does not charge again.
                if (*call, fault, times) != ("payment.Charge", AnswerLost, 3) {
                    cases.push(Self::new(expected, call, fault, times));
                }
            }
        }
        cases
    }

    fn plan(&self, plan: &mut FaultPlan) {
        plan.add(&self.name, self.call, self.fault, self.times);
        if self.call == "payment.GetPayment" {
            // The saga asks for a payment only if the answer to the charge is missing.
            plan.add(&self.name, "payment.Charge", AnswerLost, u32::MAX);
        }
    }

    fn buyer(&self, shop: &Shop) -> Result<Buyer> {
        Ok(shop.buyer(&self.name)?.with_request_id(&self.name))
    }

    /// Checks the outcome of the purchase and the entries in the stores.
    async fn assert_ended(&self, shop: &Shop, plan: &FaultPlan, outcome: &Value) -> Result<()> {
        let name = &self.name;
        assert_eq!(plan.count(name, self.call), self.times, "{name}");
        let (status, reason, reservation, ledger) = self.expected.books();
        let found = (
            outcome["status"].as_str(),
            outcome["failure"]["reason"].as_str().unwrap_or_default(),
        );
        assert_eq!(found, (Some(status), reason), "{name}: {outcome}");
        let id = outcome["checkout_id"].as_str().context("no checkout_id")?;
        assert_eq!(provider_ledger(shop, id).await?, ledger, "{name}");
        let state = format!("SELECT state FROM reservations WHERE checkout_id = '{id}'");
        let state: Vec<(String,)> = shop.rows("inventory", state).await?;
        assert_eq!(state, [(reservation.to_owned(),)], "{name}");
        Ok(())
    }
}

async fn provider_ledger(shop: &Shop, checkout: &str) -> Result<ProviderLedger> {
    let sql = format!(
        "SELECT count(*) FILTER (WHERE outcome = 'SUCCEEDED'), count(*) FILTER (WHERE outcome = 'DECLINED'),
                (SELECT count(*) FROM refunds WHERE idempotency_key = '{checkout}')
         FROM charges WHERE idempotency_key = '{checkout}'"
    );
    let found: Vec<(i64, i64, i64)> = shop.rows("provider", sql).await?;
    let &(charged, declined, refunded) = found.first().context("no row of counts")?;
    Ok(ProviderLedger::new(charged, declined, refunded))
}

/// Concurrent purchases. With all at once, a slow machine would exceed the lease of a saga; then recovery would drive the
/// saga, and its calls would belong to no case.
const CONCURRENCY: usize = 12;

/// Makes all purchases, some of them concurrently.
async fn purchase_all(profile: Profile, cases: Vec<Case>) -> Result<()> {
    let mut plan = FaultPlan::default();
    for case in &cases {
        case.plan(&mut plan);
    }
    let plan = Arc::new(plan);
    let shop = Shop::with_faults(profile, plan.faults()).await?;
    shop.upsert_product(SOLD_OUT, "Thing", 700).await?;
    let purchases = cases.iter().map(async |case| {
        let product = if case.expected == Outcome::OutOfStock {
            SOLD_OUT
        } else {
            2
        };
        let outcome = case
            .buyer(&shop)?
            .buy_one(product, 1, "key", case.expected.method())
            .await?;
        case.assert_ended(&shop, &plan, &outcome).await
    });
    let purchases = stream::iter(purchases).buffer_unordered(CONCURRENCY);
    purchases.try_collect::<()>().await?;
    let sold = cases.iter().filter(|case| case.expected == Outcome::Bought).count();
    assert_eq!(shop.stock(2).await?, (500 - i64::try_from(sold)?, 0));
    shop.balance().await
}

async fn a_lost_late_or_repeated_call_does_not_change_a_purchase(profile: Profile) -> Result<()> {
    let outcomes = [Outcome::Bought, Outcome::Declined, Outcome::OutOfStock];
    purchase_all(profile, outcomes.into_iter().flat_map(Case::all).collect()).await
}

/// The call that is blocked until a rival has the stock.
fn blocked_call(case: &Case) -> &'static str {
    match case.call {
        "inventory.Confirm" => "payment.Charge",
        _ => "inventory.Confirm",
    }
}

/// Makes a purchase whose stock goes to a rival before the confirmation; it is charged before or after that.
async fn buy_after_losing_the_stock(shop: &Shop, plan: &FaultPlan, case: &Case, product: i64) -> Result<()> {
    shop.upsert_product(product, "Thing", 700).await?;
    shop.add_stock(product, 1).await?;
    let rival = async {
        let name = &case.name;
        until("the loser has reserved the stock", async || {
            Ok(plan.count(name, blocked_call(case)) > 0)
        })
        .await?;
        let rival = shop.buyer(&format!("rival for {product}"))?;
        rival.add(product, 1).await?;
        let attempts = std::sync::atomic::AtomicU32::new(0);
        until("the rival has the stock", async || {
            let key = attempts.fetch_add(1, std::sync::atomic::Ordering::SeqCst).to_string();
            let outcome = rival.buy(&key, "pm_card_ok").await?;
            Ok(outcome["status"] == "COMPLETED")
        })
        .await?;
        plan.clear(name, blocked_call(case));
        Ok(())
    };
    let loser = case.buyer(shop)?;
    let (outcome, ()) = tokio::try_join!(loser.buy_one(product, 1, "key", case.expected.method()), rival)?;
    case.assert_ended(shop, plan, &outcome).await?;
    assert_eq!(shop.stock(product).await?, (0, 0), "{}", case.name);
    Ok(())
}

async fn a_refund_is_made_once_despite_faults_in_its_calls(profile: Profile) -> Result<()> {
    let cases = Case::all(Outcome::Refunded);
    let mut plan = FaultPlan::default();
    for case in &cases {
        case.plan(&mut plan);
        plan.add(&case.name, blocked_call(case), NeverArrives, u32::MAX);
    }
    let plan = Arc::new(plan);
    let ttl =
        |settings: &mut cartwright::settings::Settings| settings.reservation_ttl = Span(Duration::from_millis(300));
    let shop = Shop::with(profile, ttl, plan.faults()).await?;
    let purchases = (100..)
        .zip(&cases)
        .map(|(product, case)| buy_after_losing_the_stock(&shop, &plan, case, product));
    let purchases = stream::iter(purchases).buffer_unordered(CONCURRENCY);
    purchases.try_collect::<()>().await?;
    shop.balance().await
}

async fn a_slow_silent_or_unavailable_provider_charges_once(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let methods = ["pm_card_charged_reply_lost", "pm_card_slow", "pm_card_unavailable"];
    try_join_all(methods.map(async |method| {
        let outcome = shop.buyer(method)?.buy_one(2, 2, "key", method).await?;
        assert_eq!(outcome["status"], "COMPLETED", "{method}: {outcome}");
        let id = outcome["checkout_id"].as_str().context("no checkout_id")?;
        assert_eq!(
            provider_ledger(&shop, id).await?,
            ProviderLedger::new(1, 0, 0),
            "{method}"
        );
        anyhow::Ok(())
    }))
    .await?;
    assert_eq!(shop.stock(2).await?, (494, 0));
    shop.balance().await
}
