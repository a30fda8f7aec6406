//! A customer who shops while they are erased: a cart service in front of the real one, which lets them buy before each erasure
//! of their cart.

use std::{net::SocketAddr, ops::Range};

use anyhow::{Result, anyhow};
use cartwright::http::Customer;
use proto::cart::v1::{
    self as cart,
    cart_service_client::CartServiceClient,
    cart_service_server::{CartService, CartServiceServer},
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Server, server::TcpIncoming},
};

use super::{add, buy};

pub(super) struct Shopper {
    customer: Customer,
    /// One for each purchase: once they are used up, nothing is bought any more.
    keys: Mutex<Range<u32>>,
    /// The service that the calls are for.
    service: CartServiceClient<Channel>,
    /// Why something could not be bought.
    failures: mpsc::Sender<anyhow::Error>,
}

impl Shopper {
    /// Shops in front of this service for as long as something else, which is given the address in its place, goes on.
    pub(super) async fn accompany<T>(
        customer: Customer,
        keys: Range<u32>,
        service: SocketAddr,
        other: impl AsyncFnOnce(SocketAddr) -> Result<T>,
    ) -> Result<T> {
        let door = TcpListener::bind("127.0.0.1:0").await?;
        let address = door.local_addr()?;
        let (failures, mut failed) = mpsc::channel(1);
        let shopper = Self {
            customer,
            keys: Mutex::new(keys),
            service: CartServiceClient::connect(format!("http://{service}")).await?,
            failures,
        };
        let server = Server::builder().add_service(CartServiceServer::new(shopper));
        let serving = server.serve_with_incoming(TcpIncoming::from(door));
        tokio::select! {
            done = other(address) => done,
            Some(failure) = failed.recv() => Err(failure),
            ended = serving => Err(anyhow!("the cart service in front ended: {ended:?}")),
        }
    }

    /// Buys something, unless the keys are used up.
    async fn shop(&self) -> Result<()> {
        let mut keys = self.keys.lock().await;
        let Some(key) = keys.next() else {
            return Ok(());
        };
        add(&self.customer, 1).await?;
        buy(&self.customer, &format!("meanwhile-{key}"), "pm_card_ok").await?;
        Ok(())
    }
}

/// The answer to calls that an erasure does not make.
fn not_made() -> Status {
    Status::unimplemented("no erasure calls this")
}

#[tonic::async_trait]
impl CartService for Shopper {
    async fn erase_user(
        &self,
        request: Request<cart::EraseUserRequest>,
    ) -> Result<Response<cart::EraseUserResponse>, Status> {
        if let Err(failure) = self.shop().await {
            let said = Status::internal(failure.to_string());
            // The first one is waited for, and ends everything.
            let _ = self.failures.try_send(failure);
            return Err(said);
        }
        self.service.clone().erase_user(request.into_inner()).await
    }

    async fn add_item(&self, _: Request<cart::AddItemRequest>) -> Result<Response<cart::AddItemResponse>, Status> {
        Err(not_made())
    }

    async fn get_cart(&self, _: Request<cart::GetCartRequest>) -> Result<Response<cart::GetCartResponse>, Status> {
        Err(not_made())
    }

    async fn update_quantity(
        &self,
        _: Request<cart::UpdateQuantityRequest>,
    ) -> Result<Response<cart::UpdateQuantityResponse>, Status> {
        Err(not_made())
    }

    async fn remove_item(
        &self,
        _: Request<cart::RemoveItemRequest>,
    ) -> Result<Response<cart::RemoveItemResponse>, Status> {
        Err(not_made())
    }

    async fn clear_cart(
        &self,
        _: Request<cart::ClearCartRequest>,
    ) -> Result<Response<cart::ClearCartResponse>, Status> {
        Err(not_made())
    }

    async fn hold(&self, _: Request<cart::HoldRequest>) -> Result<Response<cart::HoldResponse>, Status> {
        Err(not_made())
    }

    async fn give_back(&self, _: Request<cart::GiveBackRequest>) -> Result<Response<cart::GiveBackResponse>, Status> {
        Err(not_made())
    }
}
