//! Alice looks at everything, and fills and empties her cart: all that a customer can do but buy.

use anyhow::ensure;
use async_trait::async_trait;
use http::Method;
use serde_json::{Value, json};

use crate::crash::{
    people::{People, call, lines},
    scenario::{Said, Scenario},
};

const CART: &str = "/api/v1/cart";
const ITEMS: &str = "/api/v1/cart/items";

#[derive(Debug)]
pub(super) struct Browsing;

#[async_trait(?Send)]
impl Scenario for Browsing {
    async fn prepare(&self, people: &People<'_>) -> anyhow::Result<()> {
        people.has_bought(&people.alice, 1).await
    }

    /// Each change of the cart is told as well: what it is afterwards.
    async fn play(&self, people: &People<'_>, said: &mut Said) -> anyhow::Result<()> {
        let read = async |path: &str| call(&people.alice, Method::GET, path, None).await;
        let change = async |method, path: &str, body: Option<Value>| {
            call(&people.alice, method, path, body.as_ref())
                .await
                .map(|cart| lines(&cart))
        };
        said.push(("products", read("/api/v1/products").await?));
        said.push(("product", read("/api/v1/products/2").await?));
        let mouse = json!({"product_id": 2, "quantity": 2});
        said.push(("change", change(Method::POST, ITEMS, Some(mouse)).await?));
        let three = json!({"quantity": 3});
        said.push((
            "change",
            change(Method::PUT, "/api/v1/cart/items/2", Some(three)).await?,
        ));
        let keyboard = json!({"product_id": 3, "quantity": 1});
        said.push(("change", change(Method::POST, ITEMS, Some(keyboard)).await?));
        said.push(("change", change(Method::DELETE, "/api/v1/cart/items/3", None).await?));
        said.push(("cart", people.cart().await?));
        let orders = read("/api/v1/orders").await?;
        let order = |field: &str| orders[0][field].as_str().unwrap_or_default().to_owned();
        let (order, checkout) = (order("id"), order("checkout_id"));
        said.push(("orders", orders));
        said.push(("order", read(&format!("/api/v1/orders/{order}")).await?));
        said.push(("checkout", read(&format!("/api/v1/checkout/{checkout}")).await?));
        said.push(("change", change(Method::DELETE, CART, None).await?));
        said.push(("emptied", people.cart().await?));
        Ok(())
    }

    /// Alice's cart is as the last change left it that was answered, or as the one after that would have.
    async fn after_crash(&self, people: &People<'_>, said: &Said) -> anyhow::Result<()> {
        let states = [
            json!([]),
            json!([[2, 2]]),
            json!([[2, 3]]),
            json!([[2, 3], [3, 1]]),
            json!([[2, 3]]),
            json!([]),
        ];
        let cart = people.cart().await?;
        let answered = said.iter().filter(|(question, _)| *question == "change").count();
        let mut possible = states.iter().skip(answered).take(2);
        ensure!(
            possible.any(|state| *state == cart),
            "after {answered} changes the cart is {cart}"
        );
        Ok(())
    }

    fn other_questions(&self) -> &[&'static str] {
        &["products", "product", "cart", "orders", "order", "checkout", "emptied"]
    }
}
