//! Charges and refunds, at the payment service.

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

use super::{answer, unreadable};
use crate::{
    domain::{CheckoutId, Failure, PaymentMethod},
    ports::{Answer, Payment, Payments, PeerError},
};

/// For what a provider refuses a charge.
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
    async fn charge(&self, id: CheckoutId, amount: Money, method: &PaymentMethod) -> Answer<String> {
        let mut request = Request::new(ChargeRequest {
            checkout_id: id.to_string(),
            amount: Some(amount.into()),
            payment_method: method.as_str().to_owned(),
        });
        request.set_timeout(PROVIDER_CALL);
        answer(self.0.clone().charge(request).await, &DECLINES).and_then(|response| charged(response.payment))
    }

    async fn refund(&self, id: CheckoutId) -> Answer<()> {
        let mut request = Request::new(RefundRequest {
            checkout_id: id.to_string(),
        });
        request.set_timeout(PROVIDER_CALL);
        answer(self.0.clone().refund(request).await, &[]).map(drop)
    }

    async fn find(&self, id: CheckoutId) -> Result<Payment, PeerError> {
        let request = GetPaymentRequest {
            checkout_id: id.to_string(),
        };
        match self.0.clone().get_payment(request).await {
            Ok(response) => known(response.into_inner().payment),
            Err(status) if status::refused(&status) == Some(Reason::PaymentNotFound) => Ok(Payment::Open),
            Err(status) => Err(status.into()),
        }
    }
}

/// The id of the payment that a charge made.
fn charged(payment: Option<wire::Payment>) -> Result<String, PeerError> {
    let payment = payment.ok_or_else(|| unreadable("it has no payment"))?;
    if payment.payment_id.is_empty() {
        return Err(unreadable("its payment has no id"));
    }
    Ok(payment.payment_id)
}

/// What the payment service knows of a payment.
fn known(payment: Option<wire::Payment>) -> Result<Payment, PeerError> {
    let payment = payment.ok_or_else(|| unreadable("it has no payment"))?;
    let refused = |reason, message: &str| {
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
            payment_id: charged(Some(payment))?,
        },
        PaymentStatus::Declined => {
            let reason = Reason::parse(&payment.decline_reason).filter(|reason| DECLINES.contains(reason));
            let wrong = || unreadable(format!("its payment was declined for {:?}", payment.decline_reason));
            refused(reason.ok_or_else(wrong)?, "the payment was declined")
        }
        PaymentStatus::Refunded | PaymentStatus::Cancelled => {
            refused(Reason::PaymentCancelled, "the payment was cancelled")
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
        let of = |payment| Answer::Done(payment).and_then(charged);
        for lacking in [None, Some(payment(PaymentStatus::Succeeded, "", ""))] {
            let charged = of(lacking);
            assert!(matches!(charged, Answer::Unknown(_)), "{charged:?}");
        }
        let whole = of(Some(payment(PaymentStatus::Succeeded, "pay_1", "")));
        assert!(matches!(&whole, Answer::Done(id) if id == "pay_1"), "{whole:?}");
    }

    #[test]
    fn a_payment_that_is_not_there_or_says_nothing_we_know_is_not_an_open_one() {
        let mut later = payment(PaymentStatus::Pending, "pay_1", "");
        later.status = 99;
        for lacking in [
            None,
            Some(wire::Payment::default()),
            Some(later),
            Some(payment(PaymentStatus::Succeeded, "", "")),
            Some(payment(PaymentStatus::Declined, "pay_1", "")),
            Some(payment(PaymentStatus::Declined, "pay_1", "A_REASON_OF_LATER")),
        ] {
            let payment = known(lacking);
            assert!(payment.is_err(), "{payment:?}");
        }
        let open = known(Some(payment(PaymentStatus::Pending, "pay_1", "")));
        assert!(matches!(open, Ok(Payment::Open)), "{open:?}");
        let declined = known(Some(payment(PaymentStatus::Declined, "pay_1", "CARD_EXPIRED")));
        assert!(
            matches!(&declined, Ok(Payment::Declined(failure)) if failure.reason == Reason::CardExpired),
            "{declined:?}"
        );
    }
}
