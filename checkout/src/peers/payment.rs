//! Charges and refunds, at the payment service.

use std::time::Duration;

use async_trait::async_trait;
use money::Money;
use proto::{
    Reason,
    payment::v1::{
        ChargeRequest, GetPaymentRequest, PaymentStatus, RefundRequest, payment_service_client::PaymentServiceClient,
    },
    status,
};
use runtime::channel::Peer;
use tonic::Request;

use super::answer;
use crate::{
    domain::{CheckoutId, Failure, PaymentMethod},
    ports::{Answer, Payment, Payments, PeerError},
};

/// Charges are the only calls that wait for an outside company. Shorter than the lease of a saga.
const CHARGE_DEADLINE: Duration = Duration::from_secs(8);

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
        request.set_timeout(CHARGE_DEADLINE);
        let charged = answer(self.0.clone().charge(request).await, &DECLINES);
        charged.map(|response| response.payment.unwrap_or_default().payment_id)
    }

    async fn refund(&self, id: CheckoutId) -> Answer<()> {
        let mut request = Request::new(RefundRequest {
            checkout_id: id.to_string(),
        });
        request.set_timeout(CHARGE_DEADLINE);
        answer(self.0.clone().refund(request).await, &[]).map(drop)
    }

    async fn find(&self, id: CheckoutId) -> Result<Payment, PeerError> {
        let request = GetPaymentRequest {
            checkout_id: id.to_string(),
        };
        let payment = match self.0.clone().get_payment(request).await {
            Ok(response) => response.into_inner().payment.unwrap_or_default(),
            Err(status) if status::refused(&status) == Some(Reason::PaymentNotFound) => return Ok(Payment::Open),
            Err(status) => return Err(status.into()),
        };
        let refused = |reason, message: &str| {
            Payment::Declined(Failure {
                reason,
                message: message.to_owned(),
                shortages: Vec::new(),
            })
        };
        Ok(match payment.status() {
            PaymentStatus::Unspecified | PaymentStatus::Pending => Payment::Open,
            PaymentStatus::Succeeded => Payment::Succeeded {
                payment_id: payment.payment_id,
            },
            PaymentStatus::Declined => {
                let reason = Reason::parse(&payment.decline_reason).filter(|reason| DECLINES.contains(reason));
                refused(reason.unwrap_or(Reason::CardDeclined), "the payment was declined")
            }
            PaymentStatus::Refunded | PaymentStatus::Cancelled => {
                refused(Reason::PaymentCancelled, "the payment was cancelled")
            }
        })
    }
}
