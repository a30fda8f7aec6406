//! The invariants over all stores of a shop ("the books"), as queries.

use std::{collections::BTreeSet, path::Path, time::Duration};

use anyhow::{Context, ensure};
use checkout::saga::CheckoutMachine;
use proto::events::TOPICS;
use runtime::Topic;
use saga::{Machine, Step};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use uuid::Uuid;

use crate::home::Stores;

/// How long a shop may take to become idle.
const TIMEOUT: Duration = Duration::from_mins(1);
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(1);

const FILES: [&str; 8] = [
    "checkout",
    "cart",
    "orders",
    "notification",
    "payment",
    "provider",
    "inventory",
    "bus",
];

/// The invariants of an idle shop: a name, and a query for the rows that violate it.
const INVARIANTS: [(&str, &str); 19] = [
    (
        "I1: stock = the sum of its ledger",
        "SELECT product_id FROM inventory.stock s
         WHERE on_hand <> (SELECT coalesce(sum(on_hand_delta), 0) FROM inventory.ledger l WHERE l.product_id = s.product_id)
            OR held <> (SELECT coalesce(sum(held_delta), 0) FROM inventory.ledger l WHERE l.product_id = s.product_id)",
    ),
    (
        "I1: held = the sum of live reservations",
        "SELECT product_id FROM inventory.stock s WHERE held <> (SELECT coalesce(sum(quantity), 0)
            FROM inventory.reservation_lines l JOIN inventory.reservations r USING (checkout_id)
            WHERE l.product_id = s.product_id AND r.state = 'HELD')",
    ),
    (
        "I1: on hand = received - sold",
        "SELECT product_id FROM inventory.stock s WHERE on_hand <>
            (SELECT coalesce(sum(on_hand_delta), 0) FROM inventory.ledger l
             WHERE l.product_id = s.product_id AND kind = 'RECEIVED')
          - (SELECT coalesce(sum(quantity), 0) FROM inventory.reservation_lines l
             JOIN inventory.reservations r USING (checkout_id) WHERE l.product_id = s.product_id AND r.state = 'CONFIRMED')",
    ),
    ("I2: 0 <= held <= on hand", "SELECT product_id FROM inventory.stock WHERE held < 0 OR held > on_hand"),
    (
        "I3: completed = charged exactly its total, and not refunded",
        "SELECT c.id FROM checkout.checkouts c
         LEFT JOIN provider.charges p ON p.idempotency_key = c.id AND p.outcome = 'SUCCEEDED'
            AND NOT EXISTS (SELECT 1 FROM provider.refunds r WHERE r.idempotency_key = c.id)
         WHERE (c.state = 'COMPLETED') <> (p.amount IS NOT NULL AND p.amount = c.total_minor AND p.currency = c.currency)",
    ),
    (
        "I3: no charge without a checkout",
        "SELECT idempotency_key FROM provider.charges WHERE idempotency_key NOT IN (SELECT id FROM checkout.checkouts)",
    ),
    (
        "I4: failed = nothing kept and nothing held",
        "SELECT c.id FROM checkout.checkouts c WHERE c.state = 'FAILED' AND (
            EXISTS (SELECT 1 FROM provider.charges p WHERE p.idempotency_key = c.id AND p.outcome = 'SUCCEEDED'
                AND p.amount <> (SELECT coalesce(sum(amount), 0) FROM provider.refunds r WHERE r.idempotency_key = c.id))
            OR EXISTS (SELECT 1 FROM inventory.reservations r WHERE r.checkout_id = c.id
                AND r.state IN ('HELD', 'CONFIRMED')))",
    ),
    (
        "I5: charges - refunds = the sum of orders",
        "SELECT 'sum' WHERE (SELECT coalesce(sum(amount), 0) FROM provider.charges WHERE outcome = 'SUCCEEDED')
            - (SELECT coalesce(sum(amount), 0) FROM provider.refunds)
            <> (SELECT coalesce(sum(total), 0) FROM orders.orders)",
    ),
    (
        "I6: one order a completed checkout, of the same total",
        "SELECT c.id FROM checkout.checkouts c LEFT JOIN orders.orders o ON o.checkout_id = c.id
            AND o.total = c.total_minor AND o.currency = c.currency AND o.user_id = c.user_id
         WHERE (c.state = 'COMPLETED') <> (o.id IS NOT NULL)
         UNION ALL SELECT checkout_id FROM orders.orders WHERE checkout_id NOT IN (SELECT id FROM checkout.checkouts)",
    ),
    (
        "I6: an order has the lines of its checkout",
        "WITH bought AS (SELECT c.id, l.value ->> 'product_id' AS product, l.value ->> 'quantity' AS quantity,
                l.value ->> 'unit_price' AS price
                FROM checkout.checkouts c, json_each(c.lines) l WHERE c.state = 'COMPLETED'),
            ordered AS (SELECT o.checkout_id, l.product_id, l.quantity, l.price
                FROM orders.order_lines l JOIN orders.orders o ON o.id = l.order_id)
         SELECT id FROM (SELECT * FROM bought EXCEPT SELECT * FROM ordered)
         UNION ALL SELECT checkout_id FROM (SELECT * FROM ordered EXCEPT SELECT * FROM bought)",
    ),
    (
        "stock is sold exactly to completed checkouts, line by line",
        "WITH bought AS (SELECT c.id, l.value ->> 'product_id' AS product, l.value ->> 'quantity' AS quantity
                FROM checkout.checkouts c, json_each(c.lines) l WHERE c.state = 'COMPLETED'),
            sold AS (SELECT r.checkout_id, l.product_id, l.quantity FROM inventory.reservations r
                JOIN inventory.reservation_lines l USING (checkout_id) WHERE r.state = 'CONFIRMED')
         SELECT id FROM (SELECT * FROM bought EXCEPT SELECT * FROM sold)
         UNION ALL SELECT checkout_id FROM (SELECT * FROM sold EXCEPT SELECT * FROM bought)",
    ),
    (
        "a payment agrees with the provider's ledger",
        "SELECT p.checkout_id FROM payment.payments p
         LEFT JOIN provider.charges c ON c.idempotency_key = p.checkout_id
         LEFT JOIN provider.refunds r ON r.idempotency_key = p.checkout_id
         WHERE p.state = 'INTENT'
            OR (p.state = 'SUCCEEDED') <> (c.outcome IS 'SUCCEEDED' AND r.amount IS NULL)
            OR (p.state = 'DECLINED') <> (c.outcome IS 'DECLINED')",
    ),
    (
        "I7: a cart holds exactly the lines of a checkout of its customer, and those once",
        "WITH held AS (SELECT h.value ->> 'checkout' AS id, c.user_id, l.value ->> 'product' AS product,
                l.value ->> 'quantity' AS quantity
                FROM cart.carts c, json_each(c.document, '$.held.holds') h, json_each(h.value, '$.lines') l),
            lines AS (SELECT c.id, c.user_id, l.value ->> 'product_id' AS product, l.value ->> 'quantity' AS quantity
                FROM checkout.checkouts c, json_each(c.lines) l WHERE c.id IN (SELECT id FROM held))
         SELECT id FROM (SELECT * FROM held EXCEPT SELECT * FROM lines)
         UNION ALL SELECT id FROM (SELECT * FROM lines EXCEPT SELECT * FROM held)
         UNION ALL SELECT id FROM held GROUP BY id, product HAVING count(*) > 1",
    ),
    (
        "I7: no cart holds anything for a checkout that has ended",
        "SELECT h.value ->> 'checkout' FROM cart.carts c, json_each(c.document, '$.held.holds') h
         WHERE h.value ->> 'checkout' IN (SELECT id FROM checkout.checkouts WHERE state IN ('COMPLETED', 'FAILED'))",
    ),
    (
        "I8: one checkout a user and key",
        "SELECT user_id FROM checkout.checkouts GROUP BY user_id, idempotency_key HAVING count(*) > 1",
    ),
    ("I10: no saga is unfinished", "SELECT id FROM checkout.checkouts WHERE state NOT IN ('COMPLETED', 'FAILED')"),
    (
        "I11: one event a finished checkout, at most one of an erased customer, and each event of the outbox on its topic",
        "WITH events AS (SELECT DISTINCT m.key, h.value ->> 1 AS id FROM bus.messages m, json_each(m.headers) h
                WHERE m.topic = 'checkout-outbox' AND h.value ->> 0 = 'ce_id')
         SELECT c.id FROM checkout.checkouts c WHERE (SELECT count(*) FROM events e WHERE e.key = c.id)
            NOT BETWEEN (c.user_id <> 'erased:' || c.id) AND 1
         UNION ALL SELECT id FROM checkout.outbox WHERE published_at IS NULL
            OR (topic, id) NOT IN (SELECT m.topic, h.value ->> 1 FROM bus.messages m, json_each(m.headers) h
                WHERE h.value ->> 0 = 'ce_id')",
    ),
    (
        "I12: one notification an event, and none of an erased customer",
        "WITH events AS (SELECT DISTINCT h.value ->> 1 AS id FROM bus.messages m, json_each(m.headers) h
                WHERE m.topic = 'checkout-outbox' AND h.value ->> 0 = 'ce_id'
                    AND m.key NOT IN (SELECT id FROM checkout.checkouts WHERE user_id = 'erased:' || id))
         SELECT id FROM events WHERE id NOT IN (SELECT id FROM notification.notifications)
         UNION ALL SELECT id FROM notification.notifications WHERE id NOT IN (SELECT id FROM events)",
    ),
    (
        "I12: no group has read beyond the end",
        "SELECT g.consumer_group FROM bus.group_offsets g JOIN bus.partitions p USING (topic, partition)
         WHERE g.next_offset > p.next_offset",
    ),
];

const UNFINISHED: &str =
    "SELECT 'saga ' || id || ' is ' || state FROM checkout.checkouts WHERE state NOT IN ('COMPLETED', 'FAILED')
     UNION ALL SELECT 'event ' || id || ' is not published' FROM checkout.outbox WHERE published_at IS NULL
     LIMIT 5";

/// Work that is not done: the store, and a query for it. The order matters: once the first query finds nothing, it stays so.
fn pending() -> [(&'static str, String); 2] {
    let of_topic = |topic: &'static Topic| {
        topic
            .groups
            .iter()
            .map(move |group| format!("('{group}', '{}')", topic.name))
    };
    let groups: Vec<_> = TOPICS.iter().flat_map(of_topic).collect();
    let unread = format!(
        "SELECT 'group ' || n.column1 || ' is at ' || coalesce(g.next_offset, 0) || ' of ' || p.next_offset
         FROM bus.partitions p JOIN (VALUES {}) n ON n.column2 = p.topic
            LEFT JOIN bus.group_offsets g
                ON g.topic = p.topic AND g.partition = p.partition AND g.consumer_group = n.column1
         WHERE p.next_offset > coalesce(g.next_offset, 0)
         LIMIT 5",
        groups.join(", ")
    );
    [("checkout", UNFINISHED.to_owned()), ("bus", unread)]
}

/// Opens these stores of a shop with one read-only connection.
async fn open(data_dir: &Path, stores: &[&str]) -> anyhow::Result<SqliteConnection> {
    // The stores are attached to an empty database under the names that the queries use.
    let first = SqliteConnectOptions::new()
        .filename(":memory:")
        .busy_timeout(Duration::from_secs(5));
    let mut connection = first.disable_statement_logging().connect().await?;
    for name in stores {
        let file = data_dir.join(format!("{name}.db"));
        ensure!(file.exists(), "{} is not there", file.display());
        let sql = format!("ATTACH DATABASE ? AS {name}");
        let attach = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(file.display().to_string());
        attach
            .execute(&mut connection)
            .await
            .with_context(|| format!("{name} cannot be read"))?;
    }
    sqlx::query("PRAGMA query_only = on").execute(&mut connection).await?;
    Ok(connection)
}

/// Waits until the shop is idle: all sagas ended, all events published, all consumer groups caught up.
pub async fn wait_until_idle(stores: &(impl Stores + ?Sized)) -> anyhow::Result<()> {
    wait_until_idle_within(stores, TIMEOUT).await
}

/// [`wait_until_idle`] with another timeout, for a shop with much to catch up with.
pub async fn wait_until_idle_within(stores: &(impl Stores + ?Sized), timeout: Duration) -> anyhow::Result<()> {
    let until = tokio::time::Instant::now() + timeout;
    for (store, query) in pending() {
        let mut pause = Duration::from_millis(10);
        loop {
            let snapshot = stores.snapshot(&[store]).await?;
            let mut connection = open(&snapshot, &[store]).await?;
            let pending: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query.clone()))
                .fetch_all(&mut connection)
                .await?;
            connection.close().await?;
            if pending.is_empty() {
                break;
            }
            ensure!(
                tokio::time::Instant::now() < until,
                "the shop does not become idle: {pending:?}"
            );
            // A snapshot of real engines costs more than the pause.
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_POLL_INTERVAL);
        }
    }
    Ok(())
}

/// Waits until the shop is idle; fails with every violated invariant.
pub async fn check(stores: &(impl Stores + ?Sized)) -> anyhow::Result<()> {
    wait_until_idle(stores).await?;
    balance(stores).await
}

/// Fails with every violated invariant of an idle shop.
pub async fn balance(stores: &(impl Stores + ?Sized)) -> anyhow::Result<()> {
    let snapshot = stores.snapshot(&FILES).await?;
    let mut connection = open(&snapshot, &FILES).await?;
    let mut wrong = Vec::new();
    for (name, query) in INVARIANTS {
        let rows = sqlx::query(query)
            .fetch_all(&mut connection)
            .await
            .with_context(|| name.to_owned())?;
        for row in rows {
            let what = row
                .try_get::<String, _>(0)
                .or_else(|_| row.try_get::<i64, _>(0).map(|id| id.to_string()))?;
            wrong.push(format!("{name}: {what}"));
        }
    }
    wrong.extend(histories(&mut connection).await?);
    wrong.extend(order_ids(&mut connection).await?);
    connection.close().await?;
    ensure!(wrong.is_empty(), "the books do not balance:\n{}", wrong.join("\n"));
    Ok(())
}

/// The steps that a saga of a machine of this version may take.
fn allowed_steps(version: i64) -> BTreeSet<Step> {
    let of_version = CheckoutMachine::STEPS
        .iter()
        .filter(|(of, _)| i64::from(*of) == version);
    let steps: BTreeSet<_> = of_version.flat_map(|(_, steps)| steps.iter().copied()).collect();
    steps.into_iter().chain([("", "INITIATED")]).collect()
}

/// I9: every step of every history is an allowed one, versions rise by one, and the last state is the checkout's.
async fn histories(connection: &mut SqliteConnection) -> anyhow::Result<Vec<String>> {
    // A shop of an earlier version has no column `machine`: all of its machines are of version 1.
    let knows_versions = "SELECT count(*) > 0 FROM pragma_table_info('checkouts', 'checkout') WHERE name = 'machine'";
    let knows_versions: bool = sqlx::query_scalar(knows_versions).fetch_one(&mut *connection).await?;
    let machine = if knows_versions { "c.machine" } else { "1" };
    let histories = format!(
        "SELECT h.checkout_id, h.version, h.state, c.version AS versions, c.state AS last, {machine} AS machine
         FROM checkout.history h JOIN checkout.checkouts c ON c.id = h.checkout_id ORDER BY h.checkout_id, h.version"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(histories))
        .fetch_all(connection)
        .await?;
    let mut wrong = Vec::new();
    let mut before = (String::new(), 0_i64, String::new());
    for row in rows {
        let now: (String, i64, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let first = now.0 != before.0;
        let (version, state) = if first { (0, "") } else { (before.1, before.2.as_str()) };
        let (versions, last): (i64, String) = (row.try_get(3)?, row.try_get(4)?);
        let is_allowed = allowed_steps(row.try_get("machine")?).contains(&(state, now.2.as_str()));
        if now.1 != version + 1 || !is_allowed {
            wrong.push(format!(
                "I9: {} goes from {state} ({version}) to {} ({})",
                now.0, now.2, now.1
            ));
        }
        if now.1 == versions && now.2 != last {
            wrong.push(format!("I9: {} ends as {}, but is {last}", now.0, now.2));
        }
        before = now;
    }
    Ok(wrong)
}

/// I6: the id of an order is derived from the id of its checkout.
async fn order_ids(connection: &mut SqliteConnection) -> anyhow::Result<Vec<String>> {
    let rows: Vec<(String, String)> = sqlx::query_as("SELECT id, checkout_id FROM orders.orders")
        .fetch_all(connection)
        .await?;
    let mut wrong = Vec::new();
    for (order, checkout) in rows {
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, checkout.parse::<Uuid>()?.as_bytes());
        if order != id.to_string() {
            wrong.push(format!("I6: order {order} of checkout {checkout} should be {id}"));
        }
    }
    Ok(wrong)
}
