//! Conversions from the services' messages to JSON that several routes need.

use jiff::Timestamp;
use money::Amount;
use proto::Reason;
use serde::{Serialize, Serializer};

use crate::problem::Problem;

/// An amount and its currency. JSON shows them in two fields.
#[derive(Debug)]
pub(crate) struct Price {
    pub(crate) amount: Amount,
    pub(crate) currency: String,
}

/// A time in JSON: RFC 3339 in UTC, with milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time(Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.3}", self.0))
    }
}

pub(crate) fn checkout_path(id: &str) -> String {
    format!("/api/v1/checkout/{id}")
}

/// A field that the service always sets. Without it the answer is `INTERNAL`.
pub(crate) fn required<T>(part: Option<T>, name: &'static str) -> Result<T, Problem> {
    part.ok_or_else(|| {
        tracing::error!(part = name, "a required part is missing");
        Problem::of(Reason::Internal)
    })
}

pub(crate) fn price(wire: Option<proto::money::v1::Money>, name: &'static str) -> Result<Price, Problem> {
    let wire = required(wire, name)?;
    Ok(Price {
        amount: Amount(wire.minor_units),
        currency: wire.currency_code,
    })
}

pub(crate) fn amount(wire: Option<proto::money::v1::Money>, name: &'static str) -> Result<Amount, Problem> {
    price(wire, name).map(|price| price.amount)
}

pub(crate) fn time(wire: Option<&prost_types::Timestamp>, name: &'static str) -> Result<Time, Problem> {
    required(proto::convert::from_timestamp(wire), name).map(Time)
}

/// A time that a message may lack. A time out of range is an error.
pub(crate) fn optional_time(
    wire: Option<&prost_types::Timestamp>,
    name: &'static str,
) -> Result<Option<Time>, Problem> {
    wire.map(|wire| time(Some(wire), name)).transpose()
}

/// The name of an enum's value without its protobuf prefix.
pub(crate) fn status(name: &'static str, prefix: &str) -> Result<&'static str, Problem> {
    required(
        name.strip_prefix(prefix).filter(|short| *short != "UNSPECIFIED"),
        "status",
    )
}
