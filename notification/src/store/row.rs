//! A row of `notifications`, from either engine.

use storage::{Row, StoreError};

use crate::domain::{CheckoutId, Notification, NotificationId, NotificationKind, UserId};

pub(super) fn notification(row: Row<'_>) -> Result<Notification, StoreError> {
    let kind = row.text("kind")?;
    Ok(Notification {
        id: NotificationId(row.uuid("id")?),
        user_id: UserId::stored(row.text("user_id")?),
        kind: NotificationKind::parse(&kind).ok_or_else(|| StoreError::corrupt(format!("there is no kind {kind}")))?,
        checkout_id: CheckoutId(row.uuid("checkout_id")?),
        text: row.text("text")?,
        created_at: row.time("created_at")?,
    })
}
