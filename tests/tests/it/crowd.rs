//! One customer with as many requests as possible does not disturb the others.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use futures::future::try_join_all;
use system_tests::{
    process::{ShopProcess, command},
    shopping::use_cart_until,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::BINARY;

const ENDLESS: usize = 1100;
/// Far more than an answer takes on any machine. Without a limit per customer, others were refused for half a minute.
const BOUND: Duration = Duration::from_secs(2);

/// Sends a body that never ends; returns the status of the answer.
async fn send_endless_body(shop: &ShopProcess) -> Result<String> {
    let greedy = shop.customer("greedy")?;
    let mut stream = TcpStream::connect(greedy.gateway).await?;
    let head = format!(
        "POST /api/v1/cart/items HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{{\r\n",
        greedy.token.unwrap()
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8(answer)?;
    Ok(answer.split(' ').nth(1).unwrap_or_default().to_owned())
}

fn percentile(times: &mut [Duration], of_a_hundred: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * of_a_hundred / 100]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endless_bodies_of_one_customer_do_not_delay_others() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shop = ShopProcess::open(command(BINARY, folder.path())).await?;
    let bodies = try_join_all((0..ENDLESS).map(|_| send_endless_body(&shop)));
    let mut times = Vec::new();
    let after_round = |took: Duration| {
        times.push(took / 2);
        Ok(())
    };
    let (_, statuses) = use_cart_until(&shop.customer("other")?, bodies, after_round).await?;
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for status in statuses? {
        *counted.entry(status).or_default() += 1;
    }
    let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
    println!(
        "{} answers beside {ENDLESS} endless bodies: p50 {p50:?}, p99 {p99:?}; the bodies ended with {counted:?}",
        times.len() * 2
    );
    assert!(p99 < BOUND, "{p99:?}");
    // The gateway waited for the customer's share of bodies, and refused the rest at once.
    let of = |status: &str| counted.get(status).copied().unwrap_or_default();
    assert_eq!(of("408") + of("429"), ENDLESS, "{counted:?}");
    assert!(of("408") > 0 && of("429") > 0, "{counted:?}");
    shop.stop().await?;
    Ok(())
}
