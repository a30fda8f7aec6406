//! Pages of lists that are ordered by time and id.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use uuid::Uuid;

/// A place in a list: that of one of its rows. As text it means nothing to who reads it: base64url of both values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// To the millisecond.
    pub at: Timestamp,
    /// Tells rows of the same time apart.
    pub id: Uuid,
}

/// A text that is no cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct CursorError;

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.as_millisecond().to_be_bytes();
        f.write_str(&URL_SAFE_NO_PAD.encode([at.as_slice(), self.id.as_bytes()].concat()))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError)?;
        let (at, id) = bytes.split_first_chunk().ok_or(CursorError)?;
        Ok(Self {
            at: Timestamp::from_millisecond(i64::from_be_bytes(*at)).map_err(|_| CursorError)?,
            id: Uuid::from_slice(id).map_err(|_| CursorError)?,
        })
    }
}

/// A part of a list, and where the next part begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The place of the last item; `None` on the last page.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// A page of at most `size` of these rows. One row more than that, if there is one, shows that another page follows.
    pub fn cut(mut rows: Vec<T>, size: u32, place: impl Fn(&T) -> Cursor) -> Self {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = rows.len() > size;
        rows.truncate(size);
        let next = if more { rows.last().map(place) } else { None };
        Self { items: rows, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(id: u128) -> Cursor {
        Cursor {
            at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
            id: Uuid::from_u128(id),
        }
    }

    #[test]
    fn a_cursor_survives_its_text() {
        for at in [
            Timestamp::MIN,
            Timestamp::UNIX_EPOCH,
            Timestamp::from_millisecond(-1).unwrap(),
        ] {
            let cursor = Cursor {
                at,
                id: Uuid::from_u128(u128::MAX),
            };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        assert_eq!(cursor(7).to_string().len(), 32);
    }

    #[test]
    fn any_other_text_is_no_cursor() {
        let far = URL_SAFE_NO_PAD.encode([0x7f; 24]);
        for wrong in [
            "",
            "x",
            "!",
            "AAAA",
            &far,
            &cursor(1).to_string()[1..],
            &format!("{}A", cursor(1)),
        ] {
            assert_eq!(wrong.parse::<Cursor>(), Err(CursorError), "{wrong}");
        }
    }

    #[test]
    fn a_page_has_a_next_one_only_if_there_is_more() {
        let cut = |rows: u128, size| Page::cut((0..rows).collect(), size, |id| cursor(*id));
        assert_eq!(
            cut(3, 2),
            Page {
                items: vec![0, 1],
                next: Some(cursor(1))
            }
        );
        assert_eq!(
            cut(2, 2),
            Page {
                items: vec![0, 1],
                next: None
            }
        );
        assert_eq!(
            cut(0, 2),
            Page {
                items: vec![],
                next: None
            }
        );
    }
}
