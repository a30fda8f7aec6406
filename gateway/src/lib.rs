//! REST in front of the services: authenticate, decode, call, encode. No business rules.

mod auth;
mod body;
mod caller;
mod config;
mod encode;
mod etag;
mod key;
mod limits;
mod path;
pub mod problem;
mod query;
mod refusals;
mod request;
mod routes;
mod shared;
pub mod token;

use std::sync::Arc;

use axum::{
    Router,
    middleware::{from_fn_with_state, map_response},
};
use runtime::{Health, Runtime};

pub use caller::ForwardedFor;
pub use config::{Config, Peers, Secret};
pub use refusals::problem_of;

use limits::RequestLimits;
use problem::{Problem, method_not_allowed, not_found};
use shared::Shared;

/// All routes with their limits. `health` is that of the process.
pub fn router(config: Config, peers: Peers, health: Health, runtime: &Runtime) -> Router {
    let limits = RequestLimits::new(&config);
    // A purchase gets more than the timeout of a request if `checkout_timeout` needs it.
    let purchase_limits = limits.with_timeout(
        config
            .request_timeout
            .max(routes::checkout::purchase_timeout(config.checkout_timeout)),
    );
    let shared = Arc::new(Shared::new(config, peers, runtime.clock.clone()));
    let limited = |routes: Router<_>, limits| routes.layer(from_fn_with_state(limits, limits::enforce));
    let authenticated = routes::cart::routes()
        .merge(routes::checkout::reads())
        .merge(routes::orders::routes());
    let authenticated = limited(authenticated, limits.clone())
        .merge(limited(routes::checkout::purchase(), purchase_limits))
        .layer(from_fn_with_state(shared.clone(), caller::identify))
        .layer(map_response(auth::no_store));
    Router::new()
        .merge(limited(routes::products::routes(), limits))
        .merge(authenticated)
        .merge(routes::health::routes(health))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(runtime.ids.clone(), request::scope))
        .with_state(shared)
}

type HandlerResult = Result<axum::response::Response, Problem>;
