//! Keyset paging of lists that are ordered by time and id.

use jiff::Timestamp;
use uuid::Uuid;

use crate::page_token::{from_page_token, to_page_token};

/// A position in a list: that of one of its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// To the millisecond.
    pub at: Timestamp,
    /// Orders rows with the same time.
    pub id: Uuid,
}

impl Cursor {
    /// The position before the newest row: where a list that shows the newest first begins.
    pub const FIRST_PAGE: Self = Self {
        at: Timestamp::MAX,
        id: Uuid::max(),
    };
    /// The earliest time that PostgreSQL can represent.
    pub const EARLIEST: Timestamp = Timestamp::constant(-210_866_803_200, 0);

    /// This position as a page token of the list `list`.
    pub fn to_token(&self, list: &str) -> String {
        let at = self.at.as_millisecond().to_be_bytes();
        to_page_token(&[at.as_slice(), self.id.as_bytes()].concat(), list)
    }

    /// The position in a page token of the list `list`; `None` for any other text.
    pub fn from_token(token: &str, list: &str) -> Option<Self> {
        let position = from_page_token(token, list)?;
        let (at, id) = position.split_first_chunk()?;
        Some(Self {
            at: Timestamp::from_millisecond(i64::from_be_bytes(*at)).ok()?,
            id: Uuid::from_slice(id).ok()?,
        })
    }
}

/// One page of a list, and where the next page begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The position of the last item; `None` on the last page.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// A page of at most `size` of these rows. The caller reads one row more, which shows that another page follows.
    pub fn cut(mut rows: Vec<T>, size: u32, position: impl Fn(&T) -> Cursor) -> Self {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = rows.len() > size;
        rows.truncate(size);
        let next = if more { rows.last().map(position) } else { None };
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
    fn a_cursor_survives_its_token() {
        for at in [
            Timestamp::MIN,
            Timestamp::UNIX_EPOCH,
            Timestamp::from_millisecond(-1).unwrap(),
        ] {
            let cursor = Cursor {
                at,
                id: Uuid::from_u128(u128::MAX),
            };
            assert_eq!(Cursor::from_token(&cursor.to_token("list"), "list"), Some(cursor));
            assert_eq!(Cursor::from_token(&cursor.to_token("list"), "another"), None);
        }
    }

    #[test]
    fn a_malformed_token_is_no_cursor() {
        for position in [&[][..], &[0; 8], &[0; 23], &[0x7f; 24], &[0; 25]] {
            assert_eq!(
                Cursor::from_token(&to_page_token(position, "list"), "list"),
                None,
                "{position:?}"
            );
        }
        // The format before tokens named their list.
        assert_eq!(Cursor::from_token("AAABjCiGqHsAAAAAAAAAAAAAAAAAAAAB", "list"), None);
    }

    #[test]
    fn a_page_has_a_next_one_only_if_more_rows_follow() {
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
