//! Which connections rest on which session and until when on which token, so that they are closed when either ends.
//!
//! Whoever ends a session tells it here, on every node; nothing else has to be told.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use crate::{
    cluster::Peers,
    session::{Session, SessionStore, now_ms},
    socketio::Connection,
    store::{BoxFuture, StoreError},
};

/// How often it is looked whose token has expired. By the clock on the wall, which may be set meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// All rights of this node.
#[derive(Clone, Default)]
pub struct Rights(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    rights: HashMap<u64, Right>,
    by_session: HashMap<String, Vec<u64>>,
    /// Those with a token that ends, by when.
    by_end: BTreeSet<(i64, u64)>,
    last: u64,
    looking: bool,
}

struct Right {
    user_id: String,
    session_id: String,
    ends_at_ms: Option<i64>,
    connection: Weak<Connection>,
    /// Whether the session is known to be right. Until then the end of one is a reason to ask again, and no more: what is said
    /// of the end may be said late, and a client that comes after it is to be refused, not cut off.
    verified: bool,
    doubted: bool,
}

/// Holds a right for as long as it is not dropped.
pub(crate) struct Grant {
    rights: Rights,
    id: u64,
}

impl Rights {
    /// Begins to watch a connection. To be called before the session is verified, so that a revocation that comes in between is
    /// not missed: [`Grant::confirm`] tells of it.
    pub(crate) fn grant(
        &self,
        user_id: &str,
        session_id: &str,
        ends_at_ms: Option<i64>,
        connection: &Arc<Connection>,
    ) -> Grant {
        let mut inner = self.lock();
        inner.last += 1;
        let id = inner.last;
        inner.by_session.entry(session_id.to_owned()).or_default().push(id);
        inner.by_end.extend(ends_at_ms.map(|end| (end, id)));
        let (user_id, session_id) = (user_id.to_owned(), session_id.to_owned());
        let connection = Arc::downgrade(connection);
        inner.rights.insert(id, Right { user_id, session_id, ends_at_ms, connection, verified: false, doubted: false });
        if !std::mem::replace(&mut inner.looking, true) {
            tokio::spawn(look(Arc::downgrade(&self.0)));
        }
        Grant { rights: self.clone(), id }
    }

    /// Closes every connection that rests on this session.
    pub fn end_session(&self, session_id: &str) {
        self.end(session_id, |_| true);
    }

    /// The same for connections of anybody else than its owner.
    pub fn end_session_but_for(&self, owner: &str, session_id: &str) {
        self.end(session_id, |user_id| user_id != owner);
    }

    /// The same for connections of one user.
    pub(crate) fn end_session_of(&self, user_id: &str, session_id: &str) {
        self.end(session_id, |it| it == user_id);
    }

    fn end(&self, session_id: &str, whose: impl Fn(&str) -> bool) {
        self.close(|inner| {
            let Inner { rights, by_session, .. } = inner;
            let mut connections = Vec::new();
            for id in by_session.get(session_id).into_iter().flatten() {
                let Some(right) = rights.get_mut(id).filter(|right| whose(&right.user_id)) else { continue };
                match right.verified {
                    true => connections.extend(right.connection.upgrade()),
                    false => right.doubted = true,
                }
            }
            connections
        });
    }

    /// On which sessions connections rest, each with a user.
    pub(crate) fn all(&self) -> HashSet<(String, String)> {
        self.lock().rights.values().map(|right| (right.session_id.clone(), right.user_id.clone())).collect()
    }

    /// Closes those whose token has expired.
    fn end_expired(&self, now_ms: i64) {
        self.close(|inner| {
            // They go from the order here, and from the rest when their connections have closed.
            let later = inner.by_end.split_off(&(now_ms.saturating_add(1), 0));
            let expired = std::mem::replace(&mut inner.by_end, later);
            let rights = expired.into_iter().filter_map(|(_, id)| inner.rights.get(&id));
            rights.filter_map(|right| right.connection.upgrade()).collect()
        });
    }

    fn close(&self, select: impl FnOnce(&mut Inner) -> Vec<Arc<Connection>>) {
        // Closing wakes others, who may come here; so not under the lock.
        let selected = select(&mut self.lock());
        for connection in selected {
            connection.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No change can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Grant {
    /// The session was found right. False where something was said of its end meanwhile, so that it has to be asked for again.
    pub(crate) fn confirm(&self) -> bool {
        let mut inner = self.rights.lock();
        let Some(right) = inner.rights.get_mut(&self.id) else { return true };
        right.verified = !std::mem::take(&mut right.doubted);
        right.verified
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut inner = self.rights.lock();
        let Some(right) = inner.rights.remove(&self.id) else { return };
        if let Some(end) = right.ends_at_ms {
            inner.by_end.remove(&(end, self.id));
        }
        if let Some(ids) = inner.by_session.get_mut(&right.session_id) {
            ids.retain(|id| *id != self.id);
            if ids.is_empty() {
                inner.by_session.remove(&right.session_id);
            }
        }
    }
}

async fn look(rights: Weak<Mutex<Inner>>) {
    while let Some(inner) = rights.upgrade() {
        Rights(inner).end_expired(now_ms());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A store of sessions that tells when one ends.
pub(crate) struct Telling {
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) rights: Rights,
    pub(crate) peers: Option<Arc<dyn Peers>>,
}

impl Telling {
    async fn end(&self, session_id: &str, but_for: Option<&str>) -> Result<(), StoreError> {
        match but_for {
            Some(owner) => self.rights.end_session_but_for(owner, session_id),
            None => self.rights.end_session(session_id),
        }
        match &self.peers {
            Some(peers) => peers.end_session(session_id, but_for).await,
            None => Ok(()),
        }
    }
}

impl SessionStore for Telling {
    fn put_session<'a>(&'a self, id: &'a str, session: &'a Session) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.store.put_session(id, session).await?;
            self.end(id, session.is_live().then_some(&session.user_id)).await
        })
    }

    fn revoke_session<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            let revoked = self.store.revoke_session(id).await?;
            // Also where there is none: an earlier attempt may have been cut off after the store had forgotten it.
            self.end(id, None).await?;
            Ok(revoked)
        })
    }

    fn session<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Session>, StoreError>> {
        self.store.session(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closed(connections: &[&Arc<Connection>]) -> Vec<bool> {
        connections.iter().map(|it| it.has_left(it.membership())).collect()
    }

    #[tokio::test]
    async fn only_those_of_the_session_are_closed() {
        let rights = Rights::default();
        let connections: [Arc<Connection>; 4] = std::array::from_fn(|_| Connection::for_tests());
        let [one, same, other, gone] = connections.each_ref();
        let grants = [
            rights.grant("alice", "s", None, one),
            rights.grant("alice", "s", None, same),
            rights.grant("alice", "t", None, other),
        ];
        assert!(grants.iter().all(Grant::confirm));
        drop(rights.grant("alice", "s", None, gone));
        rights.end_session_but_for("alice", "s");
        assert_eq!(closed(&[one, same, other, gone]), [false, false, false, false]);
        rights.end_session("s");
        assert_eq!(closed(&[one, same, other, gone]), [true, true, false, false]);
        rights.end_session_but_for("bob", "t");
        assert!(other.has_left(other.membership()));
    }

    #[tokio::test]
    async fn while_a_session_is_verified_its_end_is_a_doubt_and_closes_nothing() {
        let rights = Rights::default();
        let connection = Connection::for_tests();
        let grant = rights.grant("alice", "s", None, &connection);
        rights.end_session("s");
        assert!(!connection.has_left(connection.membership()) && !grant.confirm(), "to be asked for again");
        assert!(grant.confirm());
        rights.end_session("s");
        assert!(connection.has_left(connection.membership()));
    }

    #[tokio::test]
    async fn only_those_that_have_ended_are_closed_and_nothing_is_left_behind() {
        let rights = Rights::default();
        let connections: [Arc<Connection>; 3] = std::array::from_fn(|_| Connection::for_tests());
        let [ended, lasting, endless] = connections.each_ref();
        let end = now_ms() + 1_000_000;
        let grants = [
            rights.grant("alice", "s", Some(end), ended),
            rights.grant("alice", "s", Some(end + 1), lasting),
            rights.grant("alice", "s", None, endless),
        ];
        rights.end_expired(end);
        assert_eq!(closed(&[ended, lasting, endless]), [true, false, false]);
        drop(grants);
        assert!(rights.lock().rights.is_empty() && rights.lock().by_session.is_empty());
    }
}
