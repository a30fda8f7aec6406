//! Problems for requests that the server refuses before they reach a route.

use axum::{
    body::Bytes,
    http::{HeaderMap, Response},
};
use proto::Reason;
use runtime::{http::Refused, permits::LimitReached};

use crate::problem::Problem;

/// For [`runtime::http::serve`].
pub fn problem_of(why: Refused, path: &str, request_id: &str) -> Response<Bytes> {
    let problem = match why {
        Refused::UriTooLong => Problem::of(Reason::UriTooLong),
        Refused::HeadTooLarge => Problem::of(Reason::HeadersTooLarge),
        Refused::NotHttp => Problem::new(Reason::InvalidRequest, "the request is not valid HTTP"),
        Refused::HeadTooSlow => Problem::new(Reason::RequestTimeout, "the head of the request came too slowly"),
        Refused::TooManyConnections(LimitReached::PerCaller) => {
            Problem::new(Reason::RateLimitExceeded, "too many connections from this address")
        }
        Refused::TooManyConnections(LimitReached::Total) | Refused::MemoryLimit => {
            Problem::of(Reason::ServiceUnavailable)
        }
    };
    let mut headers = HeaderMap::new();
    problem.write_headers(&mut headers);
    let mut response = Response::new(problem.document(path, request_id).into());
    *response.status_mut() = problem.status();
    *response.headers_mut() = headers;
    response
}
