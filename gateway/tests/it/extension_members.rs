//! Each fact of a gRPC refusal appears in the REST response.

use axum::http::Method;
use proto::{Fact, Reason, status::Refusal};
use serde_json::{Value, json};

use crate::shop::{Reply, Shop};

const ID: &str = "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";

/// A value of the fact at gRPC, and a check that the response shows it.
fn sample(fact: Fact) -> (String, fn(&Reply) -> bool) {
    let text = match fact {
        Fact::Max => "50".to_owned(),
        Fact::Version => "7".to_owned(),
        Fact::CheckoutId => ID.to_owned(),
        Fact::Changes => json!([{"product_id": 1, "old_minor": 1000, "new_minor": 1550}]).to_string(),
        Fact::Total => "1550".to_owned(),
        Fact::ProductIds => "[3,9]".to_owned(),
        Fact::Shortages => json!([{"product_id": 1, "requested": 3, "available": 2}]).to_string(),
    };
    let shown: fn(&Reply) -> bool = match fact {
        Fact::Max => |reply| reply.body.contains(r#","max":50"#),
        Fact::Version => |reply| reply.header("etag") == Some("\"7\""),
        Fact::CheckoutId => |reply| {
            reply.value()["checkout_id"] == ID && reply.header("location") == Some(&format!("/api/v1/checkout/{ID}"))
        },
        Fact::Changes => |reply| {
            let changes = r#","changes":[{"product_id":1,"old_price":10.00,"new_price":15.50}]"#;
            reply.body.contains(changes)
        },
        Fact::Total => |reply| reply.body.contains(r#","total":15.50"#),
        Fact::ProductIds => |reply| reply.body.contains(r#","product_ids":[3,9]"#),
        Fact::Shortages => |reply| reply.value()["items"] == json!([{"product_id": 1, "requested": 3, "available": 2}]),
    };
    (text, shown)
}

async fn refused(shop: &Shop, refusal: Refusal) -> Reply {
    shop.fakes.refuse(refusal);
    shop.json(Method::POST, "/api/v1/checkout", r#"{"idempotency_key":"k"}"#)
        .await
}

#[tokio::test]
async fn every_fact_of_every_reason_is_shown() {
    let shop = Shop::open().await;
    let mut seen = Vec::new();
    for reason in Reason::ALL {
        let facts = reason.facts().iter().map(|fact| (*fact, sample(*fact)));
        let facts: Vec<_> = facts.collect();
        let refusal = facts
            .iter()
            .fold(Refusal::new(*reason, "no"), |refusal, (fact, (text, _))| {
                refusal.with(*fact, text.clone())
            });
        let reply = refused(&shop, refusal).await;
        for (fact, (_, shown)) in &facts {
            assert!(shown(&reply), "{reason:?} {fact:?}: {:?} {}", reply.headers, reply.body);
            seen.push(*fact);
        }
    }
    for fact in Fact::ALL {
        assert!(seen.contains(fact), "no reason has {fact:?}");
        assert_eq!(Fact::parse(fact.key()), Some(*fact));
    }
}

#[tokio::test]
async fn a_problem_has_no_members_for_absent_facts() {
    let shop = Shop::open().await;
    for reason in Reason::ALL {
        let reply = refused(&shop, Refusal::new(*reason, "no")).await;
        let problem = reply.value();
        for member in ["total", "product_ids", "checkout_id", "max", "items"] {
            assert_eq!(problem.get(member), None, "{reason:?}");
        }
        // A total other than the expected one is a PRICE_CHANGED without changes.
        let changes = (*reason == Reason::PriceChanged).then(|| json!([]));
        assert_eq!(problem.get("changes"), changes.as_ref(), "{reason:?}");
        assert_eq!((reply.header("etag"), reply.header("location")), (None, None));
    }
}

#[tokio::test]
async fn a_fact_that_cannot_be_parsed_is_omitted() {
    let shop = Shop::open().await;
    for reason in Reason::ALL {
        let facts = reason.facts().iter().filter(|fact| **fact != Fact::CheckoutId);
        let refusal = facts.fold(Refusal::new(*reason, "no"), |refusal, fact| {
            refusal.with(*fact, "{not json")
        });
        let reply = refused(&shop, refusal).await;
        assert_eq!(reply.value()["reason"], Value::from(reason.as_str()));
        assert!(!reply.body.contains("not json"), "{}", reply.body);
    }
}
