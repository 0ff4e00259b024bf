//! Which connections rest on which session and until when on which token, so that they are closed when either ends.
//!
//! Whoever ends or replaces a session tells it here, on every node; nothing else has to be told. A session that ends by itself is asked for
//! then, for it may have been given more time. A store that has lost its data knows of no session, and has ended none by that (FAIL-09).

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, MutexGuard, Weak},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use crate::{
    auth::session::{SessionError, VerifySession},
    cluster::Peers,
    model::{Session, SessionStore, StoreError, now_ms},
    mutex::Mutex,
};

/// How often it is looked whose token has expired. By the clock on the wall, which may be set meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How many sessions are asked for at once.
const AT_ONCE: usize = 64;

/// What rests on a session and a token, and is closed when either ends.
pub(crate) trait Close: Send + Sync + 'static {
    /// Closes it, whatever it is about to do.
    fn close(&self);
}

/// All grants of this node.
#[derive(Clone)]
pub struct Grants {
    inner: Arc<Mutex<Inner>>,
    sessions: Arc<dyn VerifySession>,
    peers: Option<Arc<dyn Peers>>,
}

#[derive(Default)]
struct Inner {
    grants: HashMap<u64, Entry>,
    by_session: HashMap<String, Vec<u64>>,
    /// Those with a token that ends, by when.
    by_end: BTreeSet<(i64, u64)>,
    /// Those whose session is to be asked for, by when.
    by_look: BTreeSet<(i64, u64)>,
    last: u64,
    looking: bool,
}

struct Entry {
    user_id: String,
    session_id: String,
    ends_at_ms: Option<i64>,
    /// When the session ends, as far as is known, and when it is to be asked for.
    session_ends_at_ms: Option<i64>,
    look_at_ms: Option<i64>,
    /// The epoch of the store in which it was found right.
    epoch: u64,
    connection: Weak<dyn Close>,
    /// Whether the session is known to be right. Until then the end of one is a reason to ask again, and no more: what is said
    /// of the end may be said late, and a client that comes after it is to be refused, not cut off.
    verified: bool,
    doubted: bool,
}

/// Holds a grant for as long as it is not dropped.
pub(crate) struct Grant {
    grants: Grants,
    id: u64,
}

impl Grants {
    pub(crate) fn new(sessions: Arc<dyn VerifySession>, peers: Option<Arc<dyn Peers>>) -> Self {
        Self { inner: Arc::default(), sessions, peers }
    }

    /// Begins to watch a connection. To be called before the session is verified, so that a revocation that comes in between is
    /// not missed: [`Grant::confirm`] tells of it.
    pub(crate) fn grant(
        &self,
        user_id: &str,
        session_id: &str,
        ends_at_ms: Option<i64>,
        connection: &Arc<impl Close>,
    ) -> Grant {
        let epoch = self.epoch(session_id);
        let mut inner = self.lock();
        inner.last += 1;
        let id = inner.last;
        inner.by_session.entry(session_id.to_owned()).or_default().push(id);
        inner.by_end.extend(ends_at_ms.map(|end| (end, id)));
        let (user_id, session_id) = (user_id.to_owned(), session_id.to_owned());
        let connection = Arc::downgrade(connection);
        let entry = Entry {
            user_id,
            session_id,
            ends_at_ms,
            session_ends_at_ms: None,
            look_at_ms: None,
            epoch,
            connection,
            verified: false,
            doubted: false,
        };
        inner.grants.insert(id, entry);
        if !std::mem::replace(&mut inner.looking, true) {
            tokio::spawn(look(Arc::downgrade(&self.inner), self.sessions.clone(), self.peers.clone()));
        }
        Grant { grants: self.clone(), id }
    }

    /// Closes every connection that rests on this session, but for its owner's, where it has one still: for those it is asked until when it
    /// holds now.
    pub fn end_session(&self, session_id: &str, but_for: Option<&str>) {
        self.close(|inner| {
            let mut ended = Vec::new();
            for id in inner.of_session(session_id) {
                let Some(entry) = inner.grants.get_mut(&id) else { continue };
                match entry.verified {
                    true if but_for == Some(entry.user_id.as_str()) => inner.look_at(id, Some(now_ms())),
                    true => ended.extend(entry.connection.upgrade()),
                    false => entry.doubted = true,
                }
            }
            ended
        });
    }

    /// Closes whatever rests on one of these sessions that holds no longer.
    ///
    /// # Errors
    /// Where nobody could say of one of them.
    pub(crate) async fn verify_all(&self, which: &(dyn Fn(&str) -> bool + Send + Sync)) -> Result<(), StoreError> {
        let all: HashSet<_> =
            self.lock().grants.values().map(Entry::session).filter(|(session_id, _)| which(session_id)).collect();
        let verified =
            stream::iter(all).map(|(session_id, user_id)| async move { self.verify(&session_id, &user_id).await });
        // All of them, whatever the first says.
        let outcomes: Vec<_> = verified.buffer_unordered(AT_ONCE).collect().await;
        outcomes.into_iter().collect()
    }

    /// Asks until when a session holds, and closes what rests on it where it does not.
    async fn verify(&self, session_id: &str, user_id: &str) -> Result<(), StoreError> {
        let epoch = self.epoch(session_id);
        match self.sessions.verify(session_id, user_id).await {
            Ok(end) => {
                let mut inner = self.lock();
                for id in inner.of_session(session_id) {
                    inner.session_ends_at(id, user_id, end, epoch);
                }
                Ok(())
            }
            Err(SessionError::Invalid) => {
                let is_same = match &self.peers {
                    Some(peers) => peers.is_still(session_id, epoch).await?,
                    None => true,
                };
                self.close(|inner| inner.holds_no_longer(session_id, user_id, is_same.then_some(epoch)));
                Ok(())
            }
            Err(SessionError::Unavailable(error)) => Err(error),
        }
    }

    fn epoch(&self, session_id: &str) -> u64 {
        self.peers.as_ref().map_or(0, |peers| peers.epoch(session_id))
    }

    /// Asks for the sessions that are to be asked for by now. Where nobody can say, what is known counts.
    async fn look(self, now_ms: i64) {
        let due: HashSet<_> = {
            let mut inner = self.lock();
            let later = inner.by_look.split_off(&(now_ms.saturating_add(1), 0));
            let due = std::mem::replace(&mut inner.by_look, later);
            due.into_iter().filter_map(|(_, id)| inner.grants.get(&id)).map(Entry::session).collect()
        };
        let looks = stream::iter(due).for_each_concurrent(AT_ONCE, |(session_id, user_id)| {
            let grants = &self;
            async move {
                let Err(error) = grants.verify(&session_id, &user_id).await else { return };
                tracing::warn!(%error, "a session could not be verified again");
                grants.close(|inner| {
                    let mut ended = Vec::new();
                    for id in inner.of_session(&session_id) {
                        ended.extend(inner.ends_as_known(id, now_ms, Some(now_ms)));
                    }
                    ended
                });
            }
        });
        looks.await;
    }

    /// Closes those whose token has expired.
    fn end_expired(&self, now_ms: i64) {
        self.close(|inner| {
            // They go from the order here, and from the rest when their connections have closed.
            let later = inner.by_end.split_off(&(now_ms.saturating_add(1), 0));
            let expired = std::mem::replace(&mut inner.by_end, later);
            let grants = expired.into_iter().filter_map(|(_, id)| inner.grants.get(&id));
            grants.filter_map(|entry| entry.connection.upgrade()).collect()
        });
    }

    fn close(&self, select: impl FnOnce(&mut Inner) -> Vec<Arc<dyn Close>>) {
        // Closing wakes others, who may come here; so not under the lock.
        let selected = select(&mut self.lock());
        for connection in selected {
            connection.close();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

impl Entry {
    fn session(&self) -> (String, String) {
        (self.session_id.clone(), self.user_id.clone())
    }
}

impl Inner {
    fn of_session(&self, session_id: &str) -> Vec<u64> {
        self.by_session.get(session_id).cloned().unwrap_or_default()
    }

    /// Has a session asked for then.
    fn look_at(&mut self, id: u64, at_ms: Option<i64>) {
        let Some(entry) = self.grants.get_mut(&id) else { return };
        if let Some(former) = std::mem::replace(&mut entry.look_at_ms, at_ms) {
            self.by_look.remove(&(former, id));
        }
        self.by_look.extend(at_ms.map(|at| (at, id)));
    }

    /// A session was found right, until then, in this epoch of the store.
    fn session_ends_at(&mut self, id: u64, user_id: &str, end_ms: Option<i64>, epoch: u64) {
        let Some(entry) = self.grants.get_mut(&id).filter(|entry| entry.user_id == user_id) else { return };
        (entry.session_ends_at_ms, entry.epoch) = (end_ms, epoch);
        self.look_at(id, end_ms);
    }

    /// What is to be closed, as a user's session was found right no longer by a store of this epoch; `None` where the store has lost its
    /// data meanwhile. What was found right in an earlier epoch was lost, not revoked.
    fn holds_no_longer(&mut self, session_id: &str, user_id: &str, epoch: Option<u64>) -> Vec<Arc<dyn Close>> {
        let (mut ended, now_ms) = (Vec::new(), now_ms());
        for id in self.of_session(session_id) {
            let Some(entry) = self.grants.get_mut(&id).filter(|entry| entry.user_id == user_id) else { continue };
            let end_ms = entry.session_ends_at_ms;
            match entry.verified {
                true if epoch == Some(entry.epoch) => ended.extend(entry.connection.upgrade()),
                true => ended.extend(self.ends_as_known(id, now_ms, end_ms)),
                false => entry.doubted = true,
            }
        }
        ended
    }

    /// What is known of a session's end counts: the connection, where it has come by now. Else it is asked for again then.
    fn ends_as_known(&mut self, id: u64, now_ms: i64, look_at_ms: Option<i64>) -> Option<Arc<dyn Close>> {
        let entry = self.grants.get(&id)?;
        if entry.session_ends_at_ms.is_some_and(|end| end <= now_ms) {
            return entry.connection.upgrade();
        }
        self.look_at(id, look_at_ms);
        None
    }
}

impl Grant {
    /// The session was found right, until then. False where something was said of its end meanwhile, so that it has to be asked for again.
    pub(crate) fn confirm(&self, session_ends_at_ms: Option<i64>) -> bool {
        let mut inner = self.grants.lock();
        let Some(entry) = inner.grants.get_mut(&self.id) else { return true };
        entry.verified = !std::mem::take(&mut entry.doubted);
        let (verified, user_id, epoch) = (entry.verified, entry.user_id.clone(), entry.epoch);
        inner.session_ends_at(self.id, &user_id, session_ends_at_ms, epoch);
        verified
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut inner = self.grants.lock();
        let Some(entry) = inner.grants.remove(&self.id) else { return };
        if let Some(end) = entry.ends_at_ms {
            inner.by_end.remove(&(end, self.id));
        }
        if let Some(at) = entry.look_at_ms {
            inner.by_look.remove(&(at, self.id));
        }
        if let Some(ids) = inner.by_session.get_mut(&entry.session_id) {
            ids.retain(|id| *id != self.id);
            if ids.is_empty() {
                inner.by_session.remove(&entry.session_id);
            }
        }
    }
}

async fn look(inner: Weak<Mutex<Inner>>, sessions: Arc<dyn VerifySession>, peers: Option<Arc<dyn Peers>>) {
    while let Some(inner) = inner.upgrade() {
        let (grants, now_ms) = (Grants { inner, sessions: sessions.clone(), peers: peers.clone() }, now_ms());
        grants.end_expired(now_ms);
        // A store that is slow holds up no other end.
        tokio::spawn(grants.look(now_ms));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A store of sessions that tells when one ends.
pub(crate) struct Telling {
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) grants: Grants,
    pub(crate) peers: Option<Arc<dyn Peers>>,
}

impl Telling {
    async fn end(&self, session_id: &str, but_for: Option<&str>) -> Result<(), StoreError> {
        self.grants.end_session(session_id, but_for);
        match &self.peers {
            Some(peers) => peers.end_session(session_id, but_for).await,
            None => Ok(()),
        }
    }
}

#[async_trait]
impl SessionStore for Telling {
    async fn put_session(&self, id: &str, session: &Session) -> Result<(), StoreError> {
        self.store.put_session(id, session).await?;
        self.end(id, session.is_live().then_some(&session.user_id)).await
    }

    async fn revoke_session(&self, id: &str) -> Result<bool, StoreError> {
        let revoked = self.store.revoke_session(id).await?;
        // Also where there is none: an earlier attempt may have been cut off after the store had forgotten it.
        self.end(id, None).await?;
        Ok(revoked)
    }

    async fn session(&self, id: &str) -> Result<Option<Session>, StoreError> {
        self.store.session(id).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Finds every session right until then, or cannot be asked.
    struct Until(Mutex<Result<Option<i64>, ()>>);

    #[async_trait]
    impl VerifySession for Until {
        async fn verify(&self, _: &str, _: &str) -> Result<Option<i64>, SessionError> {
            let end = *self.0.lock();
            match end {
                Ok(Some(end)) if end <= now_ms() => Err(SessionError::Invalid),
                Ok(end) => Ok(end),
                Err(()) => Err(StoreError::TimedOut(Duration::ZERO).into()),
            }
        }
    }

    /// Whether it was closed.
    impl Close for AtomicBool {
        fn close(&self) {
            self.store(true, Ordering::SeqCst);
        }
    }

    fn grants() -> Grants {
        Grants::new(Arc::new(Until(Mutex::new(Ok(None)))), None)
    }

    fn closed(connections: &[&Arc<AtomicBool>]) -> Vec<bool> {
        connections.iter().map(|closed| closed.load(Ordering::SeqCst)).collect()
    }

    #[tokio::test]
    async fn only_those_of_the_session_are_closed() {
        let grants = grants();
        let connections: [Arc<AtomicBool>; 4] = Default::default();
        let [one, same, other, gone] = connections.each_ref();
        let held = [
            grants.grant("alice", "s", None, one),
            grants.grant("alice", "s", None, same),
            grants.grant("alice", "t", None, other),
        ];
        assert!(held.iter().all(|grant| grant.confirm(None)));
        drop(grants.grant("alice", "s", None, gone));
        grants.end_session("s", Some("alice"));
        assert_eq!(closed(&[one, same, other, gone]), [false, false, false, false]);
        grants.end_session("s", None);
        assert_eq!(closed(&[one, same, other, gone]), [true, true, false, false]);
        grants.end_session("t", Some("bob"));
        assert_eq!(closed(&[other]), [true]);
    }

    #[tokio::test]
    async fn while_a_session_is_verified_its_end_is_a_doubt_and_closes_nothing() {
        let grants = grants();
        let connection = Arc::<AtomicBool>::default();
        let grant = grants.grant("alice", "s", None, &connection);
        grants.end_session("s", None);
        assert_eq!(closed(&[&connection]), [false]);
        assert!(!grant.confirm(None), "to be asked for again");
        assert!(grant.confirm(None));
        grants.end_session("s", None);
        assert_eq!(closed(&[&connection]), [true]);
    }

    #[tokio::test]
    async fn only_those_that_have_ended_are_closed_and_nothing_is_left_behind() {
        let grants = grants();
        let connections: [Arc<AtomicBool>; 3] = Default::default();
        let [ended, lasting, endless] = connections.each_ref();
        let end = now_ms() + 1_000_000;
        let held = [
            grants.grant("alice", "s", Some(end), ended),
            grants.grant("alice", "s", Some(end + 1), lasting),
            grants.grant("alice", "s", None, endless),
        ];
        grants.end_expired(end);
        assert_eq!(closed(&[ended, lasting, endless]), [true, false, false]);
        drop(held);
        assert!(grants.lock().grants.is_empty() && grants.lock().by_session.is_empty());
    }

    #[tokio::test]
    async fn a_session_that_ends_is_asked_for_and_what_is_known_counts_where_nobody_can_say() {
        let now = now_ms();
        let sessions = Arc::new(Until(Mutex::new(Ok(Some(now + 60_000)))));
        let grants = Grants::new(sessions.clone(), None);
        let connections: [Arc<AtomicBool>; 2] = Default::default();
        let [ending, endless] = connections.each_ref();
        let held = [grants.grant("alice", "s", None, ending), grants.grant("alice", "s", None, endless)];
        assert!(held[0].confirm(Some(now)) && held[1].confirm(None));
        grants.clone().look(now - 1).await;
        grants.clone().look(now).await;
        assert_eq!(closed(&[ending, endless]), [false, false], "it was given more time");
        // Both are known to end then.
        *sessions.0.lock() = Err(());
        grants.clone().look(now + 59_999).await;
        grants.end_session("s", Some("alice"));
        grants.clone().look(now_ms()).await;
        assert_eq!(closed(&[ending, endless]), [false, false], "nobody could say whether it has changed");
        grants.clone().look(now + 60_000).await;
        assert_eq!(closed(&[ending, endless]), [true, true]);
        *sessions.0.lock() = Ok(Some(now));
        let replaced = Arc::<AtomicBool>::default();
        let grant = grants.grant("alice", "t", None, &replaced);
        assert!(grant.confirm(None));
        grants.end_session("t", Some("alice"));
        grants.clone().look(now_ms()).await;
        assert_eq!(closed(&[&replaced]), [true], "it was given less");
        drop((held, grant));
        assert!(grants.lock().by_look.is_empty());
    }

    #[tokio::test]
    async fn a_session_that_a_store_has_lost_was_not_revoked() {
        let (now, grants) = (now_ms(), grants());
        let connections: [Arc<AtomicBool>; 4] = Default::default();
        let [lost, ending, ended, found] = connections.each_ref();
        let ends = [(lost, None), (ending, Some(now + 60_000)), (ended, Some(now)), (found, None)];
        let held = ends.map(|(connection, end)| {
            let grant = grants.grant("alice", "s", None, connection);
            assert!(grant.confirm(end));
            grant
        });
        grants.lock().session_ends_at(held[3].id, "alice", None, 1);
        let holds_no_longer = |epoch| grants.close(|inner| inner.holds_no_longer("s", "alice", epoch));
        holds_no_longer(None);
        assert_eq!(closed(&[lost, ending, ended, found]), [false, false, true, false], "nobody knows what is lost");
        holds_no_longer(Some(1));
        assert_eq!(closed(&[lost, ending, found]), [false, false, true], "one was found there since");
        assert_eq!(grants.lock().by_look.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [now, now + 60_000]);
        holds_no_longer(Some(0));
        assert_eq!(closed(&[lost, ending]), [true, true]);
    }
}
