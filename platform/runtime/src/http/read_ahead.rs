//! Bytes behind a request that is being answered. hyper reads some of them ahead and buffers them.

use hyper::{
    Request,
    body::{Body, Incoming},
};

use crate::serve::BufferedBytes;

/// Fewer bytes do not count as the beginning of the next request. `RequestSize` misses spaces around header values and
/// empty lines before a head, so a client that sends these seems to have sent more than its request. A partial head of
/// this size therefore goes unnoticed: its connection counts as idle.
const MIN_READ_AHEAD: usize = 1024;

/// The size of a request, as far as its head tells.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestSize {
    pub(super) head: usize,
    /// `None` if the size is not known in advance.
    pub(super) body: Option<usize>,
}

impl RequestSize {
    pub(super) fn of(request: &Request<Incoming>) -> Self {
        let (uri, headers) = (request.uri(), request.headers());
        let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
        let authority = uri.authority().map_or(0, |it| it.as_str().len() + "http://".len());
        let first = request.method().as_str().len() + authority + path + "  HTTP/1.1\r\n".len();
        let fields = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
        let body = request.body().size_hint().exact();
        Self {
            head: first + fields.sum::<usize>() + "\r\n".len(),
            body: body.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX)),
        }
    }
}

/// Counts the bytes behind a request.
#[derive(Debug)]
pub(super) struct ReadAhead {
    buffered: BufferedBytes,
    bytes: usize,
    /// The bytes of the request itself that are still to come.
    remaining: usize,
}

impl ReadAhead {
    /// Starts counting. `received` bytes have come since the request began.
    pub(super) fn new(buffered: BufferedBytes, received: usize, request: RequestSize) -> Self {
        let mut read_ahead = Self {
            buffered,
            bytes: 0,
            remaining: request
                .body
                .map_or(usize::MAX, |body| body.saturating_add(request.head)),
        };
        read_ahead.received(received);
        read_ahead
    }

    pub(super) fn received(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.remaining);
        self.remaining = self.remaining.saturating_sub(bytes);
        self.bytes += more;
        self.buffered.grow(more);
    }

    /// The bytes of the next request and their number, if enough have come to count.
    pub(super) fn into_next_request(self) -> Option<(BufferedBytes, usize)> {
        (self.bytes > MIN_READ_AHEAD).then_some((self.buffered, self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use crate::serve::Capacity;

    use super::*;

    #[test]
    fn bytes_behind_a_request_belong_to_the_next_one() {
        let next_request = |received: &[usize], head, body| {
            let mut read_ahead = ReadAhead::new(Capacity::new(1, 1).request(), received[0], RequestSize { head, body });
            received[1..].iter().for_each(|bytes| read_ahead.received(*bytes));
            read_ahead.into_next_request().map(|(_, bytes)| bytes)
        };
        assert_eq!(next_request(&[100], 100, Some(0)), None);
        assert_eq!(next_request(&[100 + MIN_READ_AHEAD], 100, Some(0)), None);
        assert_eq!(next_request(&[5000], 100, Some(0)), Some(4900));
        assert_eq!(next_request(&[100, 5000], 100, Some(0)), Some(5000));
        assert_eq!(next_request(&[100, 5000], 100, Some(5000)), None);
        assert_eq!(next_request(&[3000, 3000, 3000], 100, Some(4900)), Some(4000));
        assert_eq!(next_request(&[100, 50_000], 100, None), None);
    }
}
