//! The gRPC interface: decode, call, encode.

mod convert;
mod status;

use std::sync::Arc;

use proto::notification::v1::{
    EraseUserRequest, EraseUserResponse, ListNotificationsRequest, ListNotificationsResponse,
    notification_service_server::NotificationService,
};
use tonic::{Request, Response, Status};

use crate::ports::NotificationStore;

/// The most notifications that one transaction of an erasure deletes.
const ERASE_BATCH: u32 = 1000;

pub(crate) struct Grpc {
    store: Arc<dyn NotificationStore>,
}

impl Grpc {
    pub(crate) const fn new(store: Arc<dyn NotificationStore>) -> Self {
        Self { store }
    }
}

#[tonic::async_trait]
impl NotificationService for Grpc {
    async fn list_notifications(
        &self,
        request: Request<ListNotificationsRequest>,
    ) -> Result<Response<ListNotificationsResponse>, Status> {
        let request = request.into_inner();
        let user = proto::convert::user_id(&request.user_id)?;
        let size = proto::convert::page_size(request.page_size)?;
        let after = convert::page_token(&request.page_token, &user)?;
        let page = self
            .store
            .list(&user, after, size)
            .await
            .map_err(|e| status::store_failed(&e))?;
        Ok(Response::new(ListNotificationsResponse {
            notifications: page.items.into_iter().map(convert::notification).collect(),
            next_page_token: convert::next_page_token(page.next, &user),
        }))
    }

    async fn erase_user(&self, request: Request<EraseUserRequest>) -> Result<Response<EraseUserResponse>, Status> {
        let request = request.into_inner();
        let user = proto::convert::user_id(&request.user_id)?;
        let checkouts = proto::convert::checkout_ids(&request.checkout_ids)?;
        let erased = storage::in_batches(ERASE_BATCH, |limit| self.store.erase(&user, &checkouts, limit)).await;
        let erased = erased.map_err(|e| status::store_failed(&e))?;
        Ok(Response::new(EraseUserResponse { notifications: erased }))
    }
}
