//! A call whose answer is missing may have been executed: the purchase ends all the same, as the books say.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream};
use proto::{inventory::v1::AddStockRequest, money::v1::Money, product::v1::UpsertProductRequest};
use runtime::{
    Fault::{self, AnswerLost, NeverArrives, Slow, Twice},
    config::Span,
};
use serde_json::Value;
use system_tests::{
    home::Profile,
    shops::{Buyer, Plan, Shop, until},
};

on_every_profile! {
    a_lost_late_or_repeated_call_does_not_change_a_purchase,
    a_refund_is_made_once_despite_faults_in_its_calls,
    a_slow_silent_or_unavailable_provider_charges_once,
}

/// A product that is in the catalogue, and of which there is nothing.
const SOLD_OUT: i64 = 66;
/// Beyond every deadline.
const FOR_EVER: Fault = Slow(Duration::from_mins(1));
/// What happens to each call, and how often.
const FAULTS: [(Fault, u32); 6] = [
    (NeverArrives, 1),
    (NeverArrives, 3),
    (AnswerLost, 1),
    (AnswerLost, 3),
    (FOR_EVER, 1),
    (Twice, 1),
];

/// How a purchase ends when nothing goes wrong, and so also when something does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Bought,
    Declined,
    OutOfStock,
    /// It was charged and given back, because its stock was sold to somebody else.
    Refunded,
}

impl Ending {
    const fn method(self) -> &'static str {
        match self {
            Self::Bought | Self::OutOfStock | Self::Refunded => "pm_card_ok",
            Self::Declined => "pm_card_declined",
        }
    }

    /// The calls that such a purchase makes, or makes when an answer is missing.
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

    /// Status, reason, state of the reservation, and the provider's charges, how they went, and refunds.
    const fn books(self) -> (&'static str, &'static str, &'static str, Ledger) {
        match self {
            Self::Bought => (
                "COMPLETED",
                "",
                "CONFIRMED",
                Ledger {
                    charged: 1,
                    declined: 0,
                    refunded: 0,
                },
            ),
            Self::Declined => (
                "FAILED",
                "CARD_DECLINED",
                "RELEASED",
                Ledger {
                    charged: 0,
                    declined: 1,
                    refunded: 0,
                },
            ),
            Self::OutOfStock => (
                "FAILED",
                "OUT_OF_STOCK",
                "REFUSED",
                Ledger {
                    charged: 0,
                    declined: 0,
                    refunded: 0,
                },
            ),
            Self::Refunded => (
                "FAILED",
                "RESERVATION_EXPIRED",
                "RELEASED",
                Ledger {
                    charged: 1,
                    declined: 0,
                    refunded: 1,
                },
            ),
        }
    }
}

/// What the provider has booked under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ledger {
    charged: i64,
    declined: i64,
    refunded: i64,
}

/// A purchase with a fault in one of its calls.
#[derive(Debug, Clone)]
struct Case {
    name: String,
    ending: Ending,
    call: &'static str,
    fault: Fault,
    times: u32,
}

impl Case {
    fn new(ending: Ending, call: &'static str, fault: Fault, times: u32) -> Self {
        let name = format!("{ending:?}, {call} {fault:?} {times} times");
        Self {
            name,
            ending,
            call,
            fault,
            times,
        }
    }

    /// Every fault of every call of a purchase that ends so.
    fn all(ending: Ending) -> Vec<Self> {
        let mut cases = Vec::new();
        for call in ending.calls() {
            for (fault, times) in FAULTS {
                // A charge whose answer is lost is asked after, and not made again.
                if (*call, fault, times) != ("payment.Charge", AnswerLost, 3) {
                    cases.push(Self::new(ending, call, fault, times));
                }
            }
        }
        cases
    }

    fn plan(&self, plan: &mut Plan) {
        plan.add(&self.name, self.call, self.fault, self.times);
        if self.call == "payment.GetPayment" {
            // Nobody asks for a payment whose charge was answered.
            plan.add(&self.name, "payment.Charge", AnswerLost, u32::MAX);
        }
    }

    fn buyer(&self, shop: &Shop) -> Result<Buyer> {
        Ok(shop.buyer(&self.name)?.known_as(&self.name))
    }

    /// Checks that the purchase ended as it should, and that all books say so.
    async fn assert_ended(&self, shop: &Shop, plan: &Plan, outcome: &Value) -> Result<()> {
        let name = &self.name;
        assert_eq!(plan.happened(name, self.call), self.times, "{name}");
        let (status, reason, reservation, ledger) = self.ending.books();
        let said = (
            outcome["status"].as_str(),
            outcome["failure"]["reason"].as_str().unwrap_or_default(),
        );
        assert_eq!(said, (Some(status), reason), "{name}: {outcome}");
        let id = outcome["checkout_id"].as_str().context("no checkout_id")?;
        assert_eq!(booked(shop, id).await?, ledger, "{name}");
        let state = format!("SELECT state FROM reservations WHERE checkout_id = '{id}'");
        let state: Vec<(String,)> = shop.rows("inventory", state).await?;
        assert_eq!(state, [(reservation.to_owned(),)], "{name}");
        Ok(())
    }
}

async fn booked(shop: &Shop, checkout: &str) -> Result<Ledger> {
    let sql = format!(
        "SELECT count(*) FILTER (WHERE outcome = 'SUCCEEDED'), count(*) FILTER (WHERE outcome = 'DECLINED'),
                (SELECT count(*) FROM refunds WHERE idempotency_key = '{checkout}')
         FROM charges WHERE idempotency_key = '{checkout}'"
    );
    let found: Vec<(i64, i64, i64)> = shop.rows("provider", sql).await?;
    let &(charged, declined, refunded) = found.first().context("no row of counts")?;
    Ok(Ledger {
        charged,
        declined,
        refunded,
    })
}

/// Puts a product into the catalogue, and some pieces of it on the shelf.
async fn offer(shop: &Shop, id: i64, pieces: i64) -> Result<()> {
    let price = Some(Money {
        currency_code: "USD".to_owned(),
        minor_units: 700,
    });
    let product = UpsertProductRequest {
        id,
        name: format!("Thing {id}"),
        price,
        ..Default::default()
    };
    shop.products()?.upsert_product(product).await?;
    if pieces > 0 {
        let add = AddStockRequest {
            product_id: id,
            quantity: pieces,
            idempotency_key: format!("thing {id}"),
        };
        shop.inventory()?.add_stock(add).await?;
    }
    Ok(())
}

/// Purchases that are made at the same time. With all of them at once a slow machine is later than the lease of a saga; then
/// recovery drives it, and its calls belong to no case.
const AT_ONCE: usize = 12;

/// Makes all purchases, some at the same time.
async fn purchase_all(profile: Profile, cases: Vec<Case>) -> Result<()> {
    let mut plan = Plan::default();
    for case in &cases {
        case.plan(&mut plan);
    }
    let plan = Arc::new(plan);
    let shop = Shop::with_faults(profile, plan.faults()).await?;
    offer(&shop, SOLD_OUT, 0).await?;
    let purchases = cases.iter().map(async |case| {
        let product = if case.ending == Ending::OutOfStock { SOLD_OUT } else { 2 };
        let outcome = case
            .buyer(&shop)?
            .buy_one(product, 1, "key", case.ending.method())
            .await?;
        case.assert_ended(&shop, &plan, &outcome).await
    });
    let purchases = stream::iter(purchases).buffer_unordered(AT_ONCE);
    purchases.try_collect::<()>().await?;
    let sold = cases.iter().filter(|case| case.ending == Ending::Bought).count();
    assert_eq!(shop.stock(2).await?, (500 - i64::try_from(sold)?, 0));
    shop.balance().await
}

async fn a_lost_late_or_repeated_call_does_not_change_a_purchase(profile: Profile) -> Result<()> {
    let endings = [Ending::Bought, Ending::Declined, Ending::OutOfStock];
    purchase_all(profile, endings.into_iter().flat_map(Case::all).collect()).await
}

/// The call that does not get through until a rival has the stock.
fn held_up(case: &Case) -> &'static str {
    match case.call {
        "inventory.Confirm" => "payment.Charge",
        _ => "inventory.Confirm",
    }
}

/// A purchase whose stock goes to a rival before it can be confirmed, and which is charged before that, or after.
async fn lose_the_stock(shop: &Shop, plan: &Plan, case: &Case, product: i64) -> Result<()> {
    offer(shop, product, 1).await?;
    let rival = async {
        let name = &case.name;
        until("the loser holds the stock", async || {
            Ok((plan.happened(name, held_up(case)) > 0).then_some(()))
        })
        .await?;
        let rival = shop.buyer(&format!("rival for {product}"))?;
        rival.add(product, 1).await?;
        let attempts = std::sync::atomic::AtomicU32::new(0);
        until("the rival has the stock", async || {
            let key = attempts.fetch_add(1, std::sync::atomic::Ordering::SeqCst).to_string();
            let outcome = rival.buy(&key, "pm_card_ok").await?;
            Ok((outcome["status"] == "COMPLETED").then_some(()))
        })
        .await?;
        plan.lift(name, held_up(case));
        Ok(())
    };
    let loser = case.buyer(shop)?;
    let (outcome, ()) = tokio::try_join!(loser.buy_one(product, 1, "key", case.ending.method()), rival)?;
    case.assert_ended(shop, plan, &outcome).await?;
    assert_eq!(shop.stock(product).await?, (0, 0), "{}", case.name);
    Ok(())
}

async fn a_refund_is_made_once_despite_faults_in_its_calls(profile: Profile) -> Result<()> {
    let cases = Case::all(Ending::Refunded);
    let mut plan = Plan::default();
    for case in &cases {
        case.plan(&mut plan);
        plan.add(&case.name, held_up(case), NeverArrives, u32::MAX);
    }
    let plan = Arc::new(plan);
    let ttl =
        |settings: &mut cartwright::settings::Settings| settings.reservation_ttl = Span(Duration::from_millis(300));
    let shop = Shop::with(profile, ttl, plan.faults()).await?;
    let purchases = (100..)
        .zip(&cases)
        .map(|(product, case)| lose_the_stock(&shop, &plan, case, product));
    let purchases = stream::iter(purchases).buffer_unordered(AT_ONCE);
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
            booked(&shop, id).await?,
            Ledger {
                charged: 1,
                declined: 0,
                refunded: 0
            },
            "{method}"
        );
        anyhow::Ok(())
    }))
    .await?;
    assert_eq!(shop.stock(2).await?, (494, 0));
    shop.balance().await
}
