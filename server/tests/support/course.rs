//! A user's queue as it has to be whatever happens: the events that were accepted and not taken, in the order of their
//! acceptance, whether they were stored at once, or handed to a client and came back. A store is held against it, step by
//! step.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    time::UNIX_EPOCH,
};

use notify_server::model::{Answers, EntryId, Queue, Queued, Reinserted, SessionStore};
use proptest::{collection::vec, prelude::*};

/// Everything that a store can do.
pub(crate) trait Store: Queue + SessionStore + Answers {}
impl<S: Queue + SessionStore + Answers> Store for S {}

/// The number with which the first event is handed over, whichever that is.
pub(crate) static FIRST_NUMBER: LazyLock<u64> =
    LazyLock::new(|| UNIX_EPOCH.elapsed().expect("it is later").as_micros() as u64);

/// What may happen next.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// So many events come for a user who is away, or whose clients have no room.
    Append(u8),
    /// So many come for one who is here and acknowledges.
    Keep(u8),
    /// Clients are handed all that is queued; it is removed where they have taken it.
    HandOver { taken: bool },
    /// So many events are handed to clients that have all that is queued, and are in no store.
    Live(u8),
    /// Connections break that had the events whose bits are set; where the answer is lost it is done twice.
    ComeBack { which: u16, twice: bool },
    /// The entries whose bits are set are acknowledged, and so many losses.
    Confirm { which: u16, told: u8 },
    /// A client that acknowledges is given what is behind an entry.
    Backlog { after: u8, trim: bool },
    /// The process is killed, and another begins.
    Restart,
}

/// Courses of events.
pub(crate) fn courses() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (1..4_u8).prop_map(Step::Append),
        2 => (1..4_u8).prop_map(Step::Keep),
        3 => any::<bool>().prop_map(|taken| Step::HandOver { taken }),
        4 => (1..4_u8).prop_map(Step::Live),
        4 => (any::<u16>(), any::<bool>()).prop_map(|(which, twice)| Step::ComeBack { which, twice }),
        2 => (any::<u16>(), 0..3_u8).prop_map(|(which, told)| Step::Confirm { which, told }),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(after, trim)| Step::Backlog { after, trim }),
        1 => Just(Step::Restart),
    ];
    vec(step, 1..24)
}

/// One event, by its place among all that were accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    event: u64,
    /// Its name, once the store has told it.
    id: Option<EntryId>,
}

/// What is known of a user.
#[derive(Debug, Default)]
struct Known {
    cap: usize,
    accepted: u64,
    queue: Vec<Entry>,
    /// What is with clients only, and the newest entry that they had been given before.
    live: Vec<(u64, EntryId)>,
    /// The newest entry that clients were given.
    given: EntryId,
    /// Whether they have all that is queued.
    have_all: bool,
    lost: u64,
    /// Which event had which name.
    names: HashMap<EntryId, u64>,
}

impl Known {
    fn accept(&mut self, many: u8) -> Vec<u64> {
        self.accepted += u64::from(many);
        (self.accepted - u64::from(many)..self.accepted).collect()
    }

    fn store(&mut self, events: &[u64], ids: &[EntryId]) {
        assert_eq!(events.len(), ids.len());
        self.queue.extend(events.iter().zip(ids).map(|(event, id)| Entry { event: *event, id: Some(*id) }));
        self.have_all = false;
    }

    fn trim(&mut self) {
        let surplus = self.queue.len().saturating_sub(self.cap);
        self.queue.drain(..surplus);
        self.lost += surplus as u64;
    }

    /// Takes out what is chosen; a bit stands for every sixteenth.
    fn choose<T: Copy>(all: &mut Vec<T>, which: u16) -> Vec<T> {
        let mut at = 0;
        all.extract_if(.., |_| {
            at += 1;
            which >> (at % 16) & 1 == 1
        })
        .collect()
    }

    /// Compares what the store has, and learns the names of what has come back.
    fn compare(&mut self, found: &[Queued]) {
        let events: Vec<u64> = found.iter().map(|entry| entry.payload.parse().expect("a number")).collect();
        assert_eq!(
            events,
            self.queue.iter().map(|entry| entry.event).collect::<Vec<_>>(),
            "in the order of acceptance"
        );
        assert!(found.is_sorted_by(|one, next| one.id < next.id), "names grow: {found:?}");
        for (entry, found) in self.queue.iter_mut().zip(found) {
            assert_eq!(*entry.id.get_or_insert(found.id), found.id, "a name stays");
            assert_eq!(*self.names.entry(found.id).or_insert(entry.event), entry.event, "no name is given twice");
        }
    }
}

fn ids(entries: &[Entry]) -> Vec<EntryId> {
    entries.iter().filter_map(|entry| entry.id).collect()
}

fn texts(events: &[u64]) -> Vec<String> {
    events.iter().map(u64::to_string).collect()
}

/// Lets it all happen to a user of a store that holds so many events for each, and compares after every step.
///
/// # Panics
/// Where the store has anything else than it has to.
pub(crate) async fn follow(open: &dyn Fn() -> Arc<dyn Store>, user: &str, cap: usize, steps: &[Step]) {
    let mut store = Some(open());
    let mut known = Known { cap, ..Known::default() };
    for step in steps {
        let there = store.clone().expect("it is open");
        match step {
            Step::Append(many) | Step::Keep(many) => {
                let events = known.accept(*many);
                let texts = texts(&events);
                let payloads: Vec<_> = texts.iter().map(|it| &**it).collect();
                let is_away = matches!(step, Step::Append(_));
                let ids = match is_away {
                    true => there.append(user, &payloads).await,
                    false => there.keep(user, &payloads).await,
                };
                known.store(&events, &ids.expect("it answers"));
                if is_away {
                    known.trim();
                }
            }
            Step::HandOver { taken } => {
                known.given = known.given.max(ids(&known.queue).into_iter().max().unwrap_or_default());
                known.have_all = true;
                if *taken && !known.queue.is_empty() {
                    there.remove(user, &ids(&known.queue), None).await.expect("it answers");
                    known.queue.clear();
                }
            }
            Step::Live(many) if known.have_all => {
                let events = known.accept(*many);
                known.live.extend(events.into_iter().map(|event| (event, known.given)));
            }
            // Whoever has no room, or is owed something, is handed nothing.
            Step::Live(_) => {}
            Step::ComeBack { which, twice } => {
                let back = Known::choose(&mut known.live, *which);
                let texts = texts(&back.iter().map(|(event, _)| *event).collect::<Vec<_>>());
                let events: Vec<_> = back
                    .iter()
                    .zip(&texts)
                    .map(|((event, after), payload)| Reinserted {
                        payload,
                        after: *after,
                        number: *FIRST_NUMBER + event,
                    })
                    .collect();
                for _ in 0..if *twice { 2 } else { 1 } {
                    there.reinsert(user, &events).await.expect("it answers");
                }
                known.queue.extend(back.iter().map(|(event, _)| Entry { event: *event, id: None }));
                known.queue.sort_by_key(|entry| entry.event);
            }
            Step::Confirm { which, told } => {
                let gone = Known::choose(&mut known.queue, *which);
                there.confirm(user, &ids(&gone), u64::from(*told)).await.expect("it answers");
                known.lost = known.lost.saturating_sub(u64::from(*told));
            }
            Step::Backlog { after, trim } => {
                let after = known.queue.get(usize::from(*after) % (known.queue.len() + 1)).copied();
                if *trim {
                    known.trim();
                }
                let found = there
                    .backlog(user, after.and_then(|it| it.id).unwrap_or_default(), *trim)
                    .await
                    .expect("it answers");
                let behind = known.queue.iter().filter(|it| after.is_none_or(|after| it.event > after.event));
                let found_events: Vec<_> = found.entries.iter().map(|entry| entry.payload.clone()).collect();
                assert_eq!(found_events, texts(&behind.map(|it| it.event).collect::<Vec<_>>()));
                assert_eq!(found.dropped, known.lost, "what was lost is counted");
            }
            Step::Restart => {
                drop(there);
                // A store of one file is opened by one process at a time.
                drop(store.take());
                store = Some(open());
                // Whoever was here is not any more.
                known.live.clear();
                (known.given, known.have_all) = (EntryId::default(), false);
            }
        }
        let there = store.as_ref().expect("it is open");
        known.compare(&there.read(user).await.expect("it answers"));
    }
}
