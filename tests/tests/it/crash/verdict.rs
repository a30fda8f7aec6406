//! What must be true at the end, with or without a crash.

use anyhow::{Context, ensure};
use serde_json::Value;
use system_tests::{books, home::Home};

use super::scenario::{FirstResponses, Responses, Scenario};

/// Checks that all responses to a request are equal, that purchases ended as expected, and that the books balance.
pub(super) async fn check(home: &Home, scenario: &dyn Scenario, responses: &Responses) -> anyhow::Result<()> {
    let mut by_request = FirstResponses::new();
    for (request, answer) in responses.iter().filter(|(request, _)| *request != "change") {
        let first = by_request.entry(request).or_insert(answer);
        ensure!(*first == answer, "{request}: {answer}, and before that {first}");
    }
    for request in scenario.requests() {
        ensure!(by_request.contains_key(&request), "{request}: no answer");
    }
    for (who, failure) in scenario.purchases() {
        let answer = by_request[who];
        let (status, reason) = (&answer["status"], answer["failure"]["reason"].as_str());
        let expected = if failure.is_some() { "FAILED" } else { "COMPLETED" };
        ensure!(status == expected && reason == *failure, "{who}: {answer}");
    }
    for (what, store, sql, expected) in scenario.expected_rows(&by_request) {
        let found: Vec<(i64,)> = home.rows(store, sql.as_str()).await?;
        let found: Vec<_> = found.into_iter().map(|(number,)| number).collect();
        ensure!(found == expected, "{what}: {found:?} instead of {expected:?}");
    }
    books::balance(home).await
}

/// Checks that alice's cart has lost the bought lines and no others.
pub(super) fn check_cart(scenario: &dyn Scenario, cart: &Value) -> anyhow::Result<()> {
    let left = cart.as_array().context("there is no cart")?.len();
    ensure!(left == scenario.lines_left(), "the cart is {cart}");
    Ok(())
}
