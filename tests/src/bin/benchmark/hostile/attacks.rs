//! The attacks. Attackers have another address than the customers, and no token.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use proto::product::v1::{GetProductsRequest, product_service_client::ProductServiceClient};
use runtime::Tasks;
use system_tests::process::ShopProcess;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tonic::transport::Endpoint;

/// The attackers' address.
const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// How long an attacker waits before it tries again.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attack {
    SilentConnections,
    UnfinishedHeads,
    UnreadPages,
    ZeroWindow,
    Searches,
}

impl Attack {
    pub(super) const ALL: [Self; 5] = [
        Self::SilentConnections,
        Self::UnfinishedHeads,
        Self::UnreadPages,
        Self::ZeroWindow,
        Self::Searches,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::SilentConnections => "220 silent gRPC connections",
            Self::UnfinishedHeads => "2,000 unfinished heads of 60 KB",
            Self::UnreadPages => "60 connections with unread pages",
            Self::ZeroWindow => "1,024 gRPC answers, window of 0",
            Self::Searches => "40 searchers in 30,000 products",
        }
    }

    /// Whether the shop runs with a low limit of open files.
    pub(super) const fn limits_open_files(self) -> bool {
        matches!(self, Self::SilentConnections)
    }

    /// Whether the catalogue has many products.
    pub(super) const fn needs_catalogue(self) -> bool {
        matches!(self, Self::UnreadPages | Self::ZeroWindow | Self::Searches)
    }

    const fn attackers(self) -> usize {
        match self {
            Self::SilentConnections => 220,
            Self::UnfinishedHeads => 2_000,
            Self::UnreadPages => 60,
            Self::ZeroWindow => 1,
            Self::Searches => 40,
        }
    }

    /// Starts all attackers; they run until [`Attackers::end`].
    pub(super) fn begin(self, shop: &ShopProcess) -> Attackers {
        let tasks = Tasks::new();
        let (gateway, products) = (shop.gateway, shop.addresses["product"]);
        for _ in 0..self.attackers() {
            let stopping = tasks.clone();
            tasks.spawn(async move {
                let attack = async {
                    loop {
                        // An attacker whose connection is closed connects again.
                        let _ = self.attack_once(gateway, products).await;
                        tokio::time::sleep(PAUSE).await;
                    }
                };
                tokio::select! {
                    () = attack => {}
                    () = stopping.stopping() => {}
                }
            });
        }
        Attackers(tasks)
    }

    async fn attack_once(self, gateway: Option<SocketAddr>, products: SocketAddr) -> anyhow::Result<()> {
        let gateway = gateway.unwrap_or(products);
        match self {
            Self::SilentConnections => until_closed(connect(products).await?).await,
            Self::UnfinishedHeads => {
                let mut connection = connect(gateway).await?;
                let head = format!(
                    "GET /health HTTP/1.1\r\nhost: shop\r\nx-filling: {}",
                    "x".repeat(60_000)
                );
                connection.write_all(head.as_bytes()).await?;
                until_closed(connection).await
            }
            Self::UnreadPages => {
                let mut connection = connect(gateway).await?;
                let page = "GET /api/v1/products?page_size=100 HTTP/1.1\r\nhost: shop\r\n\r\n".repeat(20);
                loop {
                    connection.write_all(page.as_bytes()).await?;
                }
            }
            Self::ZeroWindow => request_with_zero_window(products).await,
            Self::Searches => {
                let mut connection = connect(gateway).await?;
                let search = "GET /api/v1/products?q=zzzz HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n";
                connection.write_all(search.as_bytes()).await?;
                connection.read_to_end(&mut Vec::new()).await?;
                Ok(())
            }
        }
    }
}

/// The running attackers.
pub(super) struct Attackers(Tasks);

impl Attackers {
    pub(super) async fn end(self) {
        self.0.stop(PAUSE * 100).await;
    }
}

async fn connect(to: SocketAddr) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    // A small buffer, so that the kernel takes few bytes that the attacker does not read.
    socket.set_recv_buffer_size(4096)?;
    socket.bind((ATTACKER, 0).into())?;
    Ok(socket.connect(to).await?)
}

/// Sends nothing, and waits until the shop closes the connection.
async fn until_closed(mut connection: TcpStream) -> anyhow::Result<()> {
    while connection.read(&mut [0; 1024]).await? > 0 {}
    Ok(())
}

/// Asks for large pages on one connection with a flow-control window of 0.
async fn request_with_zero_window(products: SocketAddr) -> anyhow::Result<()> {
    let channel = Endpoint::from_shared(format!("http://{products}"))?
        .local_address(Some(ATTACKER))
        .initial_stream_window_size(0)
        .connect()
        .await?;
    let ask = |_| {
        let mut client = ProductServiceClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
        async move {
            let page = GetProductsRequest {
                page_size: 100,
                ..GetProductsRequest::default()
            };
            client.get_products(page).await
        }
    };
    futures::future::join_all((0..1024).map(ask)).await;
    Ok(())
}
