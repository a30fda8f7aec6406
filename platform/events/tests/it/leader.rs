//! A group leader that assigns partitions when the test says so. Speaks Kafka's protocol
//! (<https://kafka.apache.org/protocol>).

use bytes::{Buf, BufMut, Bytes};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const JOIN_GROUP: (i16, i16) = (11, 2);
const SYNC_GROUP: (i16, i16) = (14, 1);
/// The session and rebalance timeouts in milliseconds: longer than any test.
const PATIENCE: i32 = 60_000;

pub(crate) struct Leader {
    connection: TcpStream,
    group: String,
    id: String,
    generation: i32,
}

impl Leader {
    /// Creates a group.
    pub(crate) async fn of(group: String, brokers: &str) -> Self {
        let mut leader = Self {
            connection: TcpStream::connect(brokers).await.unwrap(),
            group,
            id: String::new(),
            generation: 0,
        };
        assert_eq!(leader.join().await, 1);
        leader
    }

    /// Joins or rejoins; returns the number of members.
    pub(crate) async fn join(&mut self) -> i32 {
        let mut body = Vec::new();
        put(&mut body, &self.group);
        body.put_i32(PATIENCE);
        body.put_i32(PATIENCE);
        put(&mut body, &self.id);
        put(&mut body, "consumer");
        body.put_i32(1);
        put(&mut body, "cooperative-sticky");
        // The metadata of the protocol: empty.
        body.put_i32(0);
        let mut answer = self.ask(JOIN_GROUP, &body).await;
        self.generation = answer.get_i32();
        let (_protocol, leader, id) = (get(&mut answer), get(&mut answer), get(&mut answer));
        assert_eq!(leader, id);
        self.id = id;
        answer.get_i32()
    }

    /// Completes the rebalance without assigning anything.
    pub(crate) async fn share_out(&mut self) {
        let mut body = Vec::new();
        put(&mut body, &self.group);
        body.put_i32(self.generation);
        put(&mut body, &self.id);
        body.put_i32(0);
        self.ask(SYNC_GROUP, &body).await;
    }

    /// Sends a request; returns the response after its error code.
    async fn ask(&mut self, (key, version): (i16, i16), body: &[u8]) -> Bytes {
        let mut request = Vec::new();
        request.put_i16(key);
        request.put_i16(version);
        request.put_i32(0);
        put(&mut request, "leader");
        request.put_slice(body);
        self.connection
            .write_i32(i32::try_from(request.len()).unwrap())
            .await
            .unwrap();
        self.connection.write_all(&request).await.unwrap();
        let length = self.connection.read_u32().await.unwrap();
        let mut answer = vec![0; usize::try_from(length).unwrap()];
        self.connection.read_exact(&mut answer).await.unwrap();
        let mut answer = Bytes::from(answer);
        let (_correlation, _throttle) = (answer.get_i32(), answer.get_i32());
        assert_eq!(answer.get_i16(), 0);
        answer
    }
}

fn put(to: &mut Vec<u8>, text: &str) {
    to.put_i16(i16::try_from(text.len()).unwrap());
    to.put_slice(text.as_bytes());
}

fn get(from: &mut Bytes) -> String {
    let length = usize::try_from(from.get_i16()).unwrap();
    String::from_utf8(from.split_to(length).to_vec()).unwrap()
}
