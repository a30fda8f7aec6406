//! `/api/v1/checkout`: purchases.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode,
        header::{LOCATION, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use proto::{
    Reason,
    checkout::v1::{Checkout, CheckoutStatus, GetCheckoutRequest, InitiateCheckoutRequest, InitiateCheckoutResponse},
};

use crate::{Answer, auth::User, body::Fields, encode, path::Id, problem::Problem, shared::Shared};

mod json;

use json::CheckoutJson;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const KEY_FIELD: &str = "idempotency_key";
const MAX_KEY: usize = 255;
/// How long the checkout service may take beyond the time that it waits for the saga.
const CALL_GRACE: Duration = Duration::from_secs(5);
/// And the gateway beyond that, so that it is the call that ends first.
const REQUEST_GRACE: Duration = Duration::from_secs(1);

pub(crate) fn purchase() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/checkout", post(buy))
}

pub(crate) fn reads() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/checkout/{id}", get(show))
}

/// How long a purchase needs when the checkout service waits this long for it.
pub(crate) fn time_limit(checkout_timeout: Duration) -> Duration {
    checkout_timeout
        .saturating_add(CALL_GRACE)
        .saturating_add(REQUEST_GRACE)
}

async fn buy(State(shared): State<Arc<Shared>>, user: User, headers: HeaderMap, mut body: Fields) -> Answer {
    let in_body = body.text(KEY_FIELD);
    let payment_method = body.text("payment_method").unwrap_or_default();
    let accept_price_changes = body.flag("accept_price_changes");
    let in_body = body.finish(in_body)?;
    let request = InitiateCheckoutRequest {
        user_id: user.into_id(),
        idempotency_key: idempotency_key(&headers, in_body)?,
        payment_method,
        accept_price_changes,
        expected_total: None,
        cart_version: None,
    };
    let mut request = tonic::Request::new(request);
    request.set_timeout(shared.checkout_timeout.saturating_add(CALL_GRACE));
    let answer = shared.checkout().initiate_checkout(request).await?.into_inner();
    bought(answer)
}

async fn show(State(shared): State<Arc<Shared>>, user: User, id: Id) -> Answer {
    let unknown = || Problem::new(Reason::CheckoutNotFound, "checkout not found");
    let request = GetCheckoutRequest {
        user_id: user.into_id(),
        checkout_id: id.uuid().ok_or_else(unknown)?,
    };
    let answer = shared.checkout().get_checkout(request).await?.into_inner();
    let checkout = encode::required(answer.checkout, "checkout")?;
    Ok(Json(CheckoutJson::with_history(checkout)?).into_response())
}

/// The key of the purchase: the header's, or else the body's.
fn idempotency_key(headers: &HeaderMap, in_body: Option<String>) -> Result<String, Problem> {
    let malformed = || {
        let message = format!("idempotency_key must be 1 to {MAX_KEY} printable characters");
        Problem::field(Reason::InvalidArgument, KEY_FIELD, message)
    };
    let mut in_headers = headers.get_all(IDEMPOTENCY_KEY).iter();
    let in_header = in_headers
        .next()
        .map(|value| std::str::from_utf8(value.as_bytes()))
        .transpose();
    let in_header = in_header.map_err(|_| malformed())?.filter(|key| !key.is_empty());
    if in_headers.next().is_some() {
        return Err(malformed());
    }
    let key = in_header.map(str::to_owned).or(in_body).filter(|key| !key.is_empty());
    let key =
        key.ok_or_else(|| Problem::field(Reason::MissingIdempotencyKey, KEY_FIELD, "idempotency_key is required"))?;
    if key.chars().count() > MAX_KEY || key.chars().any(char::is_control) {
        return Err(malformed());
    }
    Ok(key)
}

fn bought(answer: InitiateCheckoutResponse) -> Answer {
    let checkout: Checkout = encode::required(answer.checkout, "checkout")?;
    let location = format!("/api/v1/checkout/{}", checkout.checkout_id);
    let over = match checkout.status() {
        CheckoutStatus::Completed | CheckoutStatus::Failed => true,
        CheckoutStatus::Unspecified
        | CheckoutStatus::Initiated
        | CheckoutStatus::InventoryReserved
        | CheckoutStatus::PaymentPending
        | CheckoutStatus::PaymentCompleted => false,
    };
    let status = if over {
        StatusCode::CREATED
    } else {
        StatusCode::ACCEPTED
    };
    let body = Json(CheckoutJson::without_history(checkout)?);
    let mut response: Response = (status, [(LOCATION, location)], body).into_response();
    if !over {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if answer.replayed {
        response
            .headers_mut()
            .insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}
