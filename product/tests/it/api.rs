//! The gRPC interface.

use std::time::Duration;

use product::{Config, Store};
use proto::{
    Reason,
    ids::MAX_PRODUCT_ID,
    money::v1::Money,
    product::v1::{
        BatchGetProductsRequest, GetProductRequest, GetProductsRequest, UpsertProductRequest,
        product_service_client::ProductServiceClient,
    },
    status,
};
use runtime::{Clock, Runtime, channel::Peer, serve::Running};
use testing::test_policy;
use tonic::Code;

const GRPC_CONTRACT: testing::GrpcContract = (proto::FILE_DESCRIPTOR_SET, status::add_status_details);

type Client = ProductServiceClient<Peer>;
/// Makes a valid request invalid.
type Invalidate = fn(&mut UpsertProductRequest);

const CREATED_AT: i64 = 1_700_000_000;

/// A running service.
struct Api {
    client: Client,
    running: Running,
    _folder: tempfile::TempDir,
}

async fn start() -> Api {
    let folder = tempfile::tempdir().unwrap();
    let now = jiff::Timestamp::from_second(CREATED_AT).unwrap();
    let runtime = Runtime {
        clock: Clock::from_fn(move || now),
        ..Runtime::system()
    };
    let config = Config {
        store: Store::Sqlite(folder.path().join("product.db")),
    };
    let service = product::build(config, &runtime).await.unwrap();
    assert_eq!(service.name, "product");
    let (peer, running) = testing::serve(service, GRPC_CONTRACT, test_policy(), &runtime).await;
    Api {
        client: Client::new(peer),
        running,
        _folder: folder,
    }
}

fn usd(minor_units: i64) -> Money {
    Money {
        currency_code: "USD".to_owned(),
        minor_units,
    }
}

fn cent_of(currency_code: &str) -> Money {
    Money {
        currency_code: currency_code.to_owned(),
        minor_units: 1,
    }
}

fn lamp() -> UpsertProductRequest {
    UpsertProductRequest {
        id: 0,
        name: "Lamp".to_owned(),
        description: "bright".to_owned(),
        price: Some(usd(1_999)),
        image_url: "https://images.test/lamp.png".to_owned(),
    }
}

/// Asserts the reason of a refusal and its invalid fields.
fn assert_refused(refused: &tonic::Status, reason: Reason, fields: &[&str]) {
    assert_eq!(status::refused(refused), Some(reason), "{refused:?}");
    assert_eq!(refused.code(), reason.code());
    let invalid: Vec<_> = status::fields(refused).into_iter().map(|(field, _)| field).collect();
    assert_eq!(invalid, fields);
}

#[tokio::test]
async fn products_are_listed_page_by_page() {
    let mut api = start().await;
    let mut request = GetProductsRequest {
        page_size: 2,
        ..Default::default()
    };
    let mut pages = Vec::new();
    loop {
        let page = api.client.get_products(request.clone()).await.unwrap().into_inner();
        pages.push(page.products.iter().map(|product| product.id).collect::<Vec<_>>());
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(pages, [vec![1, 2], vec![3, 4], vec![5]]);
}

#[tokio::test]
async fn a_last_page_that_is_full_has_no_token() {
    let mut api = start().await;
    let request = GetProductsRequest {
        page_size: 5,
        ..Default::default()
    };
    let page = api.client.get_products(request).await.unwrap().into_inner();
    assert_eq!((page.products.len(), page.next_page_token.as_str()), (5, ""));
}

#[tokio::test]
async fn a_query_narrows_the_list() {
    let mut api = start().await;
    let request = GetProductsRequest {
        query: "WIRE".to_owned(),
        ..Default::default()
    };
    let page = api.client.get_products(request).await.unwrap().into_inner();
    assert_eq!(
        page.products
            .iter()
            .map(|product| product.name.as_str())
            .collect::<Vec<_>>(),
        ["Mouse"]
    );
}

#[tokio::test]
async fn a_page_token_belongs_to_its_query() {
    let mut api = start().await;
    let mut request = GetProductsRequest {
        query: ", m".to_owned(),
        page_size: 1,
        ..Default::default()
    };
    let page = api.client.get_products(request.clone()).await.unwrap().into_inner();
    request.page_token = page.next_page_token;
    // The same words with another page size.
    for query in [", m", " M  ,"] {
        let request = GetProductsRequest {
            query: query.to_owned(),
            page_size: 2,
            ..request.clone()
        };
        let next = api.client.get_products(request).await.unwrap().into_inner();
        assert_eq!(next.products.len(), 2, "{query}");
        assert!(next.products[0].id > page.products[0].id);
    }
    for query in ["", "m", ",m"] {
        let request = GetProductsRequest {
            query: query.to_owned(),
            ..request.clone()
        };
        let refused = api.client.get_products(request).await.unwrap_err();
        assert_refused(&refused, Reason::InvalidArgument, &["page_token"]);
    }
    // A token of an earlier version.
    request.page_token = "MQ".to_owned();
    let refused = api.client.get_products(request).await.unwrap_err();
    assert_refused(&refused, Reason::InvalidArgument, &["page_token"]);
}

#[tokio::test]
async fn a_bad_list_request_names_its_field() {
    let mut api = start().await;
    let bad = [
        (
            GetProductsRequest {
                page_size: -1,
                ..Default::default()
            },
            "page_size",
        ),
        (
            GetProductsRequest {
                page_token: "***".to_owned(),
                ..Default::default()
            },
            "page_token",
        ),
        (
            GetProductsRequest {
                page_token: "A".repeat(100_000),
                ..Default::default()
            },
            "page_token",
        ),
        (
            GetProductsRequest {
                query: "q".repeat(101),
                ..Default::default()
            },
            "query",
        ),
        (
            GetProductsRequest {
                query: "a\0b".to_owned(),
                ..Default::default()
            },
            "query",
        ),
    ];
    for (request, field) in bad {
        assert_refused(
            &api.client.get_products(request).await.unwrap_err(),
            Reason::InvalidArgument,
            &[field],
        );
    }
}

#[tokio::test]
async fn one_product_can_be_read() {
    let mut api = start().await;
    let product = api
        .client
        .get_product(GetProductRequest { id: 1 })
        .await
        .unwrap()
        .into_inner()
        .product
        .unwrap();
    assert_eq!((product.name.as_str(), product.price), ("Laptop", Some(usd(129_999))));
    assert!(product.created_at.is_some());
}

#[tokio::test]
async fn an_unknown_product_is_not_found() {
    let mut api = start().await;
    for id in [6, MAX_PRODUCT_ID] {
        let refused = api.client.get_product(GetProductRequest { id }).await.unwrap_err();
        assert_refused(&refused, Reason::ProductNotFound, &[]);
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::NotFound, "product not found")
        );
    }
}

#[tokio::test]
async fn an_id_out_of_range_is_invalid() {
    let mut api = start().await;
    for id in [0, -1, i64::MIN, MAX_PRODUCT_ID + 1, i64::MAX] {
        let refused = api.client.get_product(GetProductRequest { id }).await.unwrap_err();
        assert_refused(&refused, Reason::InvalidProductId, &["id"]);
    }
    let refused = api
        .client
        .batch_get_products(BatchGetProductsRequest {
            ids: vec![1, MAX_PRODUCT_ID + 1],
        })
        .await
        .unwrap_err();
    assert_refused(&refused, Reason::InvalidProductId, &["ids[1]"]);
    let refused = api
        .client
        .upsert_product(UpsertProductRequest { id: -1, ..lamp() })
        .await
        .unwrap_err();
    assert_refused(&refused, Reason::InvalidProductId, &["id"]);
}

#[tokio::test]
async fn a_batch_returns_existing_products() {
    let mut api = start().await;
    let mut ids = vec![5, 1, 5, 1_000];
    let answer = api
        .client
        .batch_get_products(BatchGetProductsRequest { ids: ids.clone() })
        .await
        .unwrap();
    assert_eq!(
        answer
            .into_inner()
            .products
            .iter()
            .map(|product| product.id)
            .collect::<Vec<_>>(),
        [1, 5]
    );
    let answer = api
        .client
        .batch_get_products(BatchGetProductsRequest::default())
        .await
        .unwrap();
    assert!(answer.into_inner().products.is_empty());

    ids.resize(100, 7);
    assert!(
        api.client
            .batch_get_products(BatchGetProductsRequest { ids: ids.clone() })
            .await
            .is_ok()
    );
    ids.push(7);
    let refused = api
        .client
        .batch_get_products(BatchGetProductsRequest { ids })
        .await
        .unwrap_err();
    assert_refused(&refused, Reason::InvalidArgument, &["ids"]);
}

#[tokio::test]
async fn a_product_is_created_and_its_price_changed() {
    let mut api = start().await;
    let made = api
        .client
        .upsert_product(lamp())
        .await
        .unwrap()
        .into_inner()
        .product
        .unwrap();
    assert_eq!((made.id, made.price.clone()), (6, Some(usd(1_999))));
    assert_eq!(made.created_at.map(|at| at.seconds), Some(CREATED_AT));
    assert_eq!(made.image_url, lamp().image_url);

    let cheaper = UpsertProductRequest {
        id: made.id,
        price: Some(usd(999)),
        ..lamp()
    };
    let changed = api
        .client
        .upsert_product(cheaper)
        .await
        .unwrap()
        .into_inner()
        .product
        .unwrap();
    assert_eq!(
        changed,
        proto::product::v1::Product {
            price: Some(usd(999)),
            ..made
        }
    );
    let read = api
        .client
        .get_product(GetProductRequest { id: 6 })
        .await
        .unwrap()
        .into_inner()
        .product
        .unwrap();
    assert_eq!(read, changed);
}

#[tokio::test]
async fn a_bad_product_names_its_field() {
    let mut api = start().await;
    let bad: [(Invalidate, &str); 12] = [
        (|request| request.name.clear(), "name"),
        (|request| request.name = " ".to_owned(), "name"),
        (|request| request.name = "n".repeat(201), "name"),
        (|request| request.name = "a\u{7}".to_owned(), "name"),
        (|request| request.description = "d".repeat(2_001), "description"),
        (|request| request.price = None, "price"),
        (|request| request.price = Some(usd(0)), "price.minor_units"),
        (|request| request.price = Some(usd(-5)), "price.minor_units"),
        (|request| request.price = Some(usd(i64::MAX)), "price.minor_units"),
        (|request| request.price = Some(cent_of("EUR")), "price.currency_code"),
        (|request| request.price = Some(cent_of("usd")), "price.currency_code"),
        (|request| request.image_url = "u".repeat(2_001), "image_url"),
    ];
    for (invalidate, field) in bad {
        let mut request = lamp();
        invalidate(&mut request);
        assert_refused(
            &api.client.upsert_product(request).await.unwrap_err(),
            Reason::InvalidArgument,
            &[field],
        );
    }
    let page = api
        .client
        .get_products(GetProductsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(page.products.len(), 5, "nothing was written");
}

#[tokio::test]
async fn the_service_stops() {
    let api = start().await;
    let address = api.running.address;
    api.running.stop(Duration::from_secs(5)).await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
