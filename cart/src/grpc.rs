//! The gRPC interface: decode, call the use case, encode.

mod convert;
mod status;

use proto::cart::v1::{
    AddItemRequest, AddItemResponse, ClearCartRequest, ClearCartResponse, EraseUserRequest, EraseUserResponse,
    GetCartRequest, GetCartResponse, GiveBackRequest, GiveBackResponse, HoldRequest, HoldResponse, RemoveItemRequest,
    RemoveItemResponse, UpdateQuantityRequest, UpdateQuantityResponse, cart_service_server::CartService,
};
use proto::convert::{checkout_id, product_id, user_id};
use runtime::telemetry::record_subject;
use tonic::{Request, Response, Status};

use crate::{
    app::Carts,
    domain::{Added, ChangeOptions},
};
use convert::{cart, hold_request, key, options, quantity};
use status::refuse;

#[derive(Debug, Clone)]
pub(crate) struct CartGrpc {
    carts: Carts,
}

impl CartGrpc {
    pub(crate) const fn new(carts: Carts) -> Self {
        Self { carts }
    }
}

#[tonic::async_trait]
impl CartService for CartGrpc {
    async fn add_item(&self, request: Request<AddItemRequest>) -> Result<Response<AddItemResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let user = user_id(&request.user_id)?;
        let product = product_id("product_id", request.product_id)?;
        let quantity = quantity(request.quantity)?;
        let options = ChangeOptions {
            idempotency_key: key(&request.idempotency_key)?,
            ..options(request.expected_version, &metadata)?
        };
        let (changed, added) = self
            .carts
            .add_item(user, product, quantity, options)
            .await
            .map_err(refuse)?;
        Ok(Response::new(AddItemResponse {
            cart: Some(cart(&changed)?),
            created: added == Added::NewLine,
        }))
    }

    async fn get_cart(&self, request: Request<GetCartRequest>) -> Result<Response<GetCartResponse>, Status> {
        let request = request.into_inner();
        let user = user_id(&request.user_id)?;
        let found = if request.fresh {
            self.carts.get_fresh_cart(&user).await
        } else {
            self.carts.get_cart(&user).await
        };
        let found = found.map_err(refuse)?;
        Ok(Response::new(GetCartResponse {
            cart: Some(cart(&found)?),
        }))
    }

    async fn update_quantity(
        &self,
        request: Request<UpdateQuantityRequest>,
    ) -> Result<Response<UpdateQuantityResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let user = user_id(&request.user_id)?;
        let product = product_id("product_id", request.product_id)?;
        let quantity = quantity(request.quantity)?;
        let options = options(request.expected_version, &metadata)?;
        let changed = self
            .carts
            .update_quantity(user, product, quantity, options)
            .await
            .map_err(refuse)?;
        Ok(Response::new(UpdateQuantityResponse {
            cart: Some(cart(&changed)?),
        }))
    }

    async fn remove_item(&self, request: Request<RemoveItemRequest>) -> Result<Response<RemoveItemResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let user = user_id(&request.user_id)?;
        let product = product_id("product_id", request.product_id)?;
        let options = options(request.expected_version, &metadata)?;
        let changed = self.carts.remove_item(user, product, options).await.map_err(refuse)?;
        Ok(Response::new(RemoveItemResponse {
            cart: Some(cart(&changed)?),
        }))
    }

    async fn clear_cart(&self, request: Request<ClearCartRequest>) -> Result<Response<ClearCartResponse>, Status> {
        let (metadata, _, request) = request.into_parts();
        let user = user_id(&request.user_id)?;
        let options = options(request.expected_version, &metadata)?;
        let changed = self.carts.clear_cart(user, options).await.map_err(refuse)?;
        Ok(Response::new(ClearCartResponse {
            cart: Some(cart(&changed)?),
        }))
    }

    async fn hold(&self, request: Request<HoldRequest>) -> Result<Response<HoldResponse>, Status> {
        let request = request.into_inner();
        let user = user_id(&request.user_id)?;
        let request = hold_request(&request)?;
        record_subject("checkout", &request.checkout.0);
        let held = self.carts.hold(user, request).await.map_err(refuse)?;
        Ok(Response::new(HoldResponse {
            cart: Some(cart(&held)?),
        }))
    }

    async fn give_back(&self, request: Request<GiveBackRequest>) -> Result<Response<GiveBackResponse>, Status> {
        let request = request.into_inner();
        let user = user_id(&request.user_id)?;
        let checkout = checkout_id(&request.checkout_id)?;
        record_subject("checkout", &checkout.0);
        let given = self.carts.give_back(user, checkout).await.map_err(refuse)?;
        Ok(Response::new(GiveBackResponse {
            cart: Some(cart(&given)?),
        }))
    }

    async fn erase_user(&self, request: Request<EraseUserRequest>) -> Result<Response<EraseUserResponse>, Status> {
        let user = user_id(&request.into_inner().user_id)?;
        let erased = self.carts.erase(user).await.map_err(refuse)?;
        Ok(Response::new(EraseUserResponse {
            carts: u64::from(erased),
        }))
    }
}
