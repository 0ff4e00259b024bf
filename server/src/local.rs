//! This node as the other nodes see it. Puts together what they may ask for; does nothing itself.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use crate::{
    cluster::{Arrived, Local},
    notifications::NotificationsService,
    rights::Rights,
    session::{SessionError, VerifySession},
    store::{BoxFuture, StoreError},
};

/// How many sessions are looked up at once.
const AT_ONCE: usize = 64;

pub(crate) struct Here {
    pub(crate) service: NotificationsService,
    pub(crate) sessions: Arc<dyn VerifySession>,
    pub(crate) rights: Rights,
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
        match but_for {
            Some(owner) => self.rights.end_session_but_for(owner, session_id),
            None => self.rights.end_session(session_id),
        }
    }

    fn verify_sessions(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let verified = stream::iter(self.rights.all()).map(|(session_id, user_id)| async move {
                match self.sessions.verify(&session_id, &user_id).await {
                    Ok(()) => Ok(()),
                    Err(SessionError::Unavailable(error)) => Err(error),
                    Err(SessionError::Invalid) => {
                        self.rights.end_session_of(&user_id, &session_id);
                        Ok(())
                    }
                }
            });
            // All of them, whatever the first says.
            let outcomes: Vec<_> = verified.buffer_unordered(AT_ONCE).collect().await;
            outcomes.into_iter().collect()
        })
    }
}
