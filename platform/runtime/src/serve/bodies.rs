//! Bodies of calls that know when their service stops.

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

use super::watch::{Call, OnItsWay, Watch};

/// What a client is told whose call cannot go on because the service stops.
pub(super) fn stopping() -> Status {
    Status::unavailable("the service is stopping")
}

/// What a client is told whose stream cannot go on.
fn over() -> Status {
    Status::unavailable("the stream ends here; call again")
}

/// What a client is told for whose answer there is no room.
fn too_much() -> Status {
    Status::unavailable("too many answers have not been taken; call again")
}

/// The last frame of an answer that goes no further.
fn end<D>(status: &Status) -> Result<Frame<D>, Status> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))
}

/// The answer to a call, which is in flight until its last frame was taken. Each piece is watched until it has left. If it may
/// be withheld, a piece for which there is no room is not given, and a status ends the answer in its place.
pub(super) struct Answering {
    pub(super) body: Body,
    pub(super) may_be_withheld: bool,
    pub(super) in_flight: Option<TaskTrackerToken>,
    pub(super) _call: Call,
    pub(super) watch: Watch,
    pub(super) complete: fn(Status) -> Status,
}

impl HttpBody for Answering {
    type Data = Piece;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Piece>, Status>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        if matches!(frame, None | Some(Err(_))) {
            this.in_flight = None;
        }
        let bytes_of = |frame: &Result<Frame<Bytes>, Status>| Some(frame.as_ref().ok()?.data_ref()?.len());
        if frame
            .as_ref()
            .and_then(bytes_of)
            .is_some_and(|bytes| this.may_be_withheld && this.watch.refuses(bytes))
        {
            this.in_flight = None;
            this.body = Body::empty();
            return Poll::Ready(Some(end(&(this.complete)(too_much()))));
        }
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|bytes| Piece {
                    _on_its_way: this.watch.answer(bytes.len()),
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

/// A piece of an answer.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    _on_its_way: OnItsWay,
}

impl Buf for Piece {
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

/// A request that counts what has come of it, until it has come whole.
pub(super) struct Arriving {
    pub(super) body: Incoming,
    pub(super) on_its_way: Option<OnItsWay>,
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match (&frame, &mut this.on_its_way) {
            (Some(Ok(frame)), Some(on_its_way)) => {
                if !on_its_way.grow(frame.data_ref().map_or(0, Bytes::len)) {
                    return Poll::Ready(Some(Err(Status::unavailable(
                        "too much is being sent at once; call again",
                    ))));
                }
            }
            (None | Some(Err(_)), on_its_way) => *on_its_way = None,
            (Some(Ok(_)), None) => {}
        }
        if this.body.is_end_stream() {
            this.on_its_way = None;
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

/// A body whose next frame is waited for until a token is cancelled; then `end` comes in its place.
pub(super) struct Until {
    body: Body,
    token: CancellationToken,
    /// Made when the body is waited for the first time.
    cancelled: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    end: End,
    has_ended: bool,
}

/// How a body ends that is not waited for any longer.
#[derive(Debug, Clone, Copy)]
enum End {
    /// A request that did not arrive whole.
    Failure,
    /// A stream of answers: with its status.
    Trailers(fn(Status) -> Status),
}

impl Until {
    /// A request that must have arrived whole by then, or it fails.
    pub(super) fn arrived(body: Body, late: &CancellationToken) -> Self {
        Self::new(body, late, End::Failure)
    }

    /// A stream of answers that goes on until then.
    pub(super) fn streamed(body: Body, stop: &CancellationToken, complete: fn(Status) -> Status) -> Self {
        Self::new(body, stop, End::Trailers(complete))
    }

    fn new(body: Body, token: &CancellationToken, end: End) -> Self {
        Self {
            body,
            token: token.clone(),
            cancelled: None,
            end,
            has_ended: false,
        }
    }
}

impl HttpBody for Until {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }
        if let frame @ Poll::Ready(_) = Pin::new(&mut this.body).poll_frame(cx) {
            return frame;
        }
        let token = &this.token;
        let cancelled = this
            .cancelled
            .get_or_insert_with(|| Box::pin(token.clone().cancelled_owned()));
        if cancelled.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        this.has_ended = true;
        Poll::Ready(Some(match this.end {
            End::Failure => Err(stopping()),
            End::Trailers(complete) => end(&complete(over())),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.end {
            End::Failure => self.body.size_hint(),
            End::Trailers(_) => SizeHint::default(),
        }
    }
}
