//! Connections of a server, as it takes them and as it can end them.

use std::{
    io,
    pin::Pin,
    sync::{self, Arc, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::{StreamExt, stream, stream::BoxStream};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Mutex,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

use crate::channel::Incoming;

/// How long to wait when no connection can be taken, for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A listener that a server takes, and takes again when it is started again. Clones share it.
#[derive(Debug, Clone)]
pub struct Port(Arc<sync::Mutex<Option<Arc<TcpListener>>>>);

impl Port {
    pub fn new(listener: TcpListener) -> Self {
        Self(Arc::new(sync::Mutex::new(Some(Arc::new(listener)))))
    }

    /// None once it is closed.
    pub fn listener(&self) -> Option<Arc<TcpListener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets nobody take it any more. It is closed when who has it lets go: who connects then is refused, and does not wait.
    pub fn close(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// The connections that come to a port, for ever.
pub(super) fn over_tcp(port: &Port, name: &'static str) -> BoxStream<'static, io::Result<TcpStream>> {
    let accept = move |listener: Arc<TcpListener>| async move {
        loop {
            match listener.accept().await {
                Ok((connection, _)) => {
                    // Without it an answer may wait for the acknowledgement of the one before.
                    let _ = connection.set_nodelay(true);
                    return Some((Ok(connection), listener));
                }
                Err(error) => {
                    tracing::warn!(service = name, %error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    match port.listener() {
        Some(listener) => stream::unfold(listener, accept).boxed(),
        None => stream::pending().boxed(),
    }
}

/// The connections that come from this process, for ever.
pub(super) fn in_process(incoming: Arc<Mutex<Incoming>>) -> BoxStream<'static, io::Result<DuplexStream>> {
    let accept = |incoming: Arc<Mutex<Incoming>>| async move {
        let connection = incoming.lock().await.recv().await?;
        Some((Ok(connection), incoming))
    };
    // When nobody is left who could connect, those that are there go on.
    stream::unfold(incoming, accept).chain(stream::pending()).boxed()
}

/// A connection that can be ended from outside.
pub(super) struct Severable<C> {
    inner: C,
    has_read: bool,
    /// Ends it while nothing has arrived on it.
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Ends it.
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<C> Severable<C> {
    pub(super) fn new(inner: C, stop: &CancellationToken, cut: &CancellationToken) -> Self {
        Self {
            inner,
            has_read: false,
            stop: Box::pin(stop.clone().cancelled_owned()),
            cut: Box::pin(cut.clone().cancelled_owned()),
        }
    }

    /// The connection, unless it was cut; wakes the task when that happens.
    fn whole(&mut self, cx: &mut Context<'_>) -> io::Result<Pin<&mut C>>
    where
        C: Unpin,
    {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(Pin::new(&mut self.inner))
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Severable<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // To the server it looks as if its client had gone.
        let Ok(connection) = this.whole(cx) else {
            return Poll::Ready(Ok(()));
        };
        match connection.poll_read(cx, buffer) {
            Poll::Ready(read) => {
                this.has_read = true;
                Poll::Ready(read)
            }
            Poll::Pending if !this.has_read => this.stop.as_mut().poll(cx).map(Ok),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Severable<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().whole(cx)?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().whole(cx)?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().whole(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().whole(cx)?.poll_shutdown(cx)
    }
}

impl<C: Connected> Connected for Severable<C> {
    type ConnectInfo = C::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}
