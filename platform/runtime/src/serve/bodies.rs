//! Request and answer bodies that report their progress and obey a stop.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::{
    sync::{CancellationToken, WaitForCancellationFutureOwned},
    task::task_tracker::TaskTrackerToken,
};
use tonic::{Status, body::Body};

use super::monitor::{CallGuard, ConnectionMonitor, Transfer};

/// For calls that cannot go on because the service stops.
pub(super) fn stopping_status() -> Status {
    Status::unavailable("the service is stopping")
}

/// For streams that must end.
fn stream_over_status() -> Status {
    Status::unavailable("the stream ends here; call again")
}

/// For answers that memory is too short for.
fn no_memory_status() -> Status {
    Status::unavailable("too many answers are unread; call again")
}

/// The last frame of an answer that ends early.
fn status_trailers<D>(status: &Status) -> Result<Frame<D>, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))
}

/// The answer to a call, in flight until its last frame is sent. The monitor tracks each chunk until it is sent. Under
/// memory pressure, a chunk that may be withheld is replaced by a final status.
pub(super) struct AnswerBody {
    pub(super) body: Body,
    pub(super) may_be_withheld: bool,
    pub(super) in_flight: Option<TaskTrackerToken>,
    pub(super) _call: CallGuard,
    pub(super) monitor: ConnectionMonitor,
    pub(super) add_status_details: fn(Status) -> Status,
}

impl HttpBody for AnswerBody {
    type Data = TrackedChunk;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<TrackedChunk>, Status>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if matches!(frame, None | Some(Err(_))) {
            this.in_flight = None;
        }
        let bytes_of = |frame: &Result<Frame<Bytes>, Status>| Some(frame.as_ref().ok()?.data_ref()?.len());
        if frame
            .as_ref()
            .and_then(bytes_of)
            .is_some_and(|bytes| this.may_be_withheld && this.monitor.refuses(bytes))
        {
            this.in_flight = None;
            this.body = Body::empty();
            return Poll::Ready(Some(status_trailers(&(this.add_status_details)(no_memory_status()))));
        }
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|bytes| TrackedChunk {
                    _transfer: this.monitor.answer(bytes.len()),
                    bytes,
                })
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A chunk of an answer, tracked until it is sent.
#[derive(Debug)]
pub(super) struct TrackedChunk {
    bytes: Bytes,
    _transfer: Transfer,
}

impl Buf for TrackedChunk {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

/// A request body that counts received bytes until the request is complete.
pub(super) struct RequestBody {
    pub(super) body: Incoming,
    pub(super) transfer: Option<Transfer>,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match (&frame, &mut this.transfer) {
            (Some(Ok(frame)), Some(transfer)) => {
                if !transfer.grow(frame.data_ref().map_or(0, Bytes::len)) {
                    return Poll::Ready(Some(Err(Status::unavailable(
                        "too many requests are incomplete; call again",
                    ))));
                }
            }
            (None | Some(Err(_)), transfer) => *transfer = None,
            (Some(Ok(_)), None) => {}
        }
        if this.body.is_end_stream() {
            this.transfer = None;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| Status::from_error(error.into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that is awaited until a token is cancelled. Then it ends as `on_cancel` says.
pub(super) struct CancellableBody {
    body: Body,
    token: CancellationToken,
    /// Created on the first pending poll.
    cancellation: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    on_cancel: OnCancel,
    is_cancelled: bool,
}

/// How a cancelled body ends.
#[derive(Debug, Clone, Copy)]
enum OnCancel {
    /// With an error: the request is incomplete.
    Fail,
    /// With a status: the answer stream ends.
    Trailers(fn(Status) -> Status),
}

impl CancellableBody {
    /// A request that fails if it is incomplete when the token is cancelled.
    pub(super) fn until_received(body: Body, reject_incomplete: &CancellationToken) -> Self {
        Self::new(body, reject_incomplete, OnCancel::Fail)
    }

    /// A stream of answers that goes on until the token is cancelled.
    pub(super) fn until_stopped(
        body: Body,
        stop: &CancellationToken,
        add_status_details: fn(Status) -> Status,
    ) -> Self {
        Self::new(body, stop, OnCancel::Trailers(add_status_details))
    }

    fn new(body: Body, token: &CancellationToken, on_cancel: OnCancel) -> Self {
        Self {
            body,
            token: token.clone(),
            cancellation: None,
            on_cancel,
            is_cancelled: false,
        }
    }
}

impl HttpBody for CancellableBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.is_cancelled {
            return Poll::Ready(None);
        }
        if let frame @ Poll::Ready(_) = Pin::new(&mut this.body).poll_frame(cx) {
            return frame;
        }
        let token = &this.token;
        let cancellation = this
            .cancellation
            .get_or_insert_with(|| Box::pin(token.clone().cancelled_owned()));
        if cancellation.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.is_cancelled = true;
        Poll::Ready(Some(match this.on_cancel {
            OnCancel::Fail => Err(stopping_status()),
            OnCancel::Trailers(add_status_details) => status_trailers(&add_status_details(stream_over_status())),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.is_cancelled || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.on_cancel {
            OnCancel::Fail => self.body.size_hint(),
            OnCancel::Trailers(_) => SizeHint::default(),
        }
    }
}
