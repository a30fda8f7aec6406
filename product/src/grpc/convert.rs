//! Between the wire's values and the domain's.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proto::{Reason, product::v1 as wire, status::Refusal};

use crate::domain::{Product, ProductId};

const MAX_BATCH: usize = 100;

pub(super) fn product(product: &Product) -> wire::Product {
    wire::Product {
        id: product.id.get(),
        name: product.details.name().to_owned(),
        description: product.details.description().to_owned(),
        price: Some(product.details.price().into()),
        image_url: product.details.image_url().to_owned(),
        created_at: Some(proto::convert::timestamp(product.created_at)),
    }
}

pub(super) fn product_id(field: &str, id: i64) -> Result<ProductId, Refusal> {
    ProductId::new(id).ok_or_else(|| Refusal::new(Reason::InvalidProductId, "a product id is positive").at(field))
}

pub(super) fn product_ids(ids: &[i64]) -> Result<Vec<ProductId>, Refusal> {
    if ids.len() > MAX_BATCH {
        return Err(Refusal::field(
            "ids",
            format!("at most {MAX_BATCH} ids can be asked for at once"),
        ));
    }
    ids.iter()
        .enumerate()
        .map(|(i, id)| product_id(&format!("ids[{i}]"), *id))
        .collect()
}

/// A page token is the last id of the page before, in base64url.
pub(super) fn to_page_token(last: ProductId) -> String {
    URL_SAFE_NO_PAD.encode(last.get().to_string())
}

pub(super) fn page_token(token: &str) -> Result<Option<ProductId>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let id = URL_SAFE_NO_PAD.decode(token).ok();
    let id = id
        .and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok())
        .and_then(ProductId::new);
    // Only what was given out is taken: there is one token for each place.
    match id {
        Some(id) if to_page_token(id) == token => Ok(Some(id)),
        Some(_) | None => Err(Refusal::field("page_token", "page_token is not one that was given out")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_leads_back_to_its_id() {
        for id in [1, 42, i64::MAX] {
            let id = ProductId::new(id);
            assert_eq!(page_token(&to_page_token(id.unwrap())).unwrap(), id);
        }
        assert_eq!(page_token("").unwrap(), None);
    }

    #[test]
    fn what_is_no_page_token_is_refused() {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        for wrong in [
            "1",
            "====",
            "a b",
            &encode("0"),
            &encode("-1"),
            &encode("+1"),
            &encode("01"),
            &encode("x"),
        ] {
            assert!(page_token(wrong).is_err(), "{wrong}");
        }
    }
}
