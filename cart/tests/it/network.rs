//! Networks that fail: addresses where nobody is, servers that say nothing, and a wire that can be cut.

use std::net::SocketAddr;

use runtime::Tasks;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// An address on which nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    // The listener is gone at once; nobody is given its port soon after.
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A server that takes connections and gives this answer to every command of Redis, or to every other message. With an
/// empty answer it never says anything.
pub(crate) async fn parrot(answer: &'static str) -> SocketAddr {
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

/// What is between a client and its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Whole,
    /// Connections stand, and nothing comes through.
    Stuck,
    /// There are no connections.
    Cut,
}

/// A way to a server that a test can block.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    wire: watch::Sender<Wire>,
}

impl Proxy {
    pub(crate) async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (wire, state) = watch::channel(Wire::Whole);
        let tasks = Tasks::new();
        tasks.clone().spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, state) = (server.clone(), state.clone());
                tasks.spawn(async move {
                    if *state.borrow() == Wire::Cut {
                        return;
                    }
                    let server = TcpStream::connect(server).await.unwrap();
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::join!(
                        pass(from_client, to_server, state.clone()),
                        pass(from_server, to_client, state),
                    );
                });
            }
        });
        Self { address, wire }
    }

    pub(crate) fn block(&self) {
        self.wire.send_replace(Wire::Stuck);
    }

    pub(crate) fn cut(&self) {
        self.wire.send_replace(Wire::Cut);
    }

    pub(crate) fn mend(&self) {
        self.wire.send_replace(Wire::Whole);
    }
}

/// Passes on what comes from one side until the wire is cut. The sides are dropped then, and both connections closed.
async fn pass(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    mut state: watch::Receiver<Wire>,
) {
    let mut bytes = [0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut bytes) => read.unwrap_or(0),
            cut = state.wait_for(|wire| *wire == Wire::Cut) => { drop(cut); 0 }
        };
        if read == 0 || state.wait_for(|wire| *wire != Wire::Stuck).await.is_err() {
            return;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
