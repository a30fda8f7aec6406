//! Query parameters. Unknown ones are ignored.

use axum::{extract::FromRequestParts, http::request::Parts};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use proto::Reason;

use crate::problem::Problem;

const MAX_PAGE: i32 = 100;

#[derive(Debug)]
pub(crate) struct Query(Vec<(String, String)>);

/// The requested page.
#[derive(Debug)]
pub(crate) struct Page {
    /// `None` for the service's default.
    pub(crate) size: Option<i32>,
    /// Empty for the first page.
    pub(crate) token: String,
}

impl Query {
    /// The value of a parameter; empty if it is absent.
    pub(crate) fn take(&mut self, name: &str) -> Result<String, Problem> {
        Ok(self.find(name)?.unwrap_or_default())
    }

    pub(crate) fn page(&mut self) -> Result<Page, Problem> {
        let size = self.find("page_size")?.map(|text| page_size(&text)).transpose()?;
        Ok(Page {
            size,
            token: self.take("page_token")?,
        })
    }

    fn find(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let Some(at) = self.0.iter().position(|(n, _)| n == name) else {
            return Ok(None);
        };
        let (_, value) = self.0.swap_remove(at);
        if self.0.iter().any(|(n, _)| n == name) {
            return Err(Problem::field(
                Reason::InvalidArgument,
                name,
                format!("{name} is there twice"),
            ));
        }
        Ok(Some(value))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty());
        pairs.map(decoded).collect::<Option<_>>().map(Self).ok_or_else(|| {
            Problem::new(
                Reason::InvalidArgument,
                "the query is not valid: its escapes are not UTF-8",
            )
        })
    }
}

impl Page {
    /// The `Link` header to the next page; `None` on the last page.
    pub(crate) fn link_to_next(&self, path: &str, token: &str) -> Option<String> {
        let token = Some(token).filter(|t| !t.is_empty())?;
        let token = utf8_percent_encode(token, NON_ALPHANUMERIC);
        let size = self.size.map(|size| format!("page_size={size}&")).unwrap_or_default();
        Some(format!("<{path}?{size}page_token={token}>; rel=\"next\""))
    }
}

fn decoded(pair: &str) -> Option<(String, String)> {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    Some((decoded_part(name)?, decoded_part(value)?))
}

fn decoded_part(part: &str) -> Option<String> {
    percent_decode_str(&part.replace('+', " "))
        .decode_utf8()
        .ok()
        .map(Into::into)
}

fn page_size(text: &str) -> Result<i32, Problem> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|size| digits && (1..=MAX_PAGE).contains(size))
        .ok_or_else(|| {
            let message = format!("page_size must be between 1 and {MAX_PAGE}");
            Problem::field(Reason::InvalidArgument, "page_size", message)
        })
}
