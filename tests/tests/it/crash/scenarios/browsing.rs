//! Alice reads everything, and fills and empties her cart: all that a customer can do but buy.

use anyhow::ensure;
use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};

use crate::crash::{
    customers::{Customers, call, lines},
    scenario::{Responses, Scenario},
};

const CART: &str = "/api/v1/cart";
const ITEMS: &str = "/api/v1/cart/items";

#[derive(Debug)]
pub(super) struct Browsing;

#[async_trait(?Send)]
impl Scenario for Browsing {
    async fn prepare(&self, customers: &Customers<'_>) -> anyhow::Result<()> {
        customers.buy_laptops(&customers.alice, 1).await
    }

    /// Records the cart after each change, too.
    async fn run(&self, customers: &Customers<'_>, responses: &mut Responses) -> anyhow::Result<()> {
        let read = async |path: &str| call(&customers.alice, Method::GET, path, None).await;
        let change = async |method, path: &str, body: Option<Value>| {
            call(&customers.alice, method, path, body.as_ref())
                .await
                .map(|cart| lines(&cart))
        };
        responses.push(("products", read("/api/v1/products").await?));
        responses.push(("product", read("/api/v1/products/2").await?));
        let mouse = json!({"product_id": 2, "quantity": 2});
        responses.push(("change", change(Method::POST, ITEMS, Some(mouse)).await?));
        let three = json!({"quantity": 3});
        responses.push((
            "change",
            change(Method::PUT, "/api/v1/cart/items/2", Some(three)).await?,
        ));
        let keyboard = json!({"product_id": 3, "quantity": 1});
        responses.push(("change", change(Method::POST, ITEMS, Some(keyboard)).await?));
        responses.push(("change", change(Method::DELETE, "/api/v1/cart/items/3", None).await?));
        responses.push(("cart", customers.cart().await?));
        let orders = read("/api/v1/orders").await?;
        let order = |field: &str| orders[0][field].as_str().unwrap_or_default().to_owned();
        let (order, checkout) = (order("id"), order("checkout_id"));
        responses.push(("orders", orders));
        responses.push(("order", read(&format!("/api/v1/orders/{order}")).await?));
        responses.push(("checkout", read(&format!("/api/v1/checkout/{checkout}")).await?));
        responses.push(("change", change(Method::DELETE, CART, None).await?));
        responses.push(("emptied", customers.cart().await?));
        Ok(())
    }

    /// Alice's cart is in the state after the last answered change, or after the next one.
    async fn after_crash(&self, customers: &Customers<'_>, responses: &Responses) -> anyhow::Result<()> {
        let states = [
            json!([]),
            json!([[2, 2]]),
            json!([[2, 3]]),
            json!([[2, 3], [3, 1]]),
            json!([[2, 3]]),
            json!([]),
        ];
        let cart = customers.cart().await?;
        let answered = responses.iter().filter(|(request, _)| *request == "change").count();
        let mut possible = states.iter().skip(answered).take(2);
        ensure!(
            possible.any(|state| *state == cart),
            "after {answered} changes the cart is {cart}"
        );
        Ok(())
    }

    fn other_requests(&self) -> &[&'static str] {
        &["products", "product", "cart", "orders", "order", "checkout", "emptied"]
    }
}
