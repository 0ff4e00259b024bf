//! The cases, in the order of SPEC.md.

/// A case: `case!("ID/slug", "title", story)`, or `case!("ID/slug", "title", story(more))`, where `story` takes a bench and then whatever
/// more there is.
macro_rules! case {
    ($id:literal, $title:expr, $story:ident $(($($more:expr),+))?) => {
        $crate::case::Case::new($id, $title, |t| Box::pin($story(t $($(, $more)+)?)))
    };
}

/// As `case!`, over a transport, which `story` takes behind the bench: `over!(Polling, "ID/slug", "title", story)`. Over polling it is for
/// targets that have that.
macro_rules! over {
    (WebSocket, $id:literal, $title:expr, $story:ident $(($($more:expr),+))?) => {
        case!($id, $title, $story($crate::client::Transport::WebSocket $($(, $more)+)?))
    };
    (Polling, $id:literal, $title:expr, $story:ident $(($($more:expr),+))?) => {
        case!($id, $title, $story($crate::client::Transport::Polling $($(, $more)+)?))
            .needs(&[$crate::case::Need::Capability("polling")])
    };
    (Upgraded, $id:literal, $title:expr, $story:ident $(($($more:expr),+))?) => {
        case!($id, $title, $story($crate::client::Transport::Upgraded $($(, $more)+)?))
            .needs(&[$crate::case::Need::Capability("polling")])
    };
}

mod acks;
mod auth;
mod cluster;
mod config;
mod emit;
mod ending;
mod events;
mod failover;
mod failure;
mod floods;
mod harm;
mod heart;
mod keys;
mod kit;
mod leaks;
mod nodes;
mod order;
mod origins;
mod outage;
mod pace;
mod queue;
mod repeats;
mod rights;
mod rooms;
mod rotation;
mod sessions;
mod shards;
mod slow;
mod transport;
mod travel;
mod upgrade;

use crate::case::Case;

/// Every case.
pub fn all() -> Vec<Case> {
    [
        transport::CASES,
        upgrade::CASES,
        auth::CASES,
        sessions::CASES,
        rooms::CASES,
        events::CASES,
        travel::CASES,
        queue::CASES,
        emit::CASES,
        repeats::CASES,
        leaks::CASES,
        keys::CASES,
        origins::CASES,
        config::CASES,
        acks::CASES,
        order::CASES,
        slow::CASES,
        pace::CASES,
        harm::CASES,
        rights::CASES,
        cluster::CASES,
        nodes::CASES,
        outage::CASES,
        failure::CASES,
        ending::CASES,
        heart::CASES,
        floods::CASES,
        failover::CASES,
        shards::CASES,
        rotation::CASES,
    ]
    .concat()
}

/// The ids of all cases.
pub fn ids() -> Vec<&'static str> {
    all().iter().map(|case| case.id).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::all;
    use crate::{
        spec::{self, Level},
        target::CAPABILITIES,
    };

    #[test]
    fn every_case_names_sentences_that_exist() {
        for case in all() {
            for id in case.sentences() {
                assert!(spec::sentence(id).is_some(), "{} names {id}", case.id);
            }
            assert!(case.id.contains('/'), "{} has no slug", case.id);
        }
    }

    #[test]
    fn every_must_and_should_has_a_case() {
        let checked: HashSet<_> = all().iter().flat_map(|case| case.sentences().collect::<Vec<_>>()).collect();
        for sentence in spec::sentences().iter().filter(|sentence| sentence.level != Level::May) {
            assert!(checked.contains(sentence.id.as_str()), "no case checks {}", sentence.id);
        }
    }

    #[test]
    fn case_ids_are_unique_and_capabilities_known() {
        let mut ids = HashSet::new();
        for case in all() {
            assert!(ids.insert(case.id), "{} is there twice", case.id);
            assert!(case.capabilities().all(|name| CAPABILITIES.contains(&name)), "{}", case.id);
        }
    }
}
