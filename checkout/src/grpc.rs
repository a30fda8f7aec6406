//! The service's gRPC interface: decode, use case, encode.

mod convert;
mod status;

use std::time::Duration;

use ::saga::{Entry, Filter, SagaId};
use proto::{
    checkout::v1::{
        self as wire, EraseUserRequest, EraseUserResponse, GetCheckoutRequest, GetCheckoutResponse,
        InitiateCheckoutRequest, InitiateCheckoutResponse, ListCheckoutsRequest, ListCheckoutsResponse,
        PrepareErasureRequest, PrepareErasureResponse, checkout_service_server::CheckoutService,
    },
    convert::{checkout_id, checkout_ids, idempotency_key, page_size, payment_method, user_id},
    status::Refusal,
};
use runtime::telemetry::record_subject;
use tonic::{Request, Response, Status};

use crate::{
    app::{Checkouts, erasure::Eraser},
    domain::{self, Checkout, PaymentMethod, Status as CheckoutStatus},
};

pub(crate) struct CheckoutGrpc {
    checkouts: Checkouts,
    eraser: Eraser,
    /// How long a caller waits for the end of its saga.
    timeout: Duration,
    default_method: Option<PaymentMethod>,
}

impl CheckoutGrpc {
    pub(crate) const fn new(
        checkouts: Checkouts,
        eraser: Eraser,
        timeout: Duration,
        default_method: Option<PaymentMethod>,
    ) -> Self {
        Self {
            checkouts,
            eraser,
            timeout,
            default_method,
        }
    }
}

#[tonic::async_trait]
impl CheckoutService for CheckoutGrpc {
    async fn initiate_checkout(
        &self,
        request: Request<InitiateCheckoutRequest>,
    ) -> Result<Response<InitiateCheckoutResponse>, Status> {
        let request = decode(request.get_ref(), self.default_method.as_ref())?;
        let initiated = self
            .checkouts
            .initiate(request, self.timeout)
            .await
            .map_err(status::initiate)?;
        Ok(Response::new(InitiateCheckoutResponse {
            checkout: Some(encode(&initiated.checkout, &[])?),
            replayed: initiated.replayed,
        }))
    }

    async fn get_checkout(
        &self,
        request: Request<GetCheckoutRequest>,
    ) -> Result<Response<GetCheckoutResponse>, Status> {
        let request = request.into_inner();
        let user = user_id(&request.user_id)?;
        let id = SagaId(checkout_id(&request.checkout_id)?.0);
        record_subject("checkout", &id);
        // Another user's checkout is not found.
        let found = self.checkouts.engine.get(id, Some(user.as_str())).await;
        let found = found.map_err(|error| status::store(&error))?;
        let (saga, history) = found.ok_or_else(status::not_found)?;
        Ok(Response::new(GetCheckoutResponse {
            checkout: Some(encode(&saga.into(), &history)?),
        }))
    }

    async fn list_checkouts(
        &self,
        request: Request<ListCheckoutsRequest>,
    ) -> Result<Response<ListCheckoutsResponse>, Status> {
        let request = request.into_inner();
        let after = convert::page_token(&request)?;
        let filter = Filter {
            status: convert::status_filter(request.status)?.map(CheckoutStatus::name),
            needs_attention: request.needs_attention,
            after,
            limit: page_size(request.page_size)?,
        };
        let listed = self.checkouts.engine.list(filter).await;
        let (sagas, next) = listed.map_err(|error| status::store(&error))?;
        // A damaged row is logged, and does not keep the others from being listed.
        let checkouts = sagas.into_iter().filter_map(|saga| encode(&saga.into(), &[]).ok());
        Ok(Response::new(ListCheckoutsResponse {
            checkouts: checkouts.collect(),
            next_page_token: convert::next_page_token(next, &request),
        }))
    }

    async fn prepare_erasure(
        &self,
        request: Request<PrepareErasureRequest>,
    ) -> Result<Response<PrepareErasureResponse>, Status> {
        let request = request.into_inner();
        let user = user_id(&request.user_id)?;
        let prepared = self
            .eraser
            .prepare(&user, convert::parked_policy(request.drop_parked))
            .await;
        let checkouts = prepared.map_err(status::erase)?;
        Ok(Response::new(PrepareErasureResponse {
            checkout_ids: checkouts.iter().map(ToString::to_string).collect(),
        }))
    }

    async fn erase_user(&self, request: Request<EraseUserRequest>) -> Result<Response<EraseUserResponse>, Status> {
        let request = request.into_inner();
        let user = user_id(&request.user_id)?;
        let checkouts = checkout_ids(&request.checkout_ids)?;
        let policy = convert::parked_policy(request.drop_parked);
        let erased = self.eraser.erase(&user, &checkouts, policy).await;
        let erased = erased.map_err(status::erase)?;
        Ok(Response::new(EraseUserResponse {
            checkouts: erased.checkouts,
            log_keeps_events: erased.log_keeps_events,
        }))
    }
}

fn encode(checkout: &Checkout, history: &[Entry]) -> Result<wire::Checkout, Status> {
    convert::checkout(checkout, history).map_err(|error| status::store(&error))
}

fn decode(
    request: &InitiateCheckoutRequest,
    default_method: Option<&PaymentMethod>,
) -> Result<domain::CheckoutRequest, Refusal> {
    let user = user_id(&request.user_id)?;
    if request.idempotency_key.is_empty() {
        return Err(status::missing_key());
    }
    let key = idempotency_key(&request.idempotency_key)?;
    let method = match default_method {
        Some(default) if request.payment_method.is_empty() => default.clone(),
        Some(_) | None => payment_method(&request.payment_method)?,
    };
    if request.cart_version.is_some_and(i64::is_negative) {
        return Err(Refusal::field("cart_version", "cart_version must not be negative"));
    }
    Ok(domain::CheckoutRequest {
        user,
        key,
        method,
        accept_price_changes: request.accept_price_changes,
        expected_total: request
            .expected_total
            .as_ref()
            .map(convert::expected_total)
            .transpose()?,
        cart_version: request.cart_version,
    })
}
