//! One connection, from its first byte to its end.

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
    calls::{Around, Calls},
    watch::{Overdue, Watch},
};
use crate::Tasks;

/// The headers of one request, in bytes, as they are counted: decoded, with 32 bytes more for each.
const MAX_HEADERS: u32 = 16 * 1024;
/// The memory of header compression.
const HEADER_TABLE: u32 = 4 * 1024;
const MAX_FRAME: u32 = 16 * 1024;
/// What a client may send before it is read, on one stream and on all of a connection: one message of the largest size. What
/// waits here for its turn is counted by nobody.
const WINDOW: u32 = 256 * 1024;
/// What is buffered of an answer beyond the piece that was made.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that the client has reset and that were not looked at yet, and those that it had reset by breaking the protocol;
/// more is a flood, and the connection is closed.
const MAX_RESET_BY_CLIENT: usize = 20;
const MAX_RESET_BY_US: usize = 256;
/// When a client is asked whether it is there, and how long it may take to say so.
const ARE_YOU_THERE: Duration = Duration::from_secs(30);
const I_AM: Duration = Duration::from_secs(20);

/// Serves a connection, with so many calls at once, until it ends, or has to.
pub(super) async fn serve<C>(io: C, at_once: u32, (watch, around): (Watch, Arc<Around>), tasks: Tasks)
where
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let calls = Calls {
        around: around.clone(),
        watch: watch.clone(),
        info: io.connect_info(),
    };
    let io = TokioIo::new(Watched {
        inner: io,
        watch: watch.clone(),
    });
    let mut connection = std::pin::pin!(builder(tasks, at_once).serve_connection(io, calls));
    let ending = &around.ending;
    let mut is_stopping = false;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = ending.cut.cancelled() => return,
            () = ending.stop.cancelled(), if !is_stopping => {
                if !watch.has_begun() {
                    return;
                }
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            why = watch.overdue() => match why {
                Overdue::Dismissed => {
                    watch.leave();
                    connection.as_mut().graceful_shutdown();
                }
                Overdue::Unused => {
                    connection.as_mut().graceful_shutdown();
                    // Sends that, as far as it can be sent at once, and takes a call that has just come.
                    if connection.as_mut().now_or_never().is_some() || watch.is_unused() {
                        return;
                    }
                    watch.leave();
                }
                Overdue::Silent | Overdue::Unread | Overdue::Unfinished | Overdue::Lingering => {
                    tracing::debug!(?why, "a connection was cut");
                    return;
                }
            },
        }
    }
}

fn builder(tasks: Tasks, at_once: u32) -> http2::Builder<OnTasks> {
    let mut builder = http2::Builder::new(OnTasks(tasks));
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
        .keep_alive_interval(ARE_YOU_THERE)
        .keep_alive_timeout(I_AM);
    builder
}

/// Runs the streams of a connection as tasks that a stop waits for. They end with their connection.
#[derive(Debug, Clone)]
struct OnTasks(Tasks);

impl<F> Executor<F> for OnTasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

/// A connection whose bytes are counted.
struct Watched<C> {
    inner: C,
    watch: Watch,
}

impl<C: AsyncRead + Unpin> AsyncRead for Watched<C> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        this.watch.came(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Watched<C> {
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
