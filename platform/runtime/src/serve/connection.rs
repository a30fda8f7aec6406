//! One gRPC connection.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::FutureExt;
use hyper::{rt::Executor, server::conn::http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

use super::{
    calls::{CallService, Dispatcher},
    monitor::{CloseReason, ConnectionMonitor},
};
use crate::Tasks;

/// The most header bytes of a request, as HTTP/2 counts them: decoded, plus 32 bytes for each header.
const MAX_HEADERS: u32 = 16 * 1024;
const HEADER_TABLE: u32 = 4 * 1024;
const MAX_FRAME: u32 = 16 * 1024;
/// The flow-control window of a stream and of a connection: one message of the largest size. Messages that wait here
/// are not counted by `Capacity`.
const WINDOW: u32 = 256 * 1024;
/// The send buffer of a stream, beyond the chunk in hand.
const SEND_BUFFER: usize = 64 * 1024;
/// The most streams that the client resets while they are pending, and that are reset for the client's protocol errors.
/// More is a flood: the connection is closed.
const MAX_RESET_BY_CLIENT: usize = 20;
const MAX_RESET_BY_US: usize = 256;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves a connection, with `at_once` concurrent calls, until it ends or must be closed.
pub(super) async fn serve<C>(
    io: C,
    at_once: u32,
    (monitor, dispatcher): (ConnectionMonitor, Arc<Dispatcher>),
    tasks: Tasks,
) where
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let calls = CallService {
        dispatcher: dispatcher.clone(),
        monitor: monitor.clone(),
        info: io.connect_info(),
    };
    let io = TokioIo::new(CountingIo {
        inner: io,
        monitor: monitor.clone(),
    });
    let mut connection = std::pin::pin!(builder(tasks, at_once).serve_connection(io, calls));
    let shutdown = &dispatcher.shutdown;
    let mut is_stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = shutdown.abort.cancelled() => return,
            () = shutdown.stop.cancelled(), if !is_stopping => {
                if !monitor.has_received() {
                    return;
                }
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            why = monitor.close_reason() => match why {
                CloseReason::GoAway => {
                    monitor.go_away();
                    connection.as_mut().graceful_shutdown();
                }
                CloseReason::Unused => {
                    connection.as_mut().graceful_shutdown();
                    // Sends GOAWAY if that does not block, and takes a call that has just arrived.
                    if connection.as_mut().now_or_never().is_some() || monitor.is_unused() {
                        return;
                    }
                    monitor.go_away();
                }
                CloseReason::NoHandshake | CloseReason::UnreadAnswer | CloseReason::SlowRequest | CloseReason::Lingering => {
                    tracing::debug!(?why, "a connection was closed");
                    return;
                }
            },
        }
    }
}

fn builder(tasks: Tasks, at_once: u32) -> http2::Builder<TaskExecutor> {
    let mut builder = http2::Builder::new(TaskExecutor(tasks));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(at_once)
        .max_header_list_size(MAX_HEADERS)
        .header_table_size(HEADER_TABLE)
        .max_frame_size(MAX_FRAME)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MAX_RESET_BY_CLIENT)
        .max_local_error_reset_streams(MAX_RESET_BY_US)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Spawns the streams of a connection as tracked tasks, which a stop waits for. They end with their connection.
#[derive(Debug, Clone)]
struct TaskExecutor(Tasks);

impl<F> Executor<F> for TaskExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

/// Counts the bytes read from a connection.
struct CountingIo<C> {
    inner: C,
    monitor: ConnectionMonitor,
}

impl<C: AsyncRead + Unpin> AsyncRead for CountingIo<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        this.monitor.received(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for CountingIo<C> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
