//! Bearer tokens: JWTs signed with HS256.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use proto::ids::UserId;
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use crate::Secret;

/// Seconds by which the issuer's clock may be ahead, for `nbf`. `exp` has no such tolerance.
const MAX_CLOCK_SKEW: i64 = 5;
/// The longest remaining lifetime of a token, in seconds: a year. A token that never expires could not be revoked.
const MAX_LIFETIME: i64 = 366 * 24 * 60 * 60;

/// The keys of a shop's tokens. During a key rotation tokens of both are accepted.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Signs and verifies.
    pub current: Secret,
    /// The old or the next key: verifies only.
    pub previous: Option<Secret>,
}

impl Keys {
    /// The user of a token that either key signed.
    pub fn verify(&self, expected: &ExpectedClaims, token: &str, now: Timestamp) -> Result<UserId, InvalidToken> {
        match (verify(&self.current, expected, token, now), &self.previous) {
            // Other errors are final: they mean that the current key signed the token.
            (Err(InvalidToken::Unverified), Some(previous)) => verify(previous, expected, token, now),
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

/// The `iss` and `aud` claims that this shop's tokens have (RFC 7519, sections 4.1.1 and 4.1.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedClaims {
    /// This shop's name in `aud`. `None`: the shop has no name, and a token with an audience is for others.
    pub audience: Option<String>,
    /// The issuer. `None`: anyone with the key.
    pub issuer: Option<String>,
}

/// Why a token is refused. Reasons other than `Unverified` are given only if signature, time and user are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidToken {
    #[error("the token is not valid or has expired")]
    Unverified,
    #[error("the token is valid for more than 366 days (exp): get one that expires sooner")]
    LifetimeTooLong,
    #[error("the token names an audience (aud), and this shop has none configured: see JWT_AUDIENCE")]
    NoAudienceConfigured,
    #[error("the token is for another audience (aud) than this shop, or for none")]
    WrongAudience,
    #[error("the token is from another issuer (iss) than this shop's, or from none")]
    WrongIssuer,
}

/// Why a token cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("a user is {}", UserId::RULE)]
    InvalidUser,
    #[error("a token is valid for 366 days at most")]
    LifetimeTooLong,
    #[error("the token cannot be signed")]
    Signing(#[from] jsonwebtoken::errors::Error),
}

#[derive(Serialize)]
struct SignedClaims<'a> {
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

/// A token for `user`, valid from `now` for `expires_in`, without `iss` and `aud`.
pub fn sign(
    secret: &Secret,
    user: &str,
    role: Option<&str>,
    expires_in: Duration,
    now: Timestamp,
) -> Result<String, SignError> {
    sign_for(&ExpectedClaims::default(), secret, (user, role), expires_in, now)
}

/// The same with the `iss` and `aud` that the shop expects.
pub fn sign_for(
    expected: &ExpectedClaims,
    secret: &Secret,
    (user, role): (&str, Option<&str>),
    expires_in: Duration,
    now: Timestamp,
) -> Result<String, SignError> {
    let user = UserId::new(user.to_owned()).ok_or(SignError::InvalidUser)?;
    let expires_in = SignedDuration::try_from(expires_in).unwrap_or(SignedDuration::MAX);
    if expires_in.as_secs() > MAX_LIFETIME {
        return Err(SignError::LifetimeTooLong);
    }
    let iat = now.as_second();
    let claims = SignedClaims {
        sub: user.as_str(),
        role,
        iss: expected.issuer.as_deref(),
        aud: expected.audience.as_deref(),
        iat,
        exp: iat.saturating_add(expires_in.as_secs()),
    };
    let key = EncodingKey::from_secret(secret.bytes());
    Ok(jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)?)
}

/// The user of a token: its `sub`, or else its `user_id`.
pub fn verify(secret: &Secret, expected: &ExpectedClaims, token: &str, now: Timestamp) -> Result<UserId, InvalidToken> {
    use InvalidToken::Unverified;
    let mut validation = Validation::new(Algorithm::HS256);
    // Checked below: with the runtime's clock instead of the machine's, and with an error for each claim.
    validation.validate_exp = false;
    validation.validate_aud = false;
    let key = DecodingKey::from_secret(secret.bytes());
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation)
        .map_err(|_| Unverified)?
        .claims;
    let expires = numeric_date(&claims.exp).ok_or(Unverified)?;
    let begins = claims
        .nbf
        .map_or(Some(i64::MIN), |nbf| numeric_date(&nbf))
        .ok_or(Unverified)?;
    let now = now.as_second();
    if expires <= now || begins > now.saturating_add(MAX_CLOCK_SKEW) {
        return Err(Unverified);
    }
    let user = claims.sub.or(claims.user_id).and_then(user_of).ok_or(Unverified)?;
    if expires > now.saturating_add(MAX_LIFETIME) {
        return Err(InvalidToken::LifetimeTooLong);
    }
    check_audience_and_issuer(expected, claims.aud.as_ref(), claims.iss.as_ref())?;
    Ok(user)
}

/// RFC 7519, section 4.1.3: a recipient that `aud` does not name must refuse the token.
fn check_audience_and_issuer(
    expected: &ExpectedClaims,
    aud: Option<&Value>,
    iss: Option<&Value>,
) -> Result<(), InvalidToken> {
    let is = |name: &str, claim: &Value| claim.as_str() == Some(name);
    match (&expected.audience, aud) {
        (None, None) => {}
        (None, Some(_)) => return Err(InvalidToken::NoAudienceConfigured),
        (Some(name), Some(Value::Array(several))) if several.iter().any(|claim| is(name, claim)) => {}
        (Some(name), Some(claim)) if is(name, claim) => {}
        (Some(_), Some(_) | None) => return Err(InvalidToken::WrongAudience),
    }
    match &expected.issuer {
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

/// A `NumericDate` (RFC 7519, section 2), without its fraction.
fn numeric_date(date: &Number) -> Option<i64> {
    date.as_i64()
        .or_else(|| date.to_string().split_once('.')?.0.parse().ok())
}
