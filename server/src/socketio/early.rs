//! What a client may do before it was let in: little, for nobody knows yet who it is. Knows nothing of how clients are reached.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::{MAX_PAYLOAD_BYTES, Violation};
use crate::{gate::Place, mutex::Mutex};

/// The most that one message or POST may have: a token of 64 KiB and whatever goes with it (AUTH-27), or one that is far too long and
/// is told so (AUTH-25).
const MAX_MESSAGE_BYTES: usize = 128 * 1024;

/// How many packets. A client needs three: the probe of an upgrade, its end, and a CONNECT.
const MAX_PACKETS: u32 = 10;

/// How many CONNECTs, whatever namespace they are for.
const MAX_CONNECTS: u32 = 5;

/// Counts until the first CONNECT was accepted, and no further.
#[derive(Default)]
pub(super) struct Early {
    is_over: AtomicBool,
    place: Mutex<Option<Place>>,
    /// Held by the POST that is being read.
    post: tokio::sync::Mutex<()>,
    packets: AtomicU32,
    connects: AtomicU32,
}

impl Early {
    /// The client is counted among those who were not let in.
    pub(super) fn has_place(&self, place: Place) {
        *self.place.lock() = Some(place);
    }

    /// The client was let in.
    pub(super) fn is_let_in(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        let place = self.place.lock().take();
        drop(place);
    }

    /// Whether the client was let in.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// The client waits for the answer to its CONNECT.
    pub(super) fn works(&self) {
        self.place.lock().iter().for_each(Place::works);
    }

    /// The CONNECT was refused.
    pub(super) fn waits(&self) {
        self.place.lock().iter().for_each(Place::waits);
    }

    /// So much is held of what the client has begun to say.
    pub(super) fn holds(&self, bytes: usize) {
        if !self.is_over() {
            self.place.lock().iter().for_each(|place| place.holds(bytes));
        }
    }

    /// Reads a POST of so many bytes at the most; of a client that was not let in one after the other, so that what is held for it
    /// stays small.
    pub(super) async fn read_post<T>(&self, bytes: usize, read: impl Future<Output = T>) -> T {
        if self.is_over() {
            return read.await;
        }
        let _turn = self.post.lock().await;
        self.holds(bytes);
        let _held = Held(self);
        read.await
    }

    /// The client has sent a packet.
    pub(super) fn packet(&self) -> Result<(), Violation> {
        self.count(&self.packets, MAX_PACKETS)
    }

    /// The client has sent a CONNECT.
    pub(super) fn connect(&self) -> Result<(), Violation> {
        self.count(&self.connects, MAX_CONNECTS)
    }

    /// The most that the client may send in one message or POST.
    pub(super) fn max_message_bytes(&self) -> usize {
        if self.is_over() { MAX_PAYLOAD_BYTES } else { MAX_MESSAGE_BYTES }
    }

    fn count(&self, counter: &AtomicU32, most: u32) -> Result<(), Violation> {
        let may = self.is_over() || counter.fetch_add(1, Ordering::SeqCst) < most;
        may.then_some(()).ok_or(Violation::TooMuch)
    }
}

/// What a POST holds, until it was read or nobody reads it any more.
struct Held<'a>(&'a Early);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.holds(0);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::Arc,
    };

    use futures_util::FutureExt;

    use super::*;
    use crate::{
        gate::{Bounds, Gate, HELD_BYTES},
        proxies::TrustedProxies,
    };

    #[tokio::test]
    async fn what_a_post_holds_is_free_where_nobody_reads_it_any_more() {
        let gate = Gate::new(Bounds::default(), TrustedProxies::default());
        let was_sent_away = Arc::new(AtomicBool::new(false));
        let enter = |flag: Arc<AtomicBool>| {
            let early = Early::default();
            let place = gate.enter(None, false, Box::new(move || flag.store(true, Ordering::SeqCst))).unwrap();
            early.has_place(place);
            early
        };
        let (hangs_up, comes_next) = (enter(was_sent_away.clone()), enter(Arc::default()));
        assert!(hangs_up.read_post(HELD_BYTES, pending::<()>()).now_or_never().is_none());
        comes_next.read_post(HELD_BYTES, ready(())).await;
        assert!(!was_sent_away.load(Ordering::SeqCst));
    }

    #[test]
    fn little_is_allowed_until_the_client_was_let_in() {
        let early = Early::default();
        assert_eq!((0..5).try_for_each(|_| early.connect()), Ok(()));
        assert_eq!(early.connect(), Err(Violation::TooMuch));
        assert_eq!((0..10).try_for_each(|_| early.packet()), Ok(()));
        assert_eq!(early.packet(), Err(Violation::TooMuch));
        assert_eq!(early.max_message_bytes(), MAX_MESSAGE_BYTES);
        early.is_let_in();
        assert_eq!((early.packet(), early.connect()), (Ok(()), Ok(())));
        assert_eq!(early.max_message_bytes(), MAX_PAYLOAD_BYTES);
    }
}
