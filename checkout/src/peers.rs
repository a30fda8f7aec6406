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
        Some(reason) if refusals.contains(&reason) => refusal(&status, reason),
        Some(_) | None => Answer::Unknown(status.into()),
    }
}

/// A refusal with its facts. Only one of stock has shortages.
fn refusal<T>(status: &Status, reason: Reason) -> Answer<T> {
    let shortages = match status::metadata(status, "shortages") {
        Some(json) => serde_json::from_str(&json),
        None => Ok(Vec::new()),
    };
    match shortages {
        Ok(shortages) => Answer::Refused(Failure {
            reason,
            message: status.message().to_owned(),
            shortages,
        }),
        Err(error) => Answer::Unknown(unreadable(format!("the shortages: {error}"))),
    }
}

/// A part of an answer that is not there, or is not what it must be. What the peer did or has is not known then.
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
            answer::<()>(Err(refusal.into()), &[Reason::OutOfStock])
        };
        let short = of(r#"[{"product_id":1,"requested":2,"available":1}]"#);
        assert!(
            matches!(&short, Answer::Refused(failure) if failure.shortages.len() == 1),
            "{short:?}"
        );
        let broken = of("[{");
        assert!(matches!(broken, Answer::Unknown(_)), "{broken:?}");
    }
}
