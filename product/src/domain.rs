//! Products and their validation.

mod search;

use jiff::Timestamp;
use money::{Currency, Money};

pub use proto::ids::ProductId;
pub use search::{InvalidQuery, Query, folded, with_markers};

const MAX_NAME: usize = 200;
const MAX_DESCRIPTION: usize = 2_000;
const MAX_IMAGE_URL: usize = 2_000;
const MAX_PRICE_MINOR_UNITS: i64 = 100_000_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    pub id: ProductId,
    pub details: Details,
    pub created_at: Timestamp,
}

/// The changeable part of a product. Valid by construction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Details {
    name: String,
    description: String,
    price: Money,
    image_url: String,
}

/// The invalid field of a product's details.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidDetails {
    /// Blank, over 200 characters, or with control characters.
    Name,
    /// Over 2,000 characters, or with control characters other than tabs and line breaks.
    Description,
    /// Not positive, or over 100,000,000 minor units.
    Price,
    /// Not USD.
    Currency,
    /// Over 2,000 characters, with control characters, or with another scheme than http and https.
    ImageUrl,
}

impl Details {
    pub fn new(name: String, description: String, price: Money, image_url: String) -> Result<Self, InvalidDetails> {
        if name.trim().is_empty() || is_longer(&name, MAX_NAME) || name.contains(char::is_control) {
            return Err(InvalidDetails::Name);
        }
        let unprintable = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
        if is_longer(&description, MAX_DESCRIPTION) || description.contains(unprintable) {
            return Err(InvalidDetails::Description);
        }
        if price.currency() != Currency::USD {
            return Err(InvalidDetails::Currency);
        }
        if !price.is_positive() || price.minor_units() > MAX_PRICE_MINOR_UNITS {
            return Err(InvalidDetails::Price);
        }
        if !is_image_url(&image_url) {
            return Err(InvalidDetails::ImageUrl);
        }
        Ok(Self {
            name,
            description,
            price,
            image_url,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn description(&self) -> &str {
        &self.description
    }

    pub const fn price(&self) -> Money {
        self.price
    }

    pub fn image_url(&self) -> &str {
        &self.image_url
    }

    /// Name and description in lower case, on a line each, so that no word matches across both. A [`Query`] matches
    /// this text [`folded`].
    pub fn search_text(&self) -> String {
        format!("{}\n{}", self.name.to_lowercase(), self.description.to_lowercase())
    }
}

/// Whether a page may show this as an image: a reference with http, https or no scheme. Other schemes, such as
/// `javascript:`, can run programs.
pub fn is_image_url(text: &str) -> bool {
    let before_path = text.split(['/', '?', '#']).next().unwrap_or_default();
    let is_allowed = match before_path.split_once(':') {
        None => true,
        Some((scheme, _)) => ["http", "https"]
            .iter()
            .any(|allowed| scheme.eq_ignore_ascii_case(allowed)),
    };
    is_allowed && !is_longer(text, MAX_IMAGE_URL) && !text.contains(char::is_control)
}

fn is_longer(text: &str, characters: usize) -> bool {
    text.chars().nth(characters).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn details(name: &str, description: &str, price: Money, image_url: &str) -> Result<Details, InvalidDetails> {
        Details::new(name.to_owned(), description.to_owned(), price, image_url.to_owned())
    }

    #[test]
    fn details_within_their_limits_are_accepted() {
        let name = "n".repeat(200);
        let long = "ü".repeat(2_000);
        assert!(details(&name, &long, Money::usd(100_000_000), &long).is_ok());
        assert!(details("n", "two\nlines\tand a tab", Money::usd(1), "").is_ok());
    }

    #[test]
    fn details_beyond_their_limits_are_refused() {
        let cent = Money::usd(1);
        for name in ["", "  ", "a\nb", "a\0", &"n".repeat(201)] {
            assert_eq!(details(name, "", cent, ""), Err(InvalidDetails::Name), "{name:?}");
        }
        for description in ["\0", "\u{7f}", &"d".repeat(2_001)] {
            assert_eq!(
                details("n", description, cent, ""),
                Err(InvalidDetails::Description),
                "{description:?}"
            );
        }
        for price in [0, -1, i64::MIN, 100_000_001, i64::MAX] {
            assert_eq!(
                details("n", "", Money::usd(price), ""),
                Err(InvalidDetails::Price),
                "{price}"
            );
        }
        let euro = Money::new(1, "EUR".parse().unwrap());
        assert_eq!(details("n", "", euro, ""), Err(InvalidDetails::Currency));
        for image_url in [
            "",
            "/lamp.png",
            "lamp.png?size=1:2",
            "//images.test/a",
            "HTTPS://images.test/a:b",
        ] {
            assert!(details("n", "", cent, image_url).is_ok(), "{image_url:?}");
        }
        for image_url in [
            "http://a\r\nb",
            &"u".repeat(2_001),
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            " javascript:alert(1)",
            "java\tscript:alert(1)",
            "data:text/html,x",
            "vbscript:x",
            "file:///etc/passwd",
        ] {
            assert_eq!(
                details("n", "", cent, image_url),
                Err(InvalidDetails::ImageUrl),
                "{image_url:?}"
            );
        }
    }
}
