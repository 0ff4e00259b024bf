//! What is listened to at one server of a Redis Cluster, however much it is: one connection. Knows nothing of what is said.
//!
//! Such a server says by itself that a slot has gone elsewhere, and the library takes that for the answer to whatever was asked
//! last. So no answer is relied on: what counts is that the server names a channel as one that is heard, or is no more.

use std::{
    collections::HashMap,
    sync::{Arc, MutexGuard},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use redis::{FromRedisValue, Msg, PushInfo, PushKind, Value};
use tokio::{
    sync::{Mutex as AsyncMutex, mpsc, oneshot},
    time::timeout,
};

use super::{
    Address,
    connect::{Connection, Connector, Heard},
};
use crate::{model::StoreError, mutex::Mutex};

/// How long a server may take to say that it is listened to. Who does not say it says nothing at all.
const TOLD_WITHIN: Duration = Duration::from_millis(500);

/// For how long nothing may be said where each node says something each second.
const SILENT: Duration = Duration::from_millis(2_500);

/// All that is listened to at one server. Cheap to clone; who is listening hears the end when the last is gone.
#[derive(Clone, Default)]
pub(super) struct Subscriptions(Arc<AsyncMutex<Option<Open>>>);

struct Open {
    connection: Connection,
    channels: Arc<Channels>,
}

/// Who listens to which channel.
struct Channels(Mutex<Known>);

struct Known {
    by_name: HashMap<String, Listener>,
    /// Those that nobody listens to any more, and the server has not been told.
    left: Vec<String>,
    last: u64,
    /// When something was said.
    said: Instant,
    ended: bool,
}

struct Listener {
    /// What it listens to ends together.
    id: u64,
    says: mpsc::UnboundedSender<Msg>,
    /// Until the server has said that it is heard.
    awaits: Option<oneshot::Sender<()>>,
}

/// Somebody who listens, until this is dropped.
struct Listening {
    id: u64,
    channels: Arc<Channels>,
}

impl Subscriptions {
    /// Listens to channels of one slot, which ends with the connection, or when the slot goes elsewhere.
    ///
    /// # Errors
    /// Where the server does not take it in time, and where the slot lies elsewhere.
    pub(super) async fn listen(
        &self,
        connector: &Connector,
        at: &Address,
        channels: &[String],
    ) -> Result<Heard, StoreError> {
        let listens = async {
            // One after the other, so that an answer can only be that of the last.
            let mut current = self.0.lock().await;
            let open = match current.take().filter(|open| !open.channels.lock().ended) {
                Some(open) => open,
                None => Open::new(connector, at).await?,
            };
            let open = current.insert(open);
            let heard = timeout(TOLD_WITHIN, open.listen(channels)).await;
            heard.unwrap_or_else(|_| {
                *current = None;
                Err(StoreError::TimedOut(TOLD_WITHIN))
            })
        };
        connector.in_time(listens).await
    }

    /// Whether the connection is there, as far as anybody knows.
    pub(super) fn are_open(&self) -> bool {
        let current = self.0.try_lock();
        current.map_or(true, |current| current.as_ref().is_some_and(|open| !open.channels.lock().ended))
    }

    /// Gives the connection up where nothing comes by it: the next who listens makes another.
    pub(super) fn give_up_if_silent(&self) {
        if let Ok(mut current) = self.0.try_lock()
            && current.as_ref().is_some_and(|open| open.channels.lock().said.elapsed() > SILENT)
        {
            *current = None;
        }
    }
}

impl Open {
    async fn new(connector: &Connector, at: &Address) -> Result<Self, StoreError> {
        let (said, mut pushed) = mpsc::unbounded_channel();
        let connection = connector.open_for_pushes(at, said).await?;
        let channels = Arc::new(Channels::new());
        let known = channels.clone();
        // It ends with the connection.
        tokio::spawn(async move {
            while let Some(push) = pushed.recv().await {
                known.take_in(push);
            }
            known.end();
        });
        Ok(Self { connection, channels })
    }

    async fn listen(&self, channels: &[String]) -> Result<Heard, StoreError> {
        let mut commands = self.connection.commands();
        let left = std::mem::take(&mut self.channels.lock().left);
        for channel in left {
            // Where the slot has gone there is nothing to be left.
            redis::cmd("SUNSUBSCRIBE").arg(channel).query_async::<Value>(&mut commands).await.ok();
        }
        let (says, heard) = mpsc::unbounded_channel();
        let listening = Listening::new(&self.channels);
        for channel in channels {
            let told = listening.begin(channel, says.clone());
            redis::cmd("SSUBSCRIBE").arg(channel).query_async::<Value>(&mut commands).await?;
            told.await.map_err(|_| StoreError::Closed)?;
        }
        // Whoever has heard the end has heard all that was said before it.
        let heard = stream::unfold((heard, listening), |(mut heard, listening)| async move {
            heard.recv().await.map(|message| (message, (heard, listening)))
        });
        Ok(heard.fuse().boxed())
    }
}

impl Channels {
    fn new() -> Self {
        let (by_name, left) = (HashMap::new(), Vec::new());
        Self(Mutex::new(Known { by_name, left, last: 0, said: Instant::now(), ended: false }))
    }

    fn take_in(&self, push: PushInfo) {
        let channel = |push: &PushInfo| push.data.first().and_then(|name| String::from_redis_value_ref(name).ok());
        match push.kind {
            PushKind::SMessage => {
                let Some(message) = Msg::from_push_info(push) else { return };
                let mut known = self.lock();
                known.said = Instant::now();
                if let Some(listener) = known.by_name.get(message.get_channel_name())
                    && listener.awaits.is_none()
                {
                    listener.says.send(message).ok();
                }
            }
            PushKind::SSubscribe => {
                if let Some(channel) = channel(&push)
                    && let Some(listener) = self.lock().by_name.get_mut(&channel)
                    && let Some(awaits) = listener.awaits.take()
                {
                    awaits.send(()).ok();
                }
            }
            PushKind::SUnsubscribe => {
                let mut known = self.lock();
                // Of one who does not listen yet it is about who did before.
                if let Some(channel) = channel(&push)
                    && let Some(Listener { id, awaits: None, .. }) = known.by_name.get(&channel)
                {
                    let id = *id;
                    known.by_name.retain(|_, listener| listener.id != id);
                }
            }
            PushKind::Disconnection => self.end(),
            _ => {}
        }
    }

    fn end(&self) {
        let mut known = self.lock();
        known.ended = true;
        known.by_name.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock()
    }
}

impl Listening {
    fn new(channels: &Arc<Channels>) -> Self {
        let mut known = channels.lock();
        known.last += 1;
        Self { id: known.last, channels: channels.clone() }
    }

    /// Completes when the server has said that the channel is heard.
    fn begin(&self, channel: &str, says: mpsc::UnboundedSender<Msg>) -> oneshot::Receiver<()> {
        let (awaits, told) = oneshot::channel();
        let mut known = self.channels.lock();
        if !known.ended {
            known.by_name.insert(channel.to_owned(), Listener { id: self.id, says, awaits: Some(awaits) });
        }
        told
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut known = self.channels.lock();
        let Known { by_name, left, .. } = &mut *known;
        left.extend(by_name.extract_if(|_, listener| listener.id == self.id).map(|(channel, _)| channel));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(kind: PushKind, channel: &str, more: &str) -> PushInfo {
        let text = |it: &str| Value::BulkString(it.as_bytes().to_vec());
        PushInfo { kind, data: vec![text(channel), text(more)] }
    }

    fn listen(
        listening: &Listening,
        channel: &str,
    ) -> (oneshot::Receiver<()>, mpsc::UnboundedSender<Msg>, mpsc::UnboundedReceiver<Msg>) {
        let (says, heard) = mpsc::unbounded_channel();
        (listening.begin(channel, says.clone()), says, heard)
    }

    #[test]
    fn each_hears_its_own_channels_once_the_server_has_said_so() {
        let channels = Arc::new(Channels::new());
        let (one, other) = (Listening::new(&channels), Listening::new(&channels));
        let (mut told, _, mut heard) = listen(&one, "a");
        let (_told_other, _, mut heard_other) = listen(&other, "b");
        channels.take_in(push(PushKind::SMessage, "a", "early"));
        // That of another, which the library takes for the answer.
        channels.take_in(push(PushKind::SUnsubscribe, "c", "0"));
        assert!(told.try_recv().is_err() && heard.try_recv().is_err());
        channels.take_in(push(PushKind::SSubscribe, "a", "1"));
        channels.take_in(push(PushKind::SMessage, "a", "said"));
        told.try_recv().expect("it is heard");
        assert_eq!(heard.try_recv().expect("it was said").get_payload_bytes(), b"said");
        assert!(heard_other.try_recv().is_err());
    }

    #[test]
    fn what_one_listens_to_ends_together_and_nothing_else_ends() {
        let channels = Arc::new(Channels::new());
        let (one, other) = (Listening::new(&channels), Listening::new(&channels));
        let (says, mut heard) = mpsc::unbounded_channel();
        let _told = [one.begin("a", says.clone()), one.begin("all", says)];
        let (_told_other, says, mut heard_other) = listen(&other, "b");
        drop(says);
        for channel in ["a", "all", "b"] {
            channels.take_in(push(PushKind::SSubscribe, channel, "1"));
        }
        channels.take_in(push(PushKind::SMessage, "all", "said before"));
        channels.take_in(push(PushKind::SUnsubscribe, "a", "0"));
        assert_eq!(heard.try_recv().expect("it was said").get_payload_bytes(), b"said before");
        assert_eq!(heard.try_recv().err(), Some(mpsc::error::TryRecvError::Disconnected));
        assert_eq!(heard_other.try_recv().err(), Some(mpsc::error::TryRecvError::Empty));
        channels.take_in(push(PushKind::Disconnection, "", ""));
        assert_eq!(heard_other.try_recv().err(), Some(mpsc::error::TryRecvError::Disconnected));
        assert!(listen(&one, "a").0.try_recv().is_err_and(|it| it == oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn the_end_of_a_former_listener_is_not_that_of_the_next() {
        let channels = Arc::new(Channels::new());
        let former = Listening::new(&channels);
        let _former = listen(&former, "all");
        channels.take_in(push(PushKind::SSubscribe, "all", "1"));
        drop(former);
        assert_eq!(channels.lock().left, ["all"]);
        let next = Listening::new(&channels);
        let (_told, _, mut heard) = listen(&next, "all");
        channels.take_in(push(PushKind::SUnsubscribe, "all", "0"));
        channels.take_in(push(PushKind::SSubscribe, "all", "1"));
        channels.take_in(push(PushKind::SMessage, "all", "said"));
        assert_eq!(heard.try_recv().expect("it was said").get_payload_bytes(), b"said");
    }
}
