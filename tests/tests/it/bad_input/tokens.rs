//! Invalid tokens.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, header};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use system_tests::{
    home::Profile,
    shops::{Buyer, Shop},
};

use super::{assert_unchanged, shop_with_history};

/// Base64 of `{"typ":"JWT","alg":"none"}`.
const ALG_NONE: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0";

fn signed(secret: &[u8], algorithm: Algorithm, claims: &Value) -> Result<String> {
    Ok(jsonwebtoken::encode(
        &Header::new(algorithm),
        claims,
        &EncodingKey::from_secret(secret),
    )?)
}

/// Claims without a valid user or lifetime.
fn claims(now: i64) -> [(&'static str, Value); 10] {
    let exp = now + 3600;
    [
        ("it never expires", json!({"sub": "resident"})),
        ("it expires at a word", json!({"sub": "resident", "exp": "never"})),
        ("it begins later", json!({"sub": "resident", "exp": exp, "nbf": exp})),
        ("it is for nobody", json!({"exp": exp})),
        ("it is for an empty name", json!({"sub": "", "exp": exp})),
        ("it is for a line break", json!({"sub": "a\nb", "exp": exp})),
        ("it is for a long name", json!({"sub": "x".repeat(129), "exp": exp})),
        ("it is for a list", json!({"sub": ["resident"], "exp": exp})),
        ("it is for a fraction", json!({"user_id": 1.5, "exp": exp})),
        ("its claims are a list", json!([1])),
    ]
}

/// Invalid `Authorization` headers, each with its defect.
fn forgeries(shop: &Shop) -> Result<Vec<(&'static str, String)>> {
    let (hour, now) = (Duration::from_hours(1), shop.clock().now());
    let good = shop.token("resident", hour, now)?;
    let (unsigned, signature) = good.rsplit_once('.').context("no signature")?;
    let (_, payload) = unsigned.split_once('.').context("no payload")?;
    let key = std::fs::read(shop.data_dir().join("jwt.key"))?;
    let resident = json!({"sub": "resident", "exp": now.as_second() + 3600});
    let old = shop.token("resident", Duration::from_mins(1), now - hour)?;
    let mut tokens = vec![
        ("it has expired", old),
        ("it expires now", shop.token("resident", Duration::ZERO, now)?),
        ("it is not signed", format!("{ALG_NONE}.{payload}.")),
        (
            "it says that it is not signed",
            format!("{ALG_NONE}.{payload}.{signature}"),
        ),
        ("another key", signed(&[7; 64], Algorithm::HS256, &resident)?),
        ("an empty key", signed(&[], Algorithm::HS256, &resident)?),
        ("another algorithm", signed(&key, Algorithm::HS512, &resident)?),
        ("a signature of something else", format!("{good}x")),
        ("no signature", unsigned.to_owned()),
        ("garbage", "garbage".to_owned()),
        ("nothing", String::new()),
        ("two tokens", format!("{good} {good}")),
    ];
    for (what, claims) in claims(now.as_second()) {
        tokens.push((what, signed(&key, Algorithm::HS256, &claims)?));
    }
    let bearers = tokens
        .into_iter()
        .map(|(what, token)| (what, format!("Bearer {token}")));
    let schemes = [("another scheme", format!("Basic {good}")), ("no scheme", good)];
    Ok(bearers.chain(schemes).collect())
}

const PERSONAL: [(Method, &str); 9] = [
    (Method::GET, "/api/v1/cart"),
    (Method::DELETE, "/api/v1/cart"),
    (Method::POST, "/api/v1/cart/items"),
    (Method::PUT, "/api/v1/cart/items/2"),
    (Method::DELETE, "/api/v1/cart/items/2"),
    (Method::POST, "/api/v1/checkout"),
    (Method::GET, "/api/v1/checkout/00000000-0000-4000-8000-000000000000"),
    (Method::GET, "/api/v1/orders"),
    (Method::GET, "/api/v1/orders/00000000-0000-4000-8000-000000000000"),
];

async fn assert_refused(anonymous: &Buyer, what: &str, request: Request<Bytes>) -> Result<()> {
    let line = format!("{} {} with {what}", request.method(), request.uri());
    let reply = anonymous.send(request).await?;
    let problem = reply.json();
    assert_eq!(
        (reply.status.as_u16(), &problem["reason"]),
        (401, &json!("UNAUTHORIZED")),
        "{line}: {problem}"
    );
    assert_eq!(reply.headers[header::WWW_AUTHENTICATE], "Bearer");
    Ok(())
}

on_every_profile! { an_invalid_token_gives_access_to_nothing }

async fn an_invalid_token_gives_access_to_nothing(profile: Profile) -> Result<()> {
    let shop = shop_with_history(profile).await?;
    let anonymous = shop.anonymous()?;
    let forgeries = forgeries(&shop)?;
    assert_unchanged(&shop, async {
        for (method, path) in PERSONAL {
            let body = Bytes::from_static(br#"{"product_id":1,"quantity":1,"idempotency_key":"k"}"#);
            let request = || {
                anonymous
                    .request(method.clone(), path)
                    .header(header::CONTENT_TYPE, "application/json")
            };
            assert_refused(&anonymous, "no token", request().body(body.clone())?).await?;
            for (what, authorization) in &forgeries {
                let request = request().header(header::AUTHORIZATION, authorization);
                assert_refused(&anonymous, what, request.body(body.clone())?).await?;
            }
            let twice = shop.buyer("resident")?;
            let request = twice
                .request(method.clone(), path)
                .header(header::AUTHORIZATION, twice.authorization());
            assert_refused(&anonymous, "two headers", request.body(body)?).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_user_is_the_subject_or_the_user_id_of_a_token() -> Result<()> {
    let shop = Shop::open(Profile::Embedded).await?;
    let key = std::fs::read(shop.data_dir().join("jwt.key"))?;
    let exp = shop.clock().now().as_second() + 3600;
    for (claims, user) in [
        (json!({"sub": "ada", "user_id": "eve", "exp": exp}), "ada"),
        (json!({"user_id": "ada", "exp": exp}), "ada"),
        (json!({"user_id": 7, "exp": exp}), "7"),
    ] {
        let token = signed(&key, Algorithm::HS256, &claims)?;
        let request = shop.anonymous()?.request(Method::GET, "/api/v1/cart");
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        let reply = shop.anonymous()?.send(request.body(Bytes::new())?).await?;
        assert_eq!(reply.json()["user_id"], user, "{claims}: {reply:?}");
    }
    Ok(())
}
