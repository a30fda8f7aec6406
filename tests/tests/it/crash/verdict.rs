//! What must be true in the end, whatever happened on the way.

use anyhow::{Context, ensure};
use serde_json::Value;
use system_tests::{books, home::Home};

use super::scenario::{Answers, Said, Scenario};

/// All answers to a question are one answer, purchases ended as they must, and the books agree.
pub(super) async fn check(home: &Home, scenario: &dyn Scenario, said: &Said) -> anyhow::Result<()> {
    let mut answers = Answers::new();
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
    for (what, store, sql, expected) in scenario.facts(&answers) {
        let found: Vec<(i64,)> = home.rows(store, sql.as_str()).await?;
        let found: Vec<_> = found.into_iter().map(|(number,)| number).collect();
        ensure!(found == expected, "{what}: {found:?} instead of {expected:?}");
    }
    books::balance(home).await
}

/// What was bought is not in alice's cart any more, and everything else still is.
pub(super) fn check_cart(scenario: &dyn Scenario, cart: &Value) -> anyhow::Result<()> {
    let left = cart.as_array().context("there is no cart")?.len();
    ensure!(left == scenario.lines_left(), "the cart is {cart}");
    Ok(())
}
