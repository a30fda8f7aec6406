//! Isolated keys in Redis.

use redis::{AsyncCommands, Client, aio::MultiplexedConnection};

use crate::{Engine, Fixture, unique_name};

/// All keys with a unique prefix.
#[derive(Debug)]
pub struct RedisFixture {
    pub address: String,
    pub prefix: String,
}

impl Fixture for RedisFixture {
    fn new() -> Option<Self> {
        Some(Self {
            address: Engine::Redis.address()?,
            prefix: format!("{}:", unique_name()),
        })
    }
}

impl RedisFixture {
    /// A connection beside the adapter.
    pub async fn connect(&self) -> MultiplexedConnection {
        let client = Client::open(format!("redis://{}/", self.address)).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// Deletes all keys of this fixture.
    pub async fn clear(&self) {
        let mut connection = self.connect().await;
        let keys: Vec<String> = connection.keys(format!("{}*", self.prefix)).await.unwrap();
        if !keys.is_empty() {
            let _: () = connection.del(keys).await.unwrap();
        }
    }
}
