//! The caller of a request: found once, before the body is read, for the limits and for the handler.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use proto::ids::UserId;
use runtime::{http::ClientAddress, serve::network};

use crate::{auth, encode, problem::Problem, shared::Shared};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether a trusted proxy in front of the gateway writes `X-Forwarded-For`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedFor {
    Ignored,
    /// The last address in `X-Forwarded-For` is the client's.
    Trusted,
}

/// The user whom [`identify`] authenticated. A handler takes it as an argument.
#[derive(Debug, Clone)]
pub(crate) struct User(UserId);

impl User {
    pub(crate) fn into_id(self) -> String {
        self.0.into_string()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for User {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        encode::required(parts.extensions.remove(), "user")
    }
}

/// Authenticates the request first: without a valid token no body is read, and no other fault of the request is shown.
pub(crate) async fn identify(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    match auth::authenticate(request.headers(), &shared) {
        Ok(user) => {
            request.extensions_mut().insert(User(user));
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Whom the limits count a request for: its user, or its address if it has no user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Caller<'a> {
    User(&'a str),
    Address(IpAddr),
    /// Without a socket, in tests.
    Unknown,
}

impl<'a> Caller<'a> {
    pub(crate) fn of(request: &'a Request, forwarded_for: ForwardedFor) -> Self {
        if let Some(user) = request.extensions().get::<User>() {
            return Self::User(user.0.as_str());
        }
        let ClientAddress(socket) = match request.extensions().get() {
            Some(address) => *address,
            None => return Self::Unknown,
        };
        let address = match forwarded_for {
            ForwardedFor::Ignored => socket,
            ForwardedFor::Trusted => forwarded_address(request.headers()).unwrap_or(socket),
        };
        Self::Address(network(address))
    }
}

/// The last address in `X-Forwarded-For`, which the proxy wrote. The client can write the addresses before it.
fn forwarded_address(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(X_FORWARDED_FOR).iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}
