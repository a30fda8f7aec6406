//! Page tokens: a place in one list, which means nothing in any other (AIP-158).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

/// Bytes that tell lists apart.
const TAG: usize = 8;

/// A place in the list of this name as text. The name holds all that decides what is in the list: whose it is, filters, a query.
pub fn to_page_token(place: &[u8], list: &str) -> String {
    URL_SAFE_NO_PAD.encode([place, &tag(list)].concat())
}

/// The place; `None` for what is not a token of this list.
pub fn from_page_token(token: &str, list: &str) -> Option<Vec<u8>> {
    let mut place = URL_SAFE_NO_PAD.decode(token).ok()?;
    let found = place.split_off(place.len().checked_sub(TAG)?);
    (found == tag(list)).then_some(place)
}

fn tag(list: &str) -> [u8; TAG] {
    let name = Uuid::new_v5(&Uuid::NAMESPACE_OID, list.as_bytes());
    let [tag @ .., _, _, _, _, _, _, _, _] = name.into_bytes();
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_comes_back_from_the_token_of_its_list_only() {
        for place in [&b""[..], b"x", &[0xff; 40]] {
            let token = to_page_token(place, "orders of ann");
            assert_eq!(from_page_token(&token, "orders of ann").as_deref(), Some(place));
            assert_eq!(from_page_token(&token, "orders of bob"), None);
            assert_eq!(from_page_token(&format!("{token}A"), "orders of ann"), None);
        }
    }

    #[test]
    fn any_other_text_is_no_token() {
        for wrong in ["", "x", "!", "AAAA", "MQ", &"A".repeat(1_000)] {
            assert_eq!(from_page_token(wrong, ""), None, "{wrong}");
        }
    }
}
