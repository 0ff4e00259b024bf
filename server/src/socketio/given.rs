//! What a client was given of its user's queue, so that nothing comes to it twice, and nothing that came back later is left out.
//! Knows nothing of connections and of the store.

use std::collections::HashSet;

use uuid::Uuid;

use crate::{
    model::{EntryId, Outgoing, Queued},
    notifications::Unsent,
};

/// The entries that a client was given, or does not need.
#[derive(Debug, Default)]
pub(crate) struct Given {
    /// It has all that are not newer than this one, but for what it lacks.
    newest: EntryId,
    /// Hardly any client lacks something for long.
    lack: Option<Box<Lack>>,
}

/// What the store may have for a client among what is not newer.
#[derive(Debug)]
struct Lack {
    /// Nothing that is not behind this one.
    behind: EntryId,
    /// Everything but these, where the queue is on its way to another device since before the client came.
    all_but: Option<HashSet<EntryId>>,
    /// Events that were handed to others before the client came, and came back.
    returned: HashSet<Uuid>,
}

impl Given {
    /// All that are not newer.
    pub(crate) fn up_to(newest: EntryId) -> Self {
        Self { newest, lack: None }
    }

    /// None of what is queued just now.
    pub(crate) fn is_owed_all(newest: EntryId) -> Self {
        let lack = Lack { behind: EntryId::default(), all_but: Some(HashSet::new()), returned: HashSet::new() };
        Self { newest, lack: Some(Box::new(lack)) }
    }

    /// Notes an entry that the client is given.
    pub(crate) fn note(&mut self, entry: EntryId) {
        self.newest = entry.max(self.newest);
        if let Some(all_but) = self.lack.as_mut().and_then(|lack| lack.all_but.as_mut()) {
            all_but.insert(entry);
        }
    }

    /// Notes events that are in the queue again, which the client was not handed.
    pub(crate) fn came_back(&mut self, events: &[Unsent]) {
        let Some(oldest) = events.iter().map(|event| event.after).min() else { return };
        let behind = oldest.min(self.newest);
        let none_yet = || Box::new(Lack { behind, all_but: None, returned: HashSet::new() });
        let lack = self.lack.get_or_insert_with(none_yet);
        lack.behind = lack.behind.min(behind);
        lack.returned.extend(events.iter().map(|event| event.event.event_id));
    }

    /// Behind which entry the store has what the client was not given.
    pub(crate) fn behind(&self) -> EntryId {
        self.lack.as_ref().map_or(self.newest, |lack| lack.behind)
    }

    /// Whether the client has this entry, which was appended, or does not need it.
    pub(crate) fn has(&self, entry: EntryId) -> bool {
        match self.lack.as_ref().and_then(|lack| lack.all_but.as_ref()) {
            Some(all_but) => all_but.contains(&entry),
            None => entry <= self.newest,
        }
    }

    /// Whether the client was not given this, which the store has.
    pub(crate) fn lacks(&self, entry: &Queued) -> bool {
        let came_back = |lack: &Lack| {
            !lack.returned.is_empty()
                && Outgoing::read(&entry.payload).is_some_and(|event| lack.returned.contains(&event.event_id))
        };
        !self.has(entry.id) || self.lack.as_deref().is_some_and(came_back)
    }

    /// Notes that the client was given all that it lacked up to an entry.
    pub(crate) fn has_all_up_to(&mut self, entry: EntryId) {
        match &mut self.lack {
            Some(lack) => lack.behind = entry.max(lack.behind),
            None => self.newest = entry.max(self.newest),
        }
    }

    /// Notes that the client was given all that it lacked.
    pub(crate) fn has_all(&mut self) {
        self.lack = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Draft, EventType, Payload};

    fn event(after: u64) -> (Unsent, Queued) {
        let draft = Draft {
            event_type: EventType::RecordAccessed,
            actor_id: "doctor".into(),
            resource_id: "alice".into(),
            metadata: Default::default(),
        };
        let unsent = Unsent { event: Payload::now(draft).into(), after: EntryId(after, 0), number: 1 };
        let queued = Queued { id: EntryId(after, 1), payload: unsent.event.json().to_owned() };
        (unsent, queued)
    }

    fn entry(id: u64) -> Queued {
        Queued { id: EntryId(id, 0), payload: event(0).1.payload }
    }

    #[test]
    fn what_is_newer_than_the_newest_is_lacked() {
        let mut given = Given::up_to(EntryId(2, 0));
        assert!(!given.lacks(&entry(2)) && given.lacks(&entry(3)));
        given.note(EntryId(3, 0));
        assert!(given.has(EntryId(3, 0)) && !given.lacks(&entry(3)));
        assert_eq!(given.behind(), EntryId(3, 0));
    }

    #[test]
    fn whoever_is_owed_the_queue_lacks_all_but_what_it_was_given_since() {
        let mut given = Given::is_owed_all(EntryId(2, 0));
        given.note(EntryId(3, 0));
        assert_eq!(given.behind(), EntryId::default());
        assert!(given.lacks(&entry(1)) && given.lacks(&entry(2)) && !given.lacks(&entry(3)));
        given.has_all_up_to(EntryId(3, 0));
        assert_eq!(given.behind(), EntryId(3, 0), "what was looked at is not looked at again");
        given.has_all();
        assert!(!given.lacks(&entry(2)) && given.lacks(&entry(4)));
    }

    #[test]
    fn what_came_back_is_lacked_though_newer_entries_were_given() {
        let mut given = Given::up_to(EntryId(9, 0));
        let [(returned, queued), (_, other)] = [event(4), event(5)];
        given.came_back(&[]);
        assert_eq!(given.behind(), EntryId(9, 0));
        given.came_back(&[returned]);
        assert_eq!(given.behind(), EntryId(4, 0));
        assert!(given.lacks(&queued) && !given.lacks(&other), "what came back, and nothing beside it");
        given.has_all();
        assert!(!given.lacks(&queued));
    }
}
