//! Over which partitions users, sessions and idempotency keys are spread, and what their keys and channels are called. Pure.
//!
//! A partition is as a small Redis of its own: its keys and channels lie in one slot of a Redis Cluster, so that a script sees all of
//! them, and what happens to one slot does not concern the others. Elsewhere there is one partition, in which everything may be
//! asked for at once.

use std::sync::Arc;

/// How many slots a Redis Cluster has.
const SLOTS: u16 = 16_384;
/// Over how many partitions users are spread there. To change it is to look for queues where they are not.
const MANY: u16 = 64;

/// All of them. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Partitions(Arc<[Partition]>);

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Partition {
    /// What its keys share, with braces, of a Redis Cluster.
    tag: Option<String>,
    /// The channels of all databases are one set, so they carry the number of theirs.
    db: i64,
}

impl Partitions {
    /// The only one of a database.
    pub(super) fn one(db: i64) -> Self {
        Self([Partition { tag: None, db }].into())
    }

    /// Those of a Redis Cluster. Their slots are spread evenly, so that all primaries have as many.
    pub(super) fn of_cluster() -> Self {
        let within = |part: u16| {
            let mut names = (0..).map(|n: u32| format!("{{p{n}}}"));
            let tag = names.find(|tag| slot(tag) / (SLOTS / MANY) == part);
            Partition { tag, db: 0 }
        };
        Self((0..MANY).map(within).collect())
    }

    /// The number of a user's, or of whatever else has a name.
    pub(crate) fn number(&self, name: &str) -> usize {
        usize::from(crc16(name.as_bytes())) % self.0.len()
    }

    /// The partition of a user, or of whatever else has a name.
    pub(super) fn of(&self, name: &str) -> &Partition {
        &self.0[self.number(name)]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Partition> {
        self.0.iter()
    }

    /// How what is published is published: in a Redis Cluster where the keys are, and nowhere else.
    pub(super) fn publish(&self) -> &'static str {
        self.0[0].publish()
    }
}

impl Partition {
    /// A key of a user.
    pub(super) fn key(&self, user_id: &str, what: &str) -> String {
        match &self.tag {
            Some(tag) => format!("notify:{tag}:u:{user_id}:{what}"),
            // The braces make one slot of a user's keys; the letters before the id keep them from being empty.
            None => format!("notify:{{u:{user_id}}}:{what}"),
        }
    }

    /// The key of a session.
    pub(super) fn session(&self, id: &str) -> String {
        match &self.tag {
            Some(tag) => format!("notify:{tag}:session:{id}"),
            None => format!("notify:session:{id}"),
        }
    }

    /// The key of what became of a request with an idempotency key.
    pub(super) fn once(&self, key: &str) -> String {
        match &self.tag {
            Some(tag) => format!("notify:{tag}:once:{key}"),
            None => format!("notify:once:{{{key}}}"),
        }
    }

    /// What the keys of leases begin with.
    pub(super) fn leases(&self) -> String {
        match &self.tag {
            Some(tag) => format!("notify:{tag}:node:"),
            None => "notify:node:".into(),
        }
    }

    /// The key that tells whether the data are those of before.
    pub(super) fn epoch(&self) -> String {
        match &self.tag {
            Some(tag) => format!("notify:{tag}:epoch"),
            None => "notify:epoch".into(),
        }
    }

    /// The key that tells how old the oldest entry of each queue is.
    pub(super) fn ages(&self) -> String {
        match &self.tag {
            Some(tag) => format!("notify:{tag}:ages"),
            None => "notify:ages".into(),
        }
    }

    /// What the channels of nodes begin with.
    pub(super) fn channel_of_one(&self) -> String {
        self.channel("to:")
    }

    /// The channel of all nodes.
    pub(super) fn channel_of_all(&self) -> String {
        self.channel("all")
    }

    fn channel(&self, name: &str) -> String {
        match &self.tag {
            Some(tag) => format!("notify:{tag}:{name}"),
            None => format!("notify:{}:{name}", self.db),
        }
    }

    pub(super) const fn publish(&self) -> &'static str {
        if self.tag.is_some() { "SPUBLISH" } else { "PUBLISH" }
    }

    /// In which slot it is.
    pub(super) fn slot(&self) -> u16 {
        self.tag.as_deref().map_or(0, slot)
    }
}

/// In which slot of a Redis Cluster a key is: by what stands between its first braces, where something does.
fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key).as_bytes()) % SLOTS
}

/// As Redis has it (XMODEM).
fn crc16(bytes: &[u8]) -> u16 {
    let shift = |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
    bytes.iter().fold(0, |crc, byte| (0..8).fold(crc ^ u16::from(*byte) << 8, shift))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot("foo"), 12_182);
        assert_eq!(slot("a{foo}{bar}"), 12_182);
        assert_eq!(slot("{}foo"), crc16(b"{}foo") % SLOTS);
        assert_eq!(slot("foo{bar"), crc16(b"foo{bar") % SLOTS);
    }

    #[test]
    fn partitions_are_spread_evenly_and_their_names_stay() {
        let all = Partitions::of_cluster();
        let parts: BTreeSet<_> = all.iter().map(|it| it.slot() / (SLOTS / MANY)).collect();
        assert_eq!(parts.len(), usize::from(MANY));
        let tags: Vec<_> = all.iter().filter_map(|it| it.tag.as_deref()).collect();
        assert_eq!((tags[0], tags[1], tags[31], tags[63]), ("{p68}", "{p60}", "{p141}", "{p8}"));
    }

    #[test]
    fn all_of_a_users_is_in_one_slot_whatever_the_name() {
        let all = Partitions::of_cluster();
        for user in ["alice", "{", "a{b}c", "}{"] {
            let it = all.of(user);
            let keys = [it.key(user, "queue"), it.session(user), it.once(user), it.leases(), it.epoch(), it.ages()];
            let channels = [it.channel_of_one(), it.channel_of_all()];
            let keys = [keys.as_slice(), &channels].concat();
            assert!(keys.iter().all(|key| slot(key) == it.slot()), "{keys:?}");
        }
        assert_eq!(Partitions::one(3).of("alice").key("alice", "queue"), "notify:{u:alice}:queue");
    }
}
