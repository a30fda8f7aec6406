//! Callers that exhaust connections and memory, and the customers beside them.

use std::{net::SocketAddr, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use prost::Message;
use proto::product::v1::{GetProductsRequest, UpsertProductRequest, product_service_client::ProductServiceClient};
use system_tests::{
    home::Profile,
    process::{ShopProcess, command},
    shopping::{buy_mouse, use_cart_until},
    shops::{Shop, call_raw, reason_of},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use crate::BINARY;

/// Far longer than any wait here.
const TIMEOUT: Duration = Duration::from_mins(2);
const MIB: u64 = 1024 * 1024;

/// Checks that a customer can use a cart during an attack, and that memory grows by less than `most` MiB. Returns the
/// output of the attack.
async fn check_during<T>(shop: &ShopProcess, attack: impl Future<Output = T>, most: u64) -> Result<T> {
    let before = shop.resident_memory()?;
    let mut peak = before;
    let after_round = |_| {
        peak = peak.max(shop.resident_memory()?);
        Ok(())
    };
    let (rounds, output) = use_cart_until(&shop.customer("ada")?, attack, after_round).await?;
    let grown = (peak - before) / MIB;
    println!("{grown} MiB more");
    ensure!(rounds > 0, "no customer was served");
    ensure!(grown < most, "{grown} MiB more");
    Ok(output)
}

/// Waits until the shop closes or resets a connection.
async fn wait_until_closed(mut stream: TcpStream) -> Result<()> {
    let _ = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut Vec::new())).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_grpc_connections_keep_no_customer_away_even_with_few_file_descriptors() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut few = command(Path::new("/usr/bin/prlimit"), folder.path());
    few.args(["--nofile=200:200", BINARY]);
    let shop = ShopProcess::open(few).await?;
    let port = shop.addresses["checkout"];
    let silent = try_join_all((0..220).map(|_| TcpStream::connect(port))).await?;
    for name in ["ada", "bob", "cy"] {
        buy_mouse(&shop.customer(name)?, name).await?;
    }
    try_join_all(silent.into_iter().map(wait_until_closed)).await?;
    buy_mouse(&shop.customer("dan")?, "dan").await?;
    let (_, stderr) = shop.stop().await?;
    let warnings = stderr.lines().count();
    ensure!(warnings < 20, "{warnings} lines:\n{stderr}");
    ensure!(stderr.contains("raise its limit"), "{stderr}");
    Ok(())
}

/// Creates products whose page is large; returns a client with a channel of its own.
async fn long_pages(shop: &ShopProcess) -> Result<ProductServiceClient<Channel>> {
    let mut products = ProductServiceClient::new(channel(shop.addresses["product"], 1 << 20).await?);
    for number in 0..24 {
        let product = UpsertProductRequest {
            name: format!("Thing {number}"),
            description: "\u{1f4bb}".repeat(2_000),
            price: Some(proto::money::v1::Money {
                currency_code: "USD".to_owned(),
                minor_units: 100,
            }),
            ..UpsertProductRequest::default()
        };
        products.upsert_product(product).await?;
    }
    Ok(products)
}

async fn channel(address: SocketAddr, window: u32) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint.initial_stream_window_size(window).connect().await?)
}

const PAGE: GetProductsRequest = GetProductsRequest {
    page_size: 100,
    page_token: String::new(),
    query: String::new(),
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_answers_hold_bounded_memory_and_end_with_their_connection() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shop = ShopProcess::open(command(BINARY, folder.path())).await?;
    let mut products = long_pages(&shop).await?;
    let page = products.get_products(PAGE).await?.into_inner();
    let size = page.encoded_len();
    ensure!(size > 190_000, "{size} bytes");
    let port = shop.addresses["product"];
    let greedy = join_all((0..2).map(|_| async move {
        let greedy = ProductServiceClient::new(channel(port, 0).await?);
        // All answers together would take some 340 MiB.
        let calls = (0..900).map(|_| {
            let mut greedy = greedy.clone();
            async move { greedy.get_products(PAGE).await }
        });
        let answers = tokio::time::timeout(TIMEOUT, join_all(calls)).await?;
        anyhow::Ok(answers.iter().filter(|answer| answer.is_err()).count())
    }));
    for lost in check_during(&shop, greedy, 160).await? {
        ensure!(lost? == 900, "the connection with the answers is gone");
    }
    ensure!(products.get_products(PAGE).await?.into_inner() == page);
    shop.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_request_heads_hold_bounded_memory() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let shop = ShopProcess::open(command(BINARY, folder.path())).await?;
    let gateway = shop.gateway.context("the whole shop")?;
    buy_mouse(&shop.customer("ada")?, "ada").await?;
    let head = format!("GET /health HTTP/1.1\r\nhost: shop\r\nx: {}", "a".repeat(30_000));
    let head = &head;
    let heads = join_all((0..2_000).map(|_| async move {
        let mut stream = TcpStream::connect(gateway).await?;
        // The shop may close the connection before the whole head is sent.
        let _ = stream.write_all(head.as_bytes()).await;
        wait_until_closed(stream).await
    }));
    let closed = check_during(&shop, heads, 96).await?;
    closed.into_iter().collect::<Result<Vec<_>>>()?;
    shop.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_more_than_256_kib_is_refused_by_every_service() -> Result<()> {
    let shop = Shop::open(Profile::Embedded).await?;
    // A field that no message has, which decoders skip.
    let mut message = vec![0xa2, 0xf7, 0x01, 0x80, 0x80, 0x10];
    message.resize(256 * 1024 + 6, 0);
    let message = Bytes::from(message);
    let methods = [
        "/product.v1.ProductService/GetProducts",
        "/cart.v1.CartService/GetCart",
        "/inventory.v1.InventoryService/GetStock",
        "/payment.v1.PaymentService/GetPayment",
        "/checkout.v1.CheckoutService/GetCheckout",
        "/orders.v1.OrdersService/ListOrders",
        "/notification.v1.NotificationService/ListNotifications",
    ];
    let mut refused = 0;
    let services = cartwright::ServiceName::ALL.into_iter();
    for service in services.filter(|service| *service != cartwright::ServiceName::Gateway) {
        let channel = shop.channel(service)?;
        let of_service = format!("/{}.", service.as_str());
        let own = methods.iter().filter(|method| method.starts_with(&of_service));
        for method in own.chain(&["/grpc.health.v1.Health/Check"]) {
            let status = call_raw(&channel, method, message.clone()).await?.unwrap_err();
            let expected = (Code::ResourceExhausted, "PAYLOAD_TOO_LARGE".to_owned());
            ensure!(reason_of(&status)? == expected, "{method}: {status:?}");
            refused += 1;
        }
    }
    assert_eq!(refused, 2 * methods.len());
    Ok(())
}
