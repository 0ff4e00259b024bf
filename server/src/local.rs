//! What the other nodes ask of this one: passes it on to the service and to `grants`, which do not know that there are
//! nodes over Redis. Does nothing itself.

use crate::{
    cluster::{Arrived, Local, Sessions},
    grants::Grants,
    model::{BoxFuture, StoreError},
    notifications::NotificationsService,
};

pub(crate) struct Here {
    pub(crate) service: NotificationsService,
    pub(crate) grants: Grants,
}

impl Local for Here {
    fn receive<'a>(&'a self, user_id: &'a str, events: Vec<Arrived>) -> BoxFuture<'a, Vec<bool>> {
        Box::pin(self.service.receive(user_id, events))
    }

    fn settle<'a>(&'a self, user_id: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(self.service.settle(user_id))
    }

    fn catch_up<'a>(&'a self, user_id: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.service.catch_up(user_id))
    }

    fn end_session(&self, session_id: &str, but_for: Option<&str>) {
        self.grants.end_session(session_id, but_for);
    }

    fn verify_sessions<'a>(&'a self, which: Sessions<'a>) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.grants.verify_all(which))
    }
}
