//! The gRPC interface: decode, run the use case, encode.

mod convert;
mod status;

use async_trait::async_trait;
use proto::payment::v1::{
    ChargeRequest, ChargeResponse, GetPaymentRequest, GetPaymentResponse, RefundRequest, RefundResponse,
    payment_service_server::PaymentService,
};
use runtime::telemetry::record_subject;
use tonic::{Request, Response, Status};

use crate::app::Payments;

pub(crate) struct Grpc(Payments);

impl Grpc {
    pub(crate) const fn new(payments: Payments) -> Self {
        Self(payments)
    }
}

#[async_trait]
impl PaymentService for Grpc {
    async fn charge(&self, request: Request<ChargeRequest>) -> Result<Response<ChargeResponse>, Status> {
        let request = request.into_inner();
        let checkout = proto::convert::checkout_id(&request.checkout_id)?;
        record_subject("checkout", &checkout);
        let terms = convert::terms(request.amount, &request.payment_method)?;
        let charged = self
            .0
            .charge(checkout, terms)
            .await
            .map_err(|error| status::charge(checkout, error))?;
        Ok(Response::new(ChargeResponse {
            payment: Some(convert::payment(charged)),
        }))
    }

    async fn refund(&self, request: Request<RefundRequest>) -> Result<Response<RefundResponse>, Status> {
        let checkout = proto::convert::checkout_id(&request.get_ref().checkout_id)?;
        record_subject("checkout", &checkout);
        let refunded = self
            .0
            .refund(checkout)
            .await
            .map_err(|error| status::dependency(checkout, &error))?;
        Ok(Response::new(RefundResponse {
            payment: Some(convert::payment(refunded)),
        }))
    }

    async fn get_payment(&self, request: Request<GetPaymentRequest>) -> Result<Response<GetPaymentResponse>, Status> {
        let checkout = proto::convert::checkout_id(&request.get_ref().checkout_id)?;
        record_subject("checkout", &checkout);
        let found = self
            .0
            .get_payment(checkout)
            .await
            .map_err(|error| status::get_payment(checkout, error))?;
        Ok(Response::new(GetPaymentResponse {
            payment: Some(convert::payment(found)),
        }))
    }
}
