//! Who is behind a request: found out once, before its body is read, for the limits and for the handler.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{Extensions, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{auth::User, encode, problem::Problem, shared::Shared};

/// The address that a request came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientAddress(pub(crate) IpAddr);

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
    pub(crate) fn of(request: &'a Request) -> Self {
        let extensions = request.extensions();
        extensions
            .get::<User>()
            .map(|user| Self::User(user.0.as_str()))
            .or_else(|| address(extensions).map(Self::Address))
            .unwrap_or(Self::Nobody)
    }
}

/// A customer of IPv6 has a network of 64 bits, not one address.
fn address(extensions: &Extensions) -> Option<IpAddr> {
    extensions
        .get()
        .map(|ClientAddress(address)| match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
            address @ IpAddr::V4(_) => address,
        })
}
