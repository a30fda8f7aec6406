//! `/health`, `/health/live` and `/health/ready`.

use std::sync::Arc;

use axum::{
    Router,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
    routing::get,
};
use runtime::Health;

use crate::shared::Shared;

/// Without token and limits: a busy process is alive.
pub(crate) fn routes(health: Health) -> Router<Arc<Shared>> {
    Router::new().route("/health", get(ok)).merge(health.routes())
}

async fn ok() -> Response {
    ([(CONTENT_TYPE, "application/json")], r#"{"status":"ok"}"#).into_response()
}
