//! The second way in to each engine, by TLS and with a login, as the scripts that start them describe it.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The directory with the descriptions and the certificates.
#[derive(Debug)]
pub struct Secured(PathBuf);

impl Secured {
    /// `None` when the engines are not there: the test is skipped then, or fails, as for the engines themselves.
    pub fn find() -> Option<Self> {
        testing::tls_dir().map(Self)
    }

    /// What a shop is told of an engine: postgresql, redis, kafka or mongodb.
    pub fn variables(&self, engine: &str) -> Result<Vec<(String, String)>> {
        let file = self.0.join(format!("{engine}.env"));
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// One of those.
    pub fn variable(&self, engine: &str, name: &str) -> Result<String> {
        let found = self.variables(engine)?.into_iter().find(|(known, _)| known == name);
        Ok(found.with_context(|| format!("{engine} has no {name}"))?.1)
    }

    /// The certificate of somebody who vouches for none of the engines.
    pub fn other_authority(&self) -> String {
        self.0.join("other-ca.pem").display().to_string()
    }
}
