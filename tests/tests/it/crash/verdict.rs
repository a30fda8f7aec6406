//! What must be true in the end, whatever happened on the way.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use system_tests::{books, home::Home};

use super::{
    Said,
    people::{DELIVERED, WANTED},
    scenario::Scenario,
};

/// All answers to a question are one answer, purchases ended as they must, and the books agree.
pub(super) async fn check(home: &Home, scenario: Scenario, said: &Said) -> anyhow::Result<()> {
    let mut answers: BTreeMap<_, &Value> = BTreeMap::new();
    for (question, answer) in said.iter().filter(|(question, _)| *question != "change") {
        let first = answers.entry(question).or_insert(answer);
        ensure!(*first == answer, "{question}: {answer}, and before that {first}");
    }
    for question in scenario.questions() {
        ensure!(answers.contains_key(&question), "{question}: no answer");
    }
    for (who, failure) in scenario.endings() {
        let answer = answers[who];
        let (status, reason) = (&answer["status"], answer["failure"]["reason"].as_str());
        let expected = if failure.is_some() { "FAILED" } else { "COMPLETED" };
        ensure!(status == expected && reason == *failure, "{who}: {answer}");
    }
    for (what, store, sql, expected) in facts(scenario, &answers) {
        let found: Vec<(i64,)> = home.rows(store, sql.as_str()).await?;
        let found: Vec<_> = found.into_iter().map(|(number,)| number).collect();
        ensure!(found == expected, "{what}: {found:?} instead of {expected:?}");
    }
    books::balance(home).await
}

type Fact = (&'static str, &'static str, String, Vec<i64>);

/// What the stores must say, beyond their agreeing with one another: name, store, query, answer.
fn facts(scenario: Scenario, answers: &BTreeMap<&&str, &Value>) -> Vec<Fact> {
    match scenario {
        Scenario::HoldLost | Scenario::TakenUp => {
            let alice = answers[&"alice"]["checkout_id"].as_str().unwrap_or_default();
            let refunds = format!("SELECT count(*) FROM refunds WHERE idempotency_key = '{alice}'");
            let left = format!("SELECT on_hand - held FROM stock WHERE product_id = {WANTED}");
            vec![
                ("alice's refunds", "provider", refunds, vec![1]),
                ("pieces that bob has left", "inventory", left, vec![1]),
            ]
        }
        Scenario::Delivery => {
            let stock = format!("SELECT on_hand FROM stock WHERE product_id = {DELIVERED}");
            let received = format!("SELECT count(*) FROM ledger WHERE product_id = {DELIVERED}");
            let products = "SELECT id FROM products ORDER BY id".to_owned();
            vec![
                ("pieces", "inventory", stock, vec![10]),
                ("deliveries", "inventory", received, vec![1]),
                ("products", "product", products, vec![1, 2, 3, 4, 5, DELIVERED]),
            ]
        }
        Scenario::LongAgo => {
            let kept = "SELECT count(*) FROM outbox".to_owned();
            vec![("events that are kept", "checkout", kept, vec![0])]
        }
        Scenario::Erasure => {
            let of_alice = |table| format!("SELECT count(*) FROM {table} WHERE user_id = 'alice'");
            let nobodys = "SELECT count(*) FROM checkouts WHERE user_id = 'erased:' || id".to_owned();
            vec![
                ("alice's cart", "cart", of_alice("carts"), vec![0]),
                ("alice's orders", "orders", of_alice("orders"), vec![0]),
                ("alice's notifications", "notification", of_alice("notifications"), vec![0]),
                ("alice's checkouts", "checkout", of_alice("checkouts"), vec![0]),
                ("nobody's checkouts", "checkout", nobodys, vec![2]),
            ]
        }
        Scenario::Success
        | Scenario::OutOfStock
        | Scenario::Declined
        | Scenario::ReplyLost
        | Scenario::Duplicate
        | Scenario::ProviderDown
        | Scenario::StockAway
        | Scenario::CartAway
        | Scenario::Browsing => Vec::new(),
    }
}

/// What was bought is not in alice's cart any more, and everything else still is.
pub(super) fn check_cart(scenario: Scenario, cart: &Value) -> anyhow::Result<()> {
    let left = cart.as_array().context("there is no cart")?.len();
    ensure!(left == scenario.lines_left(), "the cart is {cart}");
    Ok(())
}

/// After a crash, alice's cart is as the last change left it that was answered, or as the one after that would have.
pub(super) fn check_changes(said: &Said, cart: &Value) -> anyhow::Result<()> {
    let states = [
        json!([]),
        json!([[2, 2]]),
        json!([[2, 3]]),
        json!([[2, 3], [3, 1]]),
        json!([[2, 3]]),
        json!([]),
    ];
    let answered = said.iter().filter(|(question, _)| *question == "change").count();
    let possible = states.iter().skip(answered).take(2).collect::<Vec<_>>();
    ensure!(possible.contains(&cart), "after {answered} changes the cart is {cart}");
    Ok(())
}
