//! JSON bodies, read field by field: every error names its field, and a number of any size is read as a number.

pub(crate) mod coding;
pub(crate) mod receive;

use std::{collections::BTreeMap, fmt, str::FromStr};

use axum::{
    extract::{FromRequest, Request},
    http::{
        HeaderMap,
        header::{ACCEPT, CONTENT_TYPE},
    },
};
use http_body_util::BodyExt;
use money::Amount;
use proto::{Reason, convert};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    path::product_id_rule,
    problem::{FieldError, Problem},
};

/// The most unknown fields that an answer names, and the most characters of each name.
const MAX_NAMED: usize = 8;
const MAX_NAME_CHARS: usize = 64;

/// The fields of a JSON object. A handler takes each by name and type; an invalid field reads as its default.
/// [`Fields::finish`] refuses the body if a field was invalid or was not taken.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    values: BTreeMap<String, Box<RawValue>>,
    faults: Vec<Fault>,
}

#[derive(Debug)]
struct Fault {
    reason: Reason,
    error: FieldError,
}

impl Fields {
    pub(crate) fn product_id(&mut self) -> i64 {
        let is_valid = |id: &i64| convert::product_id("product_id", *id).is_ok();
        self.integer("product_id", is_valid, (Reason::InvalidProductId, &product_id_rule()))
    }

    pub(crate) fn quantity(&mut self) -> i32 {
        let wrong = (Reason::InvalidQuantity, "quantity must be between 1 and 99");
        self.integer("quantity", |quantity| (1..=99).contains(quantity), wrong)
    }

    /// An optional text.
    pub(crate) fn text(&mut self, field: &str) -> Option<String> {
        self.optional(field, "a string")
    }

    /// An optional boolean; absent is false.
    pub(crate) fn boolean(&mut self, field: &str) -> bool {
        self.optional(field, "true or false").unwrap_or_default()
    }

    /// An optional amount of money: at least zero, at most two decimals. The digits are read exactly, not as a float.
    pub(crate) fn amount(&mut self, field: &str) -> Option<Amount> {
        let raw = self.take(field)?;
        let read = raw.get().parse().ok();
        if read.is_none() {
            let message = format!("{field} must be a number with at most two decimals");
            self.fault(Reason::InvalidRequest, field, message);
        } else if raw.get().starts_with('-') {
            self.fault(Reason::InvalidArgument, field, format!("{field} must not be negative"));
        }
        read
    }

    /// `value` if every field was valid and taken.
    pub(crate) fn finish<T>(mut self, value: T) -> Result<T, Problem> {
        let unknown = std::mem::take(&mut self.values);
        for name in unknown.into_keys().take(MAX_NAMED) {
            let name: String = name.chars().take(MAX_NAME_CHARS).collect();
            let message = format!("{name} is not a field of this request");
            self.fault(Reason::InvalidRequest, &name, message);
        }
        // A wrong shape determines the reason, before values out of range.
        let first = self
            .faults
            .iter()
            .find(|f| f.reason == Reason::InvalidRequest)
            .or(self.faults.first());
        let Some(first) = first else { return Ok(value) };
        let problem = Problem::new(first.reason, first.error.message.clone());
        Err(problem.with_errors(self.faults.into_iter().map(|f| f.error).collect()))
    }

    /// A required integer; zero if it is invalid.
    fn integer<T>(&mut self, field: &str, is_valid: impl FnOnce(&T) -> bool, outside: (Reason, &str)) -> T
    where
        T: FromStr + Default,
    {
        let Some(raw) = self.values.remove(field) else {
            self.fault(Reason::InvalidRequest, field, format!("{field} is required"));
            return T::default();
        };
        if !is_integer(raw.get()) {
            self.fault(Reason::InvalidRequest, field, format!("{field} must be an integer"));
            return T::default();
        }
        // An integer that does not fit into the type is out of range.
        raw.get().parse().ok().filter(is_valid).unwrap_or_else(|| {
            self.fault(outside.0, field, outside.1.to_owned());
            T::default()
        })
    }

    fn optional<T: DeserializeOwned>(&mut self, field: &str, kind: &str) -> Option<T> {
        let raw = self.take(field)?;
        let read = serde_json::from_str(raw.get()).ok();
        if read.is_none() {
            self.fault(Reason::InvalidRequest, field, format!("{field} must be {kind}"));
        }
        read
    }

    /// The raw value of an optional field. `null` is absent.
    fn take(&mut self, field: &str) -> Option<Box<RawValue>> {
        self.values.remove(field).filter(|raw| raw.get() != "null")
    }

    fn fault(&mut self, reason: Reason, field: &str, message: String) {
        self.faults.push(Fault {
            reason,
            error: FieldError {
                field: field.to_owned(),
                message,
            },
        });
    }
}

/// Digits only: no fraction, no exponent.
fn is_integer(json: &str) -> bool {
    let digits = json.strip_prefix('-').unwrap_or(json);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
            if fields.values.contains_key(&name) && fields.faults.len() < MAX_NAMED {
                let shown: String = name.chars().take(MAX_NAME_CHARS).collect();
                fields.fault(Reason::InvalidRequest, &shown, format!("{shown} is there twice"));
            }
            fields.values.insert(name, value);
        }
        Ok(fields)
    }
}

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = Problem;

    /// An empty body has no fields and needs no content type.
    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.map_err(|_| receive::truncated())?.to_bytes();
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        check_media_type(&parts.headers)?;
        serde_json::from_slice(&bytes)
            .map_err(|_| Problem::new(Reason::InvalidRequest, "the body must be one JSON object"))
    }
}

/// Requires JSON without a content coding.
fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    coding::check_content(headers)?;
    if !is_json(headers) {
        let refused = Problem::new(Reason::UnsupportedMediaType, "the body must be application/json");
        return Err(refused.accepting(ACCEPT, "application/json"));
    }
    Ok(())
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let media_type = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}
