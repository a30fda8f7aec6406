//! Who is behind a request: found out once, before its body is read, for the limits and for the handler.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};

use runtime::{http::ClientAddress, serve::network};

use crate::{auth::User, encode, problem::Problem, shared::Shared};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether a proxy stands in front of the gateway that says for whom it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxied {
    Not,
    /// The last address in `X-Forwarded-For` is the client's.
    Trusted,
}

/// The user of a request to a route that wants one.
#[derive(Debug)]
pub(crate) struct Customer(User);

impl Customer {
    /// The id as requests to the services carry it.
    pub(crate) fn into_id(self) -> String {
        self.0.into_id()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Customer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        encode::required(parts.extensions.remove(), "user").map(Self)
    }
}

/// Lets nobody through who cannot prove who they are.
pub(crate) async fn identify(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match User::from_request_parts(&mut parts, &shared).await {
        Ok(user) => {
            parts.extensions.insert(user);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Whom a request counts for: its user, or its address where there is no user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Caller<'a> {
    User(&'a str),
    Address(IpAddr),
    /// No socket: a test.
    Nobody,
}

impl<'a> Caller<'a> {
    pub(crate) fn of(request: &'a Request, proxied: Proxied) -> Self {
        if let Some(user) = request.extensions().get::<User>() {
            return Self::User(user.0.as_str());
        }
        let ClientAddress(socket) = match request.extensions().get() {
            Some(address) => *address,
            None => return Self::Nobody,
        };
        let address = match proxied {
            Proxied::Not => socket,
            Proxied::Trusted => forwarded_for(request.headers()).unwrap_or(socket),
        };
        Self::Address(network(address))
    }
}

/// The address that the proxy in front saw: the last one in `X-Forwarded-For`. Those before it are the client's own words.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let last = headers.get_all(X_FORWARDED_FOR).iter().next_back()?;
    last.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}
