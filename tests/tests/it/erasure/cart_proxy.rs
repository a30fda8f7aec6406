//! A proxy of the cart service: a customer buys something before each erasure of the cart.

use std::{net::SocketAddr, ops::Range};

use anyhow::{Result, anyhow};
use cartwright::http::Customer;
use proto::cart::v1::{
    self as cart,
    cart_service_client::CartServiceClient,
    cart_service_server::{CartService, CartServiceServer},
};
use system_tests::shopping::{add, buy};
use tokio::{
    net::TcpListener,
    sync::{Mutex, mpsc},
};
use tonic::{
    Request, Response, Status,
    transport::{Channel, Server, server::TcpIncoming},
};

pub(super) struct CartProxy {
    customer: Customer,
    /// The keys of the purchases; no more purchases without a key.
    keys: Mutex<Range<u32>>,
    /// The real service.
    service: CartServiceClient<Channel>,
    failures: mpsc::Sender<anyhow::Error>,
}

impl CartProxy {
    /// Runs the proxy of `service` while `other`, which gets the address of the proxy, runs.
    pub(super) async fn run_during<T>(
        customer: Customer,
        keys: Range<u32>,
        service: SocketAddr,
        other: impl AsyncFnOnce(SocketAddr) -> Result<T>,
    ) -> Result<T> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (failures, mut failed) = mpsc::channel(1);
        let cart_proxy = Self {
            customer,
            keys: Mutex::new(keys),
            service: CartServiceClient::connect(format!("http://{service}")).await?,
            failures,
        };
        let server = Server::builder().add_service(CartServiceServer::new(cart_proxy));
        let serving = server.serve_with_incoming(TcpIncoming::from(listener));
        tokio::select! {
            done = other(address) => done,
            Some(failure) = failed.recv() => Err(failure),
            ended = serving => Err(anyhow!("the cart service in front ended: {ended:?}")),
        }
    }

    /// Buys something, unless no key is left.
    async fn buy_once(&self) -> Result<()> {
        let mut keys = self.keys.lock().await;
        let Some(key) = keys.next() else {
            return Ok(());
        };
        add(&self.customer, 1, 2).await?;
        buy(&self.customer, &format!("meanwhile-{key}")).await.map(drop)
    }
}

/// The response to methods that an erasure does not call.
fn unused() -> Status {
    Status::unimplemented("no erasure calls this")
}

#[tonic::async_trait]
impl CartService for CartProxy {
    async fn erase_user(
        &self,
        request: Request<cart::EraseUserRequest>,
    ) -> Result<Response<cart::EraseUserResponse>, Status> {
        if let Err(failure) = self.buy_once().await {
            let status = Status::internal(failure.to_string());
            // The first failure ends the test.
            let _ = self.failures.try_send(failure);
            return Err(status);
        }
        self.service.clone().erase_user(request.into_inner()).await
    }

    async fn add_item(&self, _: Request<cart::AddItemRequest>) -> Result<Response<cart::AddItemResponse>, Status> {
        Err(unused())
    }

    async fn get_cart(&self, _: Request<cart::GetCartRequest>) -> Result<Response<cart::GetCartResponse>, Status> {
        Err(unused())
    }

    async fn update_quantity(
        &self,
        _: Request<cart::UpdateQuantityRequest>,
    ) -> Result<Response<cart::UpdateQuantityResponse>, Status> {
        Err(unused())
    }

    async fn remove_item(
        &self,
        _: Request<cart::RemoveItemRequest>,
    ) -> Result<Response<cart::RemoveItemResponse>, Status> {
        Err(unused())
    }

    async fn clear_cart(
        &self,
        _: Request<cart::ClearCartRequest>,
    ) -> Result<Response<cart::ClearCartResponse>, Status> {
        Err(unused())
    }

    async fn hold(&self, _: Request<cart::HoldRequest>) -> Result<Response<cart::HoldResponse>, Status> {
        Err(unused())
    }

    async fn give_back(&self, _: Request<cart::GiveBackRequest>) -> Result<Response<cart::GiveBackResponse>, Status> {
        Err(unused())
    }
}
