//! Databases of a test's own in MongoDB.

use mongodb::{Client, Database};

use crate::{Engine, Fixture, unique_name};

/// A database of its own, which is dropped in the end.
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
    /// How any other program reaches it.
    pub async fn database(&self) -> Database {
        Client::with_uri_str(&self.uri).await.unwrap().database(&self.name)
    }
}
