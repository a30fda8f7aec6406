//! The payment service: charges and refunds.

use async_trait::async_trait;
use money::Money;
use proto::{
    Reason,
    payment::v1::{
        self as wire, ChargeRequest, GetPaymentRequest, PaymentStatus, RefundRequest,
        payment_service_client::PaymentServiceClient,
    },
    status,
};
use runtime::{channel::Peer, deadlines::PROVIDER_CALL};
use tonic::Request;

use super::{outcome, unreadable};
use crate::{
    domain::{CheckoutId, Failure, PaymentMethod},
    ports::{Payment, Payments, PeerError, PeerOutcome},
};

/// The reasons for which payment refuses a charge.
const DECLINES: [Reason; 6] = [
    Reason::CardDeclined,
    Reason::InsufficientFunds,
    Reason::CardExpired,
    Reason::InvalidCvc,
    Reason::InvalidPaymentMethod,
    Reason::PaymentCancelled,
];

pub(crate) struct GrpcPayments(PaymentServiceClient<Peer>);

impl GrpcPayments {
    pub(crate) fn new(peer: Peer) -> Self {
        Self(PaymentServiceClient::new(peer))
    }
}

#[async_trait]
impl Payments for GrpcPayments {
    async fn charge(&self, id: CheckoutId, amount: Money, method: &PaymentMethod) -> PeerOutcome<String> {
        let mut request = Request::new(ChargeRequest {
            checkout_id: id.to_string(),
            amount: Some(amount.into()),
            payment_method: method.as_str().to_owned(),
        });
        request.set_timeout(PROVIDER_CALL);
        outcome(self.0.clone().charge(request).await, &DECLINES).and_then(|response| payment_id(response.payment))
    }

    async fn refund(&self, id: CheckoutId) -> PeerOutcome<()> {
        let mut request = Request::new(RefundRequest {
            checkout_id: id.to_string(),
        });
        request.set_timeout(PROVIDER_CALL);
        outcome(self.0.clone().refund(request).await, &[]).map(drop)
    }

    async fn find(&self, id: CheckoutId) -> Result<Payment, PeerError> {
        let request = GetPaymentRequest {
            checkout_id: id.to_string(),
        };
        match self.0.clone().get_payment(request).await {
            Ok(response) => read_payment(response.into_inner().payment),
            Err(status) if status::refused(&status) == Some(Reason::PaymentNotFound) => Ok(Payment::Open),
            Err(status) => Err(status.into()),
        }
    }
}

fn payment_id(payment: Option<wire::Payment>) -> Result<String, PeerError> {
    let payment = payment.ok_or_else(|| unreadable("it has no payment"))?;
    if payment.payment_id.is_empty() {
        return Err(unreadable("its payment has no id"));
    }
    Ok(payment.payment_id)
}

fn read_payment(payment: Option<wire::Payment>) -> Result<Payment, PeerError> {
    let payment = payment.ok_or_else(|| unreadable("it has no payment"))?;
    let declined = |reason, message: &str| {
        Payment::Declined(Failure {
            reason,
            message: message.to_owned(),
            shortages: Vec::new(),
        })
    };
    Ok(match payment.status() {
        PaymentStatus::Unspecified => return Err(unreadable(format!("its payment has status {}", payment.status))),
        PaymentStatus::Pending => Payment::Open,
        PaymentStatus::Succeeded => Payment::Succeeded {
            payment_id: payment_id(Some(payment))?,
        },
        PaymentStatus::Declined => {
            // That the payment was declined is certain, even if a later version of payment has another reason for it.
            let reason = Reason::parse(&payment.decline_reason).filter(|reason| DECLINES.contains(reason));
            declined(reason.unwrap_or(Reason::CardDeclined), "the payment was declined")
        }
        PaymentStatus::Refunded | PaymentStatus::Cancelled => {
            declined(Reason::PaymentCancelled, "the payment was cancelled")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payment(status: PaymentStatus, payment_id: &str, decline_reason: &str) -> wire::Payment {
        wire::Payment {
            payment_id: payment_id.to_owned(),
            status: status.into(),
            decline_reason: decline_reason.to_owned(),
            ..wire::Payment::default()
        }
    }

    #[test]
    fn a_charge_without_a_payment_or_its_id_is_unknown() {
        let of = |payment| PeerOutcome::Done(payment).and_then(payment_id);
        for lacking in [None, Some(payment(PaymentStatus::Succeeded, "", ""))] {
            let outcome = of(lacking);
            assert!(matches!(outcome, PeerOutcome::Unknown(_)), "{outcome:?}");
        }
        let whole = of(Some(payment(PaymentStatus::Succeeded, "pay_1", "")));
        assert!(matches!(&whole, PeerOutcome::Done(id) if id == "pay_1"), "{whole:?}");
    }

    #[test]
    fn a_missing_or_unreadable_payment_is_an_error_and_not_an_open_payment() {
        let mut later = payment(PaymentStatus::Pending, "pay_1", "");
        later.status = 99;
        for lacking in [
            None,
            Some(wire::Payment::default()),
            Some(later),
            Some(payment(PaymentStatus::Succeeded, "", "")),
        ] {
            let payment = read_payment(lacking);
            assert!(payment.is_err(), "{payment:?}");
        }
        let open = read_payment(Some(payment(PaymentStatus::Pending, "pay_1", "")));
        assert!(matches!(open, Ok(Payment::Open)), "{open:?}");
    }

    #[test]
    fn a_decline_for_a_reason_of_a_later_version_is_a_decline() {
        for (text, reason) in [
            ("CARD_EXPIRED", Reason::CardExpired),
            ("A_REASON_OF_LATER", Reason::CardDeclined),
            ("", Reason::CardDeclined),
        ] {
            let declined = read_payment(Some(payment(PaymentStatus::Declined, "pay_1", text)));
            assert!(
                matches!(&declined, Ok(Payment::Declined(failure)) if failure.reason == reason),
                "{declined:?}"
            );
        }
    }
}
