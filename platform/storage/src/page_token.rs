//! Page tokens: a position in one list, not valid for any other list (AIP-158).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

/// The length of the tag that names the list, in bytes.
const TAG: usize = 8;

/// Encodes a position in the list `list`. The list's name contains all that selects its items: owner, filters, query.
pub fn to_page_token(position: &[u8], list: &str) -> String {
    URL_SAFE_NO_PAD.encode([position, &tag(list)].concat())
}

/// Decodes the position; `None` if the text is not a token of this list.
pub fn from_page_token(token: &str, list: &str) -> Option<Vec<u8>> {
    let mut position = URL_SAFE_NO_PAD.decode(token).ok()?;
    let found = position.split_off(position.len().checked_sub(TAG)?);
    (found == tag(list)).then_some(position)
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
    fn a_page_token_is_valid_for_its_list_only() {
        for position in [&b""[..], b"x", &[0xff; 40]] {
            let token = to_page_token(position, "orders of ann");
            assert_eq!(from_page_token(&token, "orders of ann").as_deref(), Some(position));
            assert_eq!(from_page_token(&token, "orders of bob"), None);
            assert_eq!(from_page_token(&format!("{token}A"), "orders of ann"), None);
        }
    }

    #[test]
    fn malformed_text_is_no_page_token() {
        for wrong in ["", "x", "!", "AAAA", "MQ", &"A".repeat(1_000)] {
            assert_eq!(from_page_token(wrong, ""), None, "{wrong}");
        }
    }
}
