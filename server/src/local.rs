//! What the other nodes ask of this one: passes it on to the service and to `grants`, which do not know that there are
//! nodes over Redis. Does nothing itself.

use async_trait::async_trait;

use crate::{
    cluster::{Arrived, Local, Sessions},
    grants::Grants,
    model::StoreError,
    notifications::NotificationsService,
};

pub(crate) struct Here {
    pub(crate) service: NotificationsService,
    pub(crate) grants: Grants,
}

#[async_trait]
impl Local for Here {
    async fn receive(&self, user_id: &str, events: Vec<Arrived>) -> Vec<bool> {
        self.service.receive(user_id, events).await
    }

    async fn settle(&self, user_id: &str) {
        self.service.settle(user_id).await;
    }

    async fn catch_up(&self, user_id: &str) -> Result<(), StoreError> {
        self.service.catch_up(user_id).await
    }

    fn end_session(&self, session_id: &str, but_for: Option<&str>) {
        self.grants.end_session(session_id, but_for);
    }

    async fn verify_sessions(&self, which: Sessions<'_>) -> Result<(), StoreError> {
        self.grants.verify_all(which).await
    }
}
