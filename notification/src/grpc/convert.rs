//! Conversions between messages and domain values.

use proto::{notification::v1 as wire, status::Refusal};
use storage::Cursor;

use crate::domain::{Notification, NotificationKind, UserId};

/// Binds page tokens to the list of one user.
fn list_name(user: &UserId) -> String {
    format!("notifications of {}", user.as_str())
}

pub(super) fn page_token(wire: &str, user: &UserId) -> Result<Option<Cursor>, Refusal> {
    proto::convert::page_token(wire, |token| Cursor::from_token(token, &list_name(user)))
}

pub(super) fn next_page_token(next: Option<Cursor>, user: &UserId) -> String {
    next.map(|next| next.to_token(&list_name(user))).unwrap_or_default()
}

pub(super) fn notification(notification: Notification) -> wire::Notification {
    let kind = match notification.kind {
        NotificationKind::OrderConfirmed => wire::NotificationKind::OrderConfirmed,
        NotificationKind::CheckoutFailed => wire::NotificationKind::CheckoutFailed,
    };
    wire::Notification {
        id: notification.id.0.to_string(),
        user_id: notification.user_id.into_string(),
        kind: kind.into(),
        checkout_id: notification.checkout_id.0.to_string(),
        text: notification.text,
        created_at: Some(proto::convert::timestamp(notification.created_at)),
    }
}
