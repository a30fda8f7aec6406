//! gRPC below the generated clients: raw bytes, and the details of a status.

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use proto::status::DOMAIN;
use tonic::{
    Code, Request, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};
use tonic_types::{ErrorDetail, StatusExt};

/// Sends and receives bytes as they are.
#[derive(Debug, Clone, Copy)]
struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Calls a method such as `/cart.v1.CartService/GetCart` with bytes that need not be a message.
pub async fn call_raw(channel: &Channel, path: &str, message: Bytes) -> Result<Result<Bytes, Status>> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await?;
    let answer = client
        .unary(Request::new(message), PathAndQuery::try_from(path)?, RawCodec)
        .await;
    Ok(answer.map(tonic::Response::into_inner))
}

/// The code and the reason of a status, which must have exactly one reason, in the domain of this shop.
pub fn reason_of(status: &Status) -> Result<(Code, String)> {
    let details = status.check_error_details_vec().context("the details cannot be read")?;
    let mut reasons = Vec::new();
    for detail in details {
        if let ErrorDetail::ErrorInfo(info) = detail {
            reasons.push(info);
        }
    }
    ensure!(reasons.len() == 1, "{} reasons in {status:?}", reasons.len());
    ensure!(
        reasons[0].domain == DOMAIN,
        "the reason of another domain in {status:?}"
    );
    Ok((status.code(), reasons[0].reason.clone()))
}
