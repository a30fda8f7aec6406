//! Other services behind ports: their statuses become this domain's words here, and only here.

pub(crate) mod cart;
pub(crate) mod inventory;
pub(crate) mod payment;
pub(crate) mod product;

use proto::{Reason, status};
use tonic::{Response, Status};

use crate::{
    domain::Failure,
    ports::{Answer, PeerError},
};

impl From<Status> for PeerError {
    fn from(status: Status) -> Self {
        Self(status.into())
    }
}

/// Reads an answer. Only a reason that this peer is known to refuse for is a refusal; everything else (unavailable, a lost
/// connection, a deadline, tonic's own `Cancelled`, a reason nobody expected) leaves the outcome unknown.
fn answer<T>(result: Result<Response<T>, Status>, refusals: &[Reason]) -> Answer<T> {
    let status = match result {
        Ok(response) => return Answer::Done(response.into_inner()),
        Err(status) => status,
    };
    match status::refused(&status) {
        Some(reason) if refusals.contains(&reason) => {
            let shortages = status::metadata(&status, "shortages").and_then(|json| serde_json::from_str(&json).ok());
            let message = status.message().to_owned();
            Answer::Refused(Failure {
                reason,
                message,
                shortages: shortages.unwrap_or_default(),
            })
        }
        Some(_) | None => Answer::Unknown(status.into()),
    }
}
