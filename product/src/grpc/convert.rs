//! Conversions between wire and domain.

use proto::{convert::product_id, product::v1 as wire, status::Refusal};

use crate::domain::{Product, ProductId, Query};

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

/// The name of the list in page tokens. A token has the last id of the page, and is valid for the same query only.
fn list(query: &Query) -> String {
    format!("products {}", query.words().join(" "))
}

pub(super) fn to_page_token(last: ProductId, query: &Query) -> String {
    storage::to_page_token(&last.get().to_be_bytes(), &list(query))
}

pub(super) fn page_token(token: &str, query: &Query) -> Result<Option<ProductId>, Refusal> {
    proto::convert::page_token(token, |token| {
        let position = storage::from_page_token(token, &list(query))?;
        ProductId::new(i64::from_be_bytes(position.try_into().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_token_is_valid_for_its_query_only() {
        let query = |text| Query::new(text).unwrap();
        for id in [1, 42, i64::MAX] {
            let id = ProductId::new(id).unwrap();
            let token = to_page_token(id, &query("desk LAMP"));
            assert_eq!(page_token(&token, &query("lamp desk ")).unwrap(), Some(id));
            for other in ["", "lamp", "desk lamps"] {
                assert!(page_token(&token, &query(other)).is_err(), "{other}");
            }
        }
        assert_eq!(page_token("", &query("")).unwrap(), None);
    }

    #[test]
    fn an_invalid_page_token_is_refused() {
        let token = |position: &[u8]| storage::to_page_token(position, &list(&Query::default()));
        for wrong in [
            "1",
            "====",
            "a b",
            // A token of a version before tokens named their query.
            "MQ",
            &token(&0_i64.to_be_bytes()),
            &token(&(-1_i64).to_be_bytes()),
            &token(b"1"),
        ] {
            assert!(page_token(wrong, &Query::default()).is_err(), "{wrong}");
        }
    }
}
