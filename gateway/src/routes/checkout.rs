//! `/api/v1/checkout`: purchases.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{
        HeaderName, HeaderValue, StatusCode,
        header::{ETAG, LOCATION, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
    routing::{get, post},
};
use money::Amount;
use proto::{
    Reason,
    cart::v1::GetCartRequest,
    checkout::v1::{Checkout, CheckoutStatus, GetCheckoutRequest, InitiateCheckoutRequest, InitiateCheckoutResponse},
    money::v1::Money,
};

use crate::{
    HandlerResult,
    body::Fields,
    caller::User,
    encode,
    etag::{self, ExpectedVersion},
    key::{self, HeaderKey},
    path::Id,
    problem::Problem,
    shared::Shared,
};

mod json;

use json::CheckoutJson;
use runtime::deadlines::{SAGA_WAIT_CALL, SAGA_WAIT_REQUEST};

const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// How long the answer to a failed purchase waits for the cart's version.
const CART_TAG_TIMEOUT: Duration = Duration::from_millis(250);

pub(crate) fn purchase() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/checkout", post(buy))
}

pub(crate) fn reads() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/checkout/{id}", get(show))
}

/// The timeout of a purchase for which the checkout service waits this long.
pub(crate) fn purchase_timeout(checkout_timeout: Duration) -> Duration {
    checkout_timeout
        .saturating_add(SAGA_WAIT_CALL)
        .saturating_add(SAGA_WAIT_REQUEST)
}

async fn buy(
    State(shared): State<Arc<Shared>>,
    user: User,
    ExpectedVersion(cart_version): ExpectedVersion,
    key: HeaderKey,
    mut body: Fields,
) -> HandlerResult {
    let user_id = user.into_id();
    let in_body = body.text(key::FIELD);
    let request = InitiateCheckoutRequest {
        user_id: user_id.clone(),
        idempotency_key: String::new(),
        payment_method: body.text("payment_method").unwrap_or_default(),
        accept_price_changes: body.boolean("accept_price_changes"),
        expected_total: body.amount("expected_total").map(in_cart_currency),
        cart_version,
    };
    let (in_body, request) = body.finish((in_body, request))?;
    let idempotency_key = key.or_required(in_body)?;
    let mut request = tonic::Request::new(InitiateCheckoutRequest {
        idempotency_key,
        ..request
    });
    request.set_timeout(shared.checkout_timeout.saturating_add(SAGA_WAIT_CALL));
    let answer = shared.checkout().initiate_checkout(request).await?.into_inner();
    let failed = answer.checkout.as_ref().map(Checkout::status) == Some(CheckoutStatus::Failed);
    let mut response = purchase_response(answer)?;
    if failed && let Some(tag) = cart_tag(&shared, user_id).await {
        response.headers_mut().insert(ETAG, tag);
    }
    Ok(response)
}

fn in_cart_currency(Amount(minor_units): Amount) -> Money {
    Money {
        currency_code: String::new(),
        minor_units,
    }
}

/// The tag of the customer's cart, whose version changed when the failed purchase gave its pieces back. `None` if the
/// cart service does not answer in time: the purchase is answered without it.
async fn cart_tag(shared: &Shared, user_id: String) -> Option<HeaderValue> {
    let mut request = tonic::Request::new(GetCartRequest { user_id, fresh: true });
    request.set_timeout(CART_TAG_TIMEOUT);
    let answer = tokio::time::timeout(CART_TAG_TIMEOUT, shared.cart().get_cart(request)).await;
    let cart = answer.ok()?.ok()?.into_inner().cart?;
    HeaderValue::try_from(etag::tag(cart.version)).ok()
}

async fn show(State(shared): State<Arc<Shared>>, user: User, id: Id) -> HandlerResult {
    let not_found = || Problem::new(Reason::CheckoutNotFound, "checkout not found");
    let request = GetCheckoutRequest {
        user_id: user.into_id(),
        checkout_id: id.uuid().ok_or_else(not_found)?,
    };
    let answer = shared.checkout().get_checkout(request).await?.into_inner();
    let checkout = encode::required(answer.checkout, "checkout")?;
    Ok(Json(CheckoutJson::with_history(checkout)?).into_response())
}

fn purchase_response(answer: InitiateCheckoutResponse) -> HandlerResult {
    let checkout: Checkout = encode::required(answer.checkout, "checkout")?;
    let location = encode::checkout_path(&checkout.checkout_id);
    let ended = match checkout.status() {
        CheckoutStatus::Completed | CheckoutStatus::Failed => true,
        CheckoutStatus::Unspecified
        | CheckoutStatus::Initiated
        | CheckoutStatus::InventoryReserved
        | CheckoutStatus::PaymentPending
        | CheckoutStatus::PaymentCompleted => false,
    };
    let status = if ended {
        StatusCode::CREATED
    } else {
        StatusCode::ACCEPTED
    };
    let body = Json(CheckoutJson::without_history(checkout)?);
    let mut response: Response = (status, [(LOCATION, location)], body).into_response();
    if !ended {
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
