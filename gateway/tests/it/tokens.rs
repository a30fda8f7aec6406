use std::time::Duration;

use axum::{body::Body, http::Method};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use gateway::{
    Secret,
    token::{self, ExpectedClaims, InvalidToken, Keys, SignError},
};
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use runtime::{Clock, config::WeakKey};
use serde_json::{Value, json};

use crate::shop::{Setup, Shop, USER, and, anonymous, bearer, secret, signed_in};

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn of(algorithm: Algorithm, key: &[u8], claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(key)).unwrap()
}

const KEY: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

fn user(claims: &Value) -> Result<String, InvalidToken> {
    user_for(&ExpectedClaims::default(), claims)
}

fn user_for(expected_claims: &ExpectedClaims, claims: &Value) -> Result<String, InvalidToken> {
    token::verify(&secret(), expected_claims, &of(Algorithm::HS256, KEY, claims), now())
        .map(|user| user.as_str().to_owned())
}

const LATER: i64 = 1_800_000_060;
const YEAR: Duration = Duration::from_hours(366 * 24);

#[test]
fn a_signed_token_is_valid_until_it_expires() {
    let token = token::sign(&secret(), "1", Some("admin"), Duration::from_mins(1), now()).unwrap();
    let verify = |second| {
        token::verify(
            &secret(),
            &ExpectedClaims::default(),
            &token,
            Timestamp::from_second(second).unwrap(),
        )
    };
    assert_eq!(verify(1_800_000_000).unwrap().as_str(), "1");
    assert_eq!(verify(LATER - 1).unwrap().as_str(), "1");
    assert_eq!(verify(LATER), Err(InvalidToken::Unverified));
    let payload = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(
        claims,
        json!({"sub": "1", "role": "admin", "iat": 1_800_000_000, "exp": LATER})
    );
}

#[test]
fn no_token_is_signed_that_would_be_refused() {
    for wrong in ["", "a\nb", &"x".repeat(129)] {
        let made = token::sign(&secret(), wrong, None, Duration::from_mins(1), now());
        assert!(matches!(made, Err(SignError::InvalidUser)));
    }
    for too_long in [YEAR + Duration::from_secs(1), Duration::MAX] {
        let made = token::sign(&secret(), "a", None, too_long, now());
        assert!(matches!(made, Err(SignError::LifetimeTooLong)));
    }
    let token = token::sign(&secret(), &"é".repeat(128), None, YEAR, now()).unwrap();
    assert!(token::verify(&secret(), &ExpectedClaims::default(), &token, now()).is_ok());
}

#[test]
fn the_user_is_the_subject_or_the_user_id() {
    let users = [
        (json!({"sub": "a", "exp": LATER}), "a"),
        (json!({"sub": 42, "exp": LATER}), "42"),
        (json!({"user_id": "b", "exp": LATER}), "b"),
        (
            json!({"user_id": 18_446_744_073_709_551_615_u64, "exp": LATER}),
            "18446744073709551615",
        ),
        (json!({"sub": "a", "user_id": "b", "exp": LATER}), "a"),
        (json!({"sub": null, "user_id": "b", "exp": LATER}), "b"),
        (json!({"sub": "a b/é", "role": ["x"], "exp": 1_800_000_060.5}), "a b/é"),
        (json!({"sub": "a", "exp": LATER, "nbf": 1_800_000_005}), "a"),
    ];
    for (claims, expected) in users {
        assert_eq!(user(&claims).as_deref(), Ok(expected), "{claims}");
    }
}

#[test]
fn invalid_claims_are_refused() {
    let long = "x".repeat(129);
    let wrong = [
        json!({"exp": LATER}),
        json!({"sub": "a"}),
        json!({"sub": "a", "exp": null}),
        json!({"sub": "a", "exp": "1800000060"}),
        json!({"sub": "a", "exp": 1_800_000_000}),
        json!({"sub": "a", "exp": 1_799_999_999.9}),
        json!({"sub": "a", "exp": -1}),
        json!({"sub": "a", "exp": 1e300}),
        json!({"sub": "a", "exp": 18_446_744_073_709_551_615_u64}),
        json!({"sub": "a", "exp": LATER, "nbf": 1_800_000_006}),
        json!({"sub": "a", "exp": LATER, "nbf": "soon"}),
        json!({"sub": "", "user_id": "b", "exp": LATER}),
        json!({"sub": long, "exp": LATER}),
        json!({"sub": "a\u{0}", "exp": LATER}),
        json!({"sub": 1.5, "exp": LATER}),
        json!({"sub": true, "exp": LATER}),
        json!({"sub": ["a"], "exp": LATER}),
        json!({"sub": {"id": 1}, "exp": LATER}),
        json!({"sub": null, "user_id": null, "exp": LATER}),
        json!({"sub": "a", "exp": 1_800_000_000, "aud": "another shop"}),
        json!(["a"]),
    ];
    for claims in wrong {
        assert_eq!(user(&claims), Err(InvalidToken::Unverified), "{claims}");
    }
}

#[test]
fn a_token_that_is_valid_for_more_than_a_year_is_refused() {
    let year = now().as_second() + i64::try_from(YEAR.as_secs()).unwrap();
    assert_eq!(user(&json!({"sub": "a", "exp": year})).as_deref(), Ok("a"));
    for never in [year + 1, 9_999_999_999, i64::MAX] {
        let claims = json!({"sub": "a", "exp": never});
        assert_eq!(user(&claims), Err(InvalidToken::LifetimeTooLong), "{claims}");
    }
}

#[test]
fn a_token_is_for_the_audience_that_it_names() {
    let with = |aud: Value| json!({"sub": "a", "exp": LATER, "aud": aud});
    let without = json!({"sub": "a", "exp": LATER});
    let named = ExpectedClaims {
        audience: Some("shop".to_owned()),
        issuer: None,
    };
    for good in [json!("shop"), json!(["shop"]), json!(["other", "shop"])] {
        assert_eq!(user_for(&named, &with(good.clone())).as_deref(), Ok("a"), "{good}");
        assert_eq!(
            user(&with(good.clone())),
            Err(InvalidToken::NoAudienceConfigured),
            "{good}"
        );
    }
    for wrong in [
        json!("other"),
        json!([]),
        json!(""),
        json!(["shops"]),
        json!({"shop": 1}),
        json!(1),
        json!("Shop"),
    ] {
        assert_eq!(
            user_for(&named, &with(wrong.clone())),
            Err(InvalidToken::WrongAudience),
            "{wrong}"
        );
    }
    assert_eq!(user_for(&named, &without), Err(InvalidToken::WrongAudience));
    assert_eq!(user(&without).as_deref(), Ok("a"));
}

#[test]
fn a_token_must_be_from_the_expected_issuer() {
    let with = |iss: Value| json!({"sub": "a", "exp": LATER, "iss": iss});
    let named = ExpectedClaims {
        audience: None,
        issuer: Some("https://id.test/".to_owned()),
    };
    assert_eq!(user_for(&named, &with(json!("https://id.test/"))).as_deref(), Ok("a"));
    for wrong in [json!("https://id.test"), json!(["https://id.test/"]), json!(null)] {
        assert_eq!(
            user_for(&named, &with(wrong.clone())),
            Err(InvalidToken::WrongIssuer),
            "{wrong}"
        );
        assert_eq!(user(&with(wrong)).as_deref(), Ok("a"));
    }
}

#[test]
fn a_signed_token_has_the_expected_claims() {
    let named = ExpectedClaims {
        audience: Some("shop".to_owned()),
        issuer: Some("me".to_owned()),
    };
    let token = token::sign_for(&named, &secret(), ("1", None), Duration::from_mins(1), now()).unwrap();
    assert_eq!(token::verify(&secret(), &named, &token, now()).unwrap().as_str(), "1");
}

#[tokio::test]
async fn the_refusal_of_a_token_for_another_audience_says_so() {
    let exp = Clock::system().now().as_second() + 60;
    let token = |key, aud: Value| {
        let claims = json!({"sub": USER, "exp": exp, "aud": aud});
        format!("Bearer {}", of(Algorithm::HS256, key, &claims))
    };
    let named = Setup {
        expected_claims: ExpectedClaims {
            audience: Some("shop".to_owned()),
            issuer: None,
        },
        ..Setup::default()
    };
    for (setup, aud, word) in [
        (Setup::default(), "shop", "JWT_AUDIENCE"),
        (named, "other", "another audience (aud)"),
    ] {
        let shop = Shop::with(setup).await;
        let get = |token: String| and(anonymous(Method::GET, "/api/v1/cart", ""), "authorization", token);
        let reply = shop.send(get(token(KEY, json!(aud)))).await;
        let problem = reply.problem(401, "unauthorized", "UNAUTHORIZED");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
        // The audience of a forged token is not commented on.
        let forged = shop
            .send(get(token(b"another key of thirty-two bytes!", json!(aud))))
            .await;
        let problem = forged.problem(401, "unauthorized", "UNAUTHORIZED");
        assert_eq!(problem["detail"], "the token is not valid or has expired");
    }
}

#[test]
fn other_algorithms_and_keys_are_refused() {
    let claims = json!({"sub": "a", "exp": LATER});
    let good = of(Algorithm::HS256, KEY, &claims);
    let part = |json: Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let payload = part(claims.clone());
    let (_, signature) = good.rsplit_once('.').unwrap();
    let none = part(json!({"alg": "none", "typ": "JWT"}));
    let wrong = [
        of(Algorithm::HS384, KEY, &claims),
        of(Algorithm::HS512, KEY, &claims),
        of(Algorithm::HS256, b"another key of thirty-two bytes!", &claims),
        of(Algorithm::HS256, b"", &claims),
        format!("{none}.{payload}."),
        format!("{none}.{payload}.{signature}"),
        format!("{}.{payload}.{signature}", part(json!({"alg": "RS256"}))),
        format!("{}.{payload}.{signature}", part(json!({"typ": "JWT"}))),
        good.replace('.', ""),
        good[..good.len() - 1].to_owned(),
        format!("{good}.x"),
        String::new(),
        "..".to_owned(),
        "not-a-token".to_owned(),
    ];
    for token in wrong {
        assert_eq!(
            token::verify(&secret(), &ExpectedClaims::default(), &token, now()),
            Err(InvalidToken::Unverified),
            "{token}"
        );
    }
    assert!(token::verify(&secret(), &ExpectedClaims::default(), &good, now()).is_ok());
}

#[test]
fn a_secret_is_long_and_never_shown() {
    assert_eq!(Secret::new(&KEY[..31]).unwrap_err(), WeakKey::TooShort);
    assert!(!format!("{:?}", secret()).contains("0123"));
}

#[test]
fn a_weak_secret_is_refused() {
    for weak in [
        " ".repeat(40),
        "a".repeat(64),
        "ab".repeat(32),
        format!("short{}", " ".repeat(40)),
    ] {
        assert!(Secret::new(weak.as_str()).is_err(), "{weak:?}");
    }
    Secret::new("a key with blanks in it, which is fine").unwrap();
}

#[test]
fn tokens_of_the_previous_key_are_accepted_while_it_is_set() {
    let new = Secret::new("the key that took the place of the other").unwrap();
    let sign = |secret: &Secret| token::sign(secret, "1", None, Duration::from_mins(1), now()).unwrap();
    let (old_token, new_token) = (sign(&secret()), sign(&new));
    let keys = |previous| Keys {
        current: new.clone(),
        previous,
    };
    let user = |keys: Keys, token: &str| {
        let user = keys.verify(&ExpectedClaims::default(), token, now());
        user.map(|user| user.as_str().to_owned())
    };
    for token in [&old_token, &new_token] {
        assert_eq!(user(keys(Some(secret())), token).as_deref(), Ok("1"));
    }
    assert_eq!(user(keys(None), &old_token), Err(InvalidToken::Unverified));
    let stranger = sign(&Secret::new("the key of somebody else altogether").unwrap());
    assert_eq!(user(keys(Some(secret())), &stranger), Err(InvalidToken::Unverified));
    let named = ExpectedClaims {
        audience: Some("shop".to_owned()),
        issuer: None,
    };
    for token in [&old_token, &new_token] {
        let refused = keys(Some(secret())).verify(&named, token, now());
        assert_eq!(
            refused,
            Err(InvalidToken::WrongAudience),
            "the reason comes from the key that signed"
        );
    }
}

const CLOSED: [(Method, &str); 9] = [
    (Method::GET, "/api/v1/cart"),
    (Method::POST, "/api/v1/cart/items"),
    (Method::PUT, "/api/v1/cart/items/0"),
    (Method::DELETE, "/api/v1/cart/items/1"),
    (Method::DELETE, "/api/v1/cart"),
    (Method::POST, "/api/v1/checkout"),
    (Method::GET, "/api/v1/checkout/x"),
    (Method::GET, "/api/v1/orders?page_size=0"),
    (Method::GET, "/api/v1/orders/x"),
];

#[tokio::test]
async fn every_route_but_products_and_health_needs_a_token() {
    let shop = Shop::open().await;
    for (method, path) in CLOSED {
        let reply = shop.send(anonymous(method, path, "not even json")).await;
        reply.problem(401, "unauthorized", "UNAUTHORIZED");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    assert!(shop.fakes.script().calls.is_empty());
}

#[tokio::test]
async fn anything_but_one_bearer_token_is_refused() {
    let shop = Shop::open().await;
    let token = bearer();
    let bare = token.strip_prefix("Bearer ").unwrap().to_owned();
    let expired = token::sign(&secret(), USER, None, Duration::ZERO, Clock::system().now()).unwrap();
    for value in [
        "",
        "Bearer",
        "Bearer ",
        &bare,
        &format!("Basic {bare}"),
        &format!("{token} x"),
        &format!("Bearer {expired}"),
        "Bearer caf\u{e9}",
    ] {
        let request = and(anonymous(Method::GET, "/api/v1/cart", ""), "authorization", value);
        shop.send(request).await.problem(401, "unauthorized", "UNAUTHORIZED");
    }
    let twice = and(signed_in(Method::GET, "/api/v1/cart", ""), "authorization", &token);
    shop.send(twice).await.problem(401, "unauthorized", "UNAUTHORIZED");

    let lower = and(
        anonymous(Method::GET, "/api/v1/orders", ""),
        "authorization",
        format!("bearer {bare}"),
    );
    assert_eq!(shop.send(lower).await.status, 200);
}

#[tokio::test]
async fn no_body_is_read_before_authentication() {
    let shop = Shop::open().await;
    let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let request = anonymous(Method::POST, "/api/v1/cart/items", Body::from_stream(never));
    shop.send(request).await.problem(401, "unauthorized", "UNAUTHORIZED");
}
