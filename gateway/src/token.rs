//! Bearer tokens: JWTs signed with HS256.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use proto::ids::UserId;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::Secret;

/// How far the issuer's clock may be ahead of ours. An expired token has no such grace.
const ISSUER_AHEAD: i64 = 5;
/// The longest that a token may still be good for: a year. A token that never ends is one that nobody can
/// take back.
const LONGEST_LIFE: i64 = 366 * 24 * 60 * 60;

/// The keys of a shop's tokens: while one replaces another, tokens of both are taken.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Signs, and verifies.
    pub current: Secret,
    /// The one before it, or the one that comes next: verifies only.
    pub previous: Option<Secret>,
}

impl Keys {
    /// The user whom a token speaks for that either of them signed.
    pub fn verify(&self, parties: &Parties, token: &str, now: Timestamp) -> Result<UserId, InvalidToken> {
        match (verify(&self.current, parties, token, now), &self.previous) {
            // What is wrong with its parties is said only of a token that this key has signed.
            (Err(InvalidToken::NotProved), Some(previous)) => verify(previous, parties, token, now),
            (verified, _) => verified,
        }
    }
}

impl From<Secret> for Keys {
    fn from(current: Secret) -> Self {
        Self {
            current,
            previous: None,
        }
    }
}

/// Whom tokens name beside their user (RFC 7519, sections 4.1.1 and 4.1.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parties {
    /// This shop, by the name that tokens call it. `None`: by none, so that a token that is for somebody is for others.
    pub audience: Option<String>,
    /// Who signs its tokens. `None`: whoever has the key.
    pub issuer: Option<String>,
}

/// Why a token does not say, provably and at this time, who is calling. What is wrong with its parties is told only of one that
/// is good otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    #[error("the token is not valid or has expired")]
    NotProved,
    #[error("the token is good for more than 366 days (exp): have one made that ends sooner")]
    TooLong,
    #[error("the token is for an audience (aud), and this shop has no name to find there: see JWT_AUDIENCE")]
    AudienceUnknown,
    #[error("the token is for another audience (aud) than this shop, or for none")]
    WrongAudience,
    #[error("the token is from another issuer (iss) than this shop's, or from none")]
    WrongIssuer,
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("a user is {}", UserId::RULE)]
    InvalidUser,
    #[error("a token is good for 366 days at most")]
    TooLong,
    #[error("the token cannot be signed")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

#[derive(Serialize)]
struct Signed<'a> {
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    iat: i64,
    exp: i64,
}

#[derive(Deserialize)]
struct Claims {
    exp: Number,
    nbf: Option<Number>,
    sub: Option<Value>,
    user_id: Option<Value>,
    aud: Option<Value>,
    iss: Option<Value>,
}

/// A token for `user` that is valid from `now` on for `expires_in`, and names nobody else.
pub fn sign(
    secret: &Secret,
    user: &str,
    role: Option<&str>,
    expires_in: Duration,
    now: Timestamp,
) -> Result<String, SignError> {
    sign_for(&Parties::default(), secret, (user, role), expires_in, now)
}

/// The same for a shop that wants its tokens to name these parties.
pub fn sign_for(
    parties: &Parties,
    secret: &Secret,
    (user, role): (&str, Option<&str>),
    expires_in: Duration,
    now: Timestamp,
) -> Result<String, SignError> {
    let user = UserId::new(user.to_owned()).ok_or(SignError::InvalidUser)?;
    let expires_in = SignedDuration::try_from(expires_in).unwrap_or(SignedDuration::MAX);
    if expires_in.as_secs() > LONGEST_LIFE {
        return Err(SignError::TooLong);
    }
    let iat = now.as_second();
    let claims = Signed {
        sub: user.as_str(),
        role,
        iss: parties.issuer.as_deref(),
        aud: parties.audience.as_deref(),
        iat,
        exp: iat.saturating_add(expires_in.as_secs()),
    };
    let key = EncodingKey::from_secret(secret.bytes());
    Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)?)
}

/// The user whom a token speaks for: its `sub`, or else its `user_id`.
pub fn verify(secret: &Secret, parties: &Parties, token: &str, now: Timestamp) -> Result<UserId, InvalidToken> {
    use InvalidToken::NotProved;
    let mut validation = Validation::new(Algorithm::HS256);
    // The library would ask the machine's clock; ours is asked below. It would not say that it is the audience.
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_secret(secret.bytes());
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation)
        .map_err(|_| NotProved)?
        .claims;
    let expires = whole_seconds(&claims.exp).ok_or(NotProved)?;
    let begins = claims
        .nbf
        .map_or(Some(i64::MIN), |nbf| whole_seconds(&nbf))
        .ok_or(NotProved)?;
    let now = now.as_second();
    if expires <= now || begins > now.saturating_add(ISSUER_AHEAD) {
        return Err(NotProved);
    }
    let user = claims.sub.or(claims.user_id).and_then(user_of).ok_or(NotProved)?;
    if expires > now.saturating_add(LONGEST_LIFE) {
        return Err(InvalidToken::TooLong);
    }
    check_parties(parties, claims.aud.as_ref(), claims.iss.as_ref())?;
    Ok(user)
}

/// RFC 7519, section 4.1.3: who does not find itself in the `aud` of a token must refuse it.
fn check_parties(parties: &Parties, aud: Option<&Value>, iss: Option<&Value>) -> Result<(), InvalidToken> {
    let is = |name: &str, claim: &Value| claim.as_str() == Some(name);
    match (&parties.audience, aud) {
        (None, None) => {}
        (None, Some(_)) => return Err(InvalidToken::AudienceUnknown),
        (Some(name), Some(Value::Array(several))) if several.iter().any(|claim| is(name, claim)) => {}
        (Some(name), Some(claim)) if is(name, claim) => {}
        (Some(_), Some(_) | None) => return Err(InvalidToken::WrongAudience),
    }
    match &parties.issuer {
        Some(name) if !iss.is_some_and(|claim| is(name, claim)) => Err(InvalidToken::WrongIssuer),
        Some(_) | None => Ok(()),
    }
}

fn user_of(claim: Value) -> Option<UserId> {
    let id = match claim {
        Value::String(id) => id,
        Value::Number(id) if id.is_i64() || id.is_u64() => id.to_string(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => return None,
    };
    UserId::new(id)
}

/// RFC 7519 lets a date have a fraction; it counts for nothing here.
fn whole_seconds(date: &Number) -> Option<i64> {
    date.as_i64()
        .or_else(|| date.to_string().split_once('.')?.0.parse().ok())
}
