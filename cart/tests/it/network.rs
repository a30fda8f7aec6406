//! Failing networks: unused addresses, silent servers, and a proxy that can stall or disconnect.

use std::net::SocketAddr;

use runtime::Tasks;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// An address without a listener.
pub(crate) async fn unused_address() -> SocketAddr {
    // The listener is closed at once, and its port is not reused soon.
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A server that sends this answer to every Redis command or other message. An empty answer keeps the server silent.
pub(crate) async fn canned_server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new();
    tasks.clone().spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tasks.spawn(async move {
                let mut message = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut message).await {
                    let commands = message[..read].split(|byte| *byte == b'*').count() - 1;
                    if stream
                        .write_all(answer.repeat(commands.max(1)).as_bytes())
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    address
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Network {
    Up,
    /// Connections stay open without traffic.
    Stalled,
    /// Connections are closed.
    Down,
}

/// A proxy to a server.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    network: watch::Sender<Network>,
}

impl Proxy {
    pub(crate) async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (network, state) = watch::channel(Network::Up);
        let tasks = Tasks::new();
        tasks.clone().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, state) = (server.clone(), state.clone());
                tasks.spawn(async move {
                    if *state.borrow() == Network::Down {
                        return;
                    }
                    let server = TcpStream::connect(server).await.unwrap();
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::join!(
                        forward(from_client, to_server, state.clone()),
                        forward(from_server, to_client, state),
                    );
                });
            }
        });
        Self { address, network }
    }

    pub(crate) fn stall(&self) {
        self.network.send_replace(Network::Stalled);
    }

    pub(crate) fn disconnect(&self) {
        self.network.send_replace(Network::Down);
    }

    pub(crate) fn restore(&self) {
        self.network.send_replace(Network::Up);
    }
}

/// Forwards bytes until the network is down, then drops both connections.
async fn forward(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    mut state: watch::Receiver<Network>,
) {
    let mut bytes = [0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut bytes) => read.unwrap_or(0),
            down = state.wait_for(|network| *network == Network::Down) => { drop(down); 0 }
        };
        if read == 0 || state.wait_for(|network| *network != Network::Stalled).await.is_err() {
            return;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
