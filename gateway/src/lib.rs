//! REST in front of the services: authenticate, decode, call, encode. It knows no business rule.

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

pub use caller::Proxied;
pub use config::{Config, Peers, Secret};
pub use refusals::problem_of;

use limits::Limits;
use problem::{Problem, not_found, wrong_method};
use shared::Shared;

/// All routes, with their limits, over these peers. `health` is that of the process.
pub fn router(config: Config, peers: Peers, health: Health, runtime: &Runtime) -> Router {
    let limits = Limits::new(&config);
    // A purchase may take longer than other requests are allowed to.
    let patient = limits.with_time(
        config
            .request_timeout
            .max(routes::checkout::time_limit(config.checkout_timeout)),
    );
    let shared = Arc::new(Shared::new(config, peers, runtime.clock.clone()));
    let limited = |routes: Router<_>, limits| routes.layer(from_fn_with_state(limits, limits::enforce));
    let personal = routes::cart::routes()
        .merge(routes::checkout::reads())
        .merge(routes::orders::routes());
    let personal = limited(personal, limits.clone())
        .merge(limited(routes::checkout::purchase(), patient))
        .layer(from_fn_with_state(shared.clone(), caller::identify))
        .layer(map_response(auth::not_stored));
    Router::new()
        .merge(limited(routes::products::routes(), limits))
        .merge(personal)
        .merge(routes::health::routes(health))
        .fallback(not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(runtime.ids.clone(), request::scope))
        .with_state(shared)
}

/// What a handler answers.
type Answer = Result<axum::response::Response, Problem>;
