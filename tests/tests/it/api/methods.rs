//! Calls each method of each service over TCP.

use anyhow::{Context, Result};
use proto::{
    cart::v1::{AddItemRequest, ClearCartRequest, GetCartRequest, RemoveItemRequest, UpdateQuantityRequest},
    inventory::v1::{AddStockRequest, ConfirmRequest, GetStockRequest, Line, ReleaseRequest, ReserveRequest, Stock},
    payment::v1::{ChargeRequest, GetPaymentRequest, PaymentStatus, RefundRequest},
    product::v1::{BatchGetProductsRequest, GetProductRequest, GetProductsRequest, Product, UpsertProductRequest},
};
use system_tests::{home::Profile, shops::Shop};

use super::usd;

on_every_profile! {
    the_catalogue_is_read_in_pages_in_batches_and_by_id,
    a_product_is_created_and_replaced,
    carts_are_filled_changed_and_emptied,
    stock_is_reserved_confirmed_released_and_received,
    payments_are_charged_found_and_refunded,
}

async fn the_catalogue_is_read_in_pages_in_batches_and_by_id(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let mut products = shop.products()?;
    let mut request = GetProductsRequest {
        page_size: 2,
        ..Default::default()
    };
    let mut names = Vec::new();
    loop {
        let page = products.get_products(request.clone()).await?.into_inner();
        names.extend(page.products.into_iter().map(|product| product.name));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(names, ["Laptop", "Mouse", "Keyboard", "Monitor", "Headphones"]);

    let laptop = products.get_product(GetProductRequest { id: 1 }).await?.into_inner();
    let laptop = laptop.product.context("no product")?;
    assert_eq!(
        (laptop.price, laptop.description.as_str()),
        (usd(129_999), "for work and gaming")
    );
    let request = BatchGetProductsRequest { ids: vec![3, 99, 1, 3] };
    let found = products.batch_get_products(request).await?.into_inner().products;
    assert_eq!(found.iter().map(|product| product.id).collect::<Vec<_>>(), [1, 3]);
    Ok(())
}

async fn a_product_is_created_and_replaced(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let mut products = shop.products()?;
    let new = UpsertProductRequest {
        name: "Desk".to_owned(),
        description: "oak".to_owned(),
        price: usd(50_000),
        ..Default::default()
    };
    let made = products.upsert_product(new.clone()).await?.into_inner().product;
    let desk = made.clone().context("no product")?;
    assert!(desk.id > 5, "{desk:?}");
    let found = products.get_product(GetProductRequest { id: desk.id }).await?;
    assert_eq!(found.into_inner().product, made);
    let cheaper = UpsertProductRequest {
        id: desk.id,
        description: String::new(),
        price: usd(1),
        ..new
    };
    let changed = products.upsert_product(cheaper).await?.into_inner().product;
    let expected = Product {
        price: usd(1),
        description: String::new(),
        ..desk
    };
    assert_eq!(changed, Some(expected));
    Ok(())
}

async fn carts_are_filled_changed_and_emptied(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let mut carts = shop.carts()?;
    let user_id = || "u".to_owned();
    let empty = carts
        .get_cart(GetCartRequest {
            user_id: user_id(),
            fresh: false,
        })
        .await?
        .into_inner()
        .cart
        .context("no cart")?;
    assert_eq!((empty.cart_id.as_str(), empty.version, empty.items.len()), ("", 0, 0));

    let add = AddItemRequest {
        user_id: user_id(),
        product_id: 2,
        quantity: 3,
        expected_version: Some(0),
        idempotency_key: String::new(),
    };
    let added = carts.add_item(add.clone()).await?.into_inner();
    assert!(added.created);
    let again = carts
        .add_item(AddItemRequest {
            expected_version: None,
            ..add
        })
        .await?
        .into_inner();
    let cart = again.cart.context("no cart")?;
    assert_eq!(
        (again.created, cart.items[0].quantity, cart.total_price, cart.version),
        (false, 6, usd(17_994), 2)
    );

    let set = UpdateQuantityRequest {
        user_id: user_id(),
        product_id: 2,
        quantity: 1,
        expected_version: Some(2),
    };
    let cart = carts.update_quantity(set).await?.into_inner().cart.context("no cart")?;
    assert_eq!(
        (cart.items[0].quantity, cart.items[0].subtotal.clone(), cart.version),
        (1, usd(2_999), 3)
    );

    let remove = RemoveItemRequest {
        user_id: user_id(),
        product_id: 2,
        expected_version: Some(3),
    };
    let cart = carts.remove_item(remove).await?.into_inner().cart.context("no cart")?;
    assert_eq!((cart.items.len(), cart.total_price), (0, usd(0)));
    let clear = ClearCartRequest {
        user_id: user_id(),
        expected_version: None,
    };
    let cart = carts.clear_cart(clear).await?.into_inner().cart.context("no cart")?;
    let known = carts
        .get_cart(GetCartRequest {
            user_id: user_id(),
            fresh: false,
        })
        .await?
        .into_inner()
        .cart;
    assert_eq!(known, Some(cart));
    shop.balance().await
}

async fn stock_is_reserved_confirmed_released_and_received(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let mut inventory = shop.inventory()?;
    let id = |n: u128| uuid::Uuid::from_u128(n).to_string();
    let reserve = |n, quantity| ReserveRequest {
        checkout_id: id(n),
        lines: vec![Line {
            product_id: 1,
            quantity,
        }],
    };
    let held = inventory.reserve(reserve(1, 10)).await?.into_inner();
    held.expires_at.context("a reservation without an end")?;
    inventory.reserve(reserve(2, 5)).await?;
    inventory.confirm(ConfirmRequest { checkout_id: id(1) }).await?;
    let request = GetStockRequest {
        product_ids: vec![1, 77],
    };
    let held = inventory.get_stock(request).await?.into_inner().stock;
    assert_eq!(held, [laptops(90, 5)]);
    inventory.release(ReleaseRequest { checkout_id: id(2) }).await?;

    let receive = AddStockRequest {
        product_id: 1,
        quantity: 10,
        idempotency_key: "lorry 7".to_owned(),
    };
    for _ in 0..2 {
        let stock = inventory.add_stock(receive.clone()).await?.into_inner().stock;
        assert_eq!(stock, Some(laptops(100, 0)));
    }
    let all = inventory
        .get_stock(GetStockRequest::default())
        .await?
        .into_inner()
        .stock;
    let available: Vec<_> = all.iter().map(|stock| stock.available).collect();
    assert_eq!(available, [100, 500, 300, 150, 200]);
    Ok(())
}

const fn laptops(on_hand: i64, held: i64) -> Stock {
    Stock {
        product_id: 1,
        on_hand,
        held,
        available: on_hand - held,
    }
}

async fn payments_are_charged_found_and_refunded(profile: Profile) -> Result<()> {
    let shop = Shop::open(profile).await?;
    let mut payments = shop.payments()?;
    let checkout_id = || super::NOBODYS.to_owned();
    let charge = ChargeRequest {
        checkout_id: checkout_id(),
        amount: usd(4_200),
        payment_method: "pm_card_ok".to_owned(),
    };
    let charged = payments
        .charge(charge.clone())
        .await?
        .into_inner()
        .payment
        .context("no payment")?;
    assert_eq!(
        (charged.status(), charged.amount.clone()),
        (PaymentStatus::Succeeded, usd(4_200))
    );
    let again = payments.charge(charge).await?.into_inner().payment;
    assert_eq!(again.as_ref(), Some(&charged));
    let found = payments
        .get_payment(GetPaymentRequest {
            checkout_id: checkout_id(),
        })
        .await?
        .into_inner()
        .payment;
    assert_eq!(found, Some(charged.clone()));
    let refunded = payments
        .refund(RefundRequest {
            checkout_id: checkout_id(),
        })
        .await?
        .into_inner()
        .payment;
    let refunded = refunded.context("no payment")?;
    assert_eq!(
        (refunded.status(), refunded.payment_id),
        (PaymentStatus::Refunded, charged.payment_id)
    );
    Ok(())
}
