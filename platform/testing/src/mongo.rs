//! Isolated databases in MongoDB.

use mongodb::{Client, Database};

use crate::{Engine, Fixture, unique_name};

/// A unique database, dropped by `close`.
#[derive(Debug)]
pub struct MongoFixture {
    pub uri: String,
    pub name: String,
}

impl Fixture for MongoFixture {
    fn new() -> Option<Self> {
        Some(Self {
            uri: Engine::MongoDb.address()?,
            name: unique_name(),
        })
    }

    async fn close(self) {
        self.database().await.drop().await.unwrap();
    }
}

impl MongoFixture {
    /// A connection beside the adapter.
    pub async fn database(&self) -> Database {
        Client::with_uri_str(&self.uri).await.unwrap().database(&self.name)
    }
}
