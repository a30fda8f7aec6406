//! Keys of a test's own in Redis.

use redis::{AsyncCommands, Client, aio::MultiplexedConnection};

use crate::{Engine, Fixture, unique_name};

/// All keys that begin with a prefix.
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
    /// How any other program reaches it.
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
