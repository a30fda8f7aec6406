//! The access to each engine by TLS and with a login, as the scripts that start the engines describe it.

use std::path::PathBuf;

use anyhow::{Context, Result};

/// The directory with the variables of each engine and the certificates.
#[derive(Debug)]
pub struct SecuredEngines(PathBuf);

impl SecuredEngines {
    /// `None` without engines: the test is then skipped, or fails, as for the engines themselves.
    pub fn find() -> Option<Self> {
        testing::tls_dir().map(Self)
    }

    /// The variables that connect a shop to an engine: postgresql, redis, kafka or mongodb.
    pub fn variables(&self, engine: &str) -> Result<Vec<(String, String)>> {
        let file = self.0.join(format!("{engine}.env"));
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    pub fn variable(&self, engine: &str, name: &str) -> Result<String> {
        let found = self.variables(engine)?.into_iter().find(|(known, _)| known == name);
        Ok(found.with_context(|| format!("{engine} has no {name}"))?.1)
    }

    /// The certificate of an authority that has signed for none of the engines.
    pub fn other_authority(&self) -> String {
        self.0.join("other-ca.pem").display().to_string()
    }
}
