//! Serving the router on a port, and ending in time.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use runtime::{Name, Tasks, Wellbeing, serve::Port};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::in_hand::InHand;

/// A connection on which no whole head of a request arrives for this long is closed, idle ones included.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
/// How long to wait when no connection can be taken, for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A gateway that answers.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    port: Port,
    tasks: Tasks,
    server: JoinHandle<()>,
}

/// Serves the router on `listener` until it is stopped.
pub fn serve(router: Router, listener: TcpListener) -> io::Result<Running> {
    let address = listener.local_addr()?;
    let tasks = Tasks::new();
    let (port, accepting) = (Port::new(listener), tasks.clone());
    let name = Name {
        service: "gateway",
        task: "server",
    };
    let of_server = port.clone();
    let server = tasks.keep_running(name, Wellbeing::default(), move || {
        accept(router.clone(), of_server.listener(), accepting.clone())
    });
    Ok(Running {
        address,
        port,
        tasks,
        server,
    })
}

impl Running {
    /// Takes no more connections, closes idle ones and those whose request does not arrive whole, and waits for the requests
    /// in flight, at most for `limit`. What has not ended by then is cut off.
    pub async fn stop(self, limit: Duration) {
        self.port.close();
        if !self.tasks.stop(limit).await {
            tracing::warn!(?limit, "the gateway stopped with requests still running");
            self.server.abort();
        }
    }
}

/// The connections end with this task, whichever way it ends.
async fn accept(router: Router, listener: Option<Arc<TcpListener>>, tasks: Tasks) {
    let Some(listener) = listener else { return };
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = tasks.stopping() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, router.clone(), tasks.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tasks.sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(stream: TcpStream, router: Router, tasks: Tasks) {
    // Without it an answer may wait for the acknowledgement of the one before.
    let _ = stream.set_nodelay(true);
    let in_hand = InHand::default();
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), in_hand.around(router));
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = tasks.stopping() => {
            served.as_mut().graceful_shutdown();
            tokio::select! {
                ended = served => ended,
                () = in_hand.finished() => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
