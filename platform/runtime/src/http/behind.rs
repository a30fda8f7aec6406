//! What comes behind a request while that is answered. hyper reads some of it ahead, and keeps it.

use hyper::{
    Request,
    body::{Body, Incoming},
};

use crate::serve::Held;

/// Up to this many bytes are not taken for the beginning of the next request. hyper leaves out blanks around values and empty
/// lines before a head, so a client that writes these seems to have sent more than its request. A half head of this size is
/// therefore not noticed: its connection counts as idle.
const LITTLE: usize = 1024;

/// How large a request is, as far as that can be told from its head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) head: usize,
    /// None when that is not known before it has come.
    pub(super) body: Option<usize>,
}

impl Size {
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

/// What has come behind a request.
#[derive(Debug)]
pub(super) struct Behind {
    held: Held,
    bytes: usize,
    /// What is still to come of the request itself.
    missing: usize,
}

impl Behind {
    /// Behind a request, since whose beginning so many bytes have come.
    pub(super) fn new(held: Held, came: usize, request: Size) -> Self {
        let mut behind = Self {
            held,
            bytes: 0,
            missing: request
                .body
                .map_or(usize::MAX, |body| body.saturating_add(request.head)),
        };
        behind.came(came);
        behind
    }

    pub(super) fn came(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.missing);
        self.missing = self.missing.saturating_sub(bytes);
        self.bytes += more;
        self.held.grow(more);
    }

    /// What there is of the next request, once this one is answered: its bytes, and how many those are.
    pub(super) fn rest(self) -> Option<(Held, usize)> {
        (self.bytes > LITTLE).then_some((self.held, self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use crate::serve::Capacity;

    use super::*;

    #[test]
    fn what_a_request_does_not_take_is_behind_it() {
        let rest = |came: &[usize], head, body| {
            let mut behind = Behind::new(Capacity::new(1, 1).request(), came[0], Size { head, body });
            came[1..].iter().for_each(|bytes| behind.came(*bytes));
            behind.rest().map(|(_, bytes)| bytes)
        };
        assert_eq!(rest(&[100], 100, Some(0)), None);
        assert_eq!(rest(&[100 + LITTLE], 100, Some(0)), None);
        assert_eq!(rest(&[5000], 100, Some(0)), Some(4900));
        assert_eq!(rest(&[100, 5000], 100, Some(0)), Some(5000));
        assert_eq!(rest(&[100, 5000], 100, Some(5000)), None);
        assert_eq!(rest(&[3000, 3000, 3000], 100, Some(4900)), Some(4000));
        assert_eq!(rest(&[100, 50_000], 100, None), None);
    }
}
