//! The adapters to other services: gRPC statuses become domain outcomes here, and only here.

pub(crate) mod cart;
pub(crate) mod inventory;
pub(crate) mod payment;
pub(crate) mod product;

use proto::{Reason, status};
use tonic::{Response, Status};

use crate::{
    domain::Failure,
    ports::{PeerError, PeerOutcome},
};

impl From<Status> for PeerError {
    fn from(status: Status) -> Self {
        Self(status.into())
    }
}

/// The outcome of a call. It is refused only for one of these reasons, for which the peer is known to refuse this call.
/// Otherwise it is unknown: unavailable, a lost connection, a deadline, tonic's own `Cancelled`, an unexpected reason.
fn outcome<T>(result: Result<Response<T>, Status>, refusals: &[Reason]) -> PeerOutcome<T> {
    let status = match result {
        Ok(response) => return PeerOutcome::Done(response.into_inner()),
        Err(status) => status,
    };
    match status::refused(&status) {
        Some(reason) if refusals.contains(&reason) => refusal(&status, reason),
        Some(_) | None => PeerOutcome::Unknown(status.into()),
    }
}

/// A refusal with its facts. Only a refused Reserve has shortages.
fn refusal<T>(status: &Status, reason: Reason) -> PeerOutcome<T> {
    let shortages = match status::metadata(status, "shortages") {
        Some(json) => serde_json::from_str(&json),
        None => Ok(Vec::new()),
    };
    match shortages {
        Ok(shortages) => PeerOutcome::Refused(Failure {
            reason,
            message: status.message().to_owned(),
            shortages,
        }),
        Err(error) => PeerOutcome::Unknown(unreadable(format!("the shortages: {error}"))),
    }
}

/// The error for an answer of which this part is missing or invalid: what the peer did is unknown.
fn unreadable(part: impl std::fmt::Display) -> PeerError {
    Status::data_loss(format!("the answer cannot be read: {part}")).into()
}

#[cfg(test)]
mod tests {
    use proto::{Fact, status::Refusal};

    use super::*;

    #[test]
    fn shortages_that_cannot_be_read_leave_the_outcome_unknown() {
        let of = |shortages: &str| {
            let refusal = Refusal::new(Reason::OutOfStock, "out of stock").with(Fact::Shortages, shortages);
            outcome::<()>(Err(refusal.into()), &[Reason::OutOfStock])
        };
        let short = of(r#"[{"product_id":1,"requested":2,"available":1}]"#);
        assert!(
            matches!(&short, PeerOutcome::Refused(failure) if failure.shortages.len() == 1),
            "{short:?}"
        );
        let broken = of("[{");
        assert!(matches!(broken, PeerOutcome::Unknown(_)), "{broken:?}");
    }
}
