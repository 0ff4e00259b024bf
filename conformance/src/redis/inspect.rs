//! Looks at what a server under test has put into its database, without assuming the name of any key, and at what it costs.

use std::collections::BTreeMap;

use redis::{RedisResult, Value, aio::MultiplexedConnection};

use super::{RedisError, RedisServer, connect, lending::CLAIM};

/// What garbage looks like: it is in no format that a queue could have been written in.
const GARBAGE: &str = "\u{1}not-json{";

/// What becomes of an entry that is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// It is something else.
    Garbage,
    /// Its end is missing.
    Cut,
    /// The event in it is this JSON instead, which is no event.
    Json(&'static str),
    /// The event in it lacks this member.
    Without(&'static str),
    /// This member of the event in it is a number.
    Number(&'static str),
}

impl Damage {
    /// Whether what is left is still an object with most of an event in it.
    pub const fn leaves_most(self) -> bool {
        matches!(self, Self::Without(_) | Self::Number(_))
    }

    /// The entry, damaged; `None` where no event in JSON is found in it.
    fn of(self, entry: &[u8]) -> Option<Vec<u8>> {
        if self == Self::Garbage {
            return Some(GARBAGE.into());
        }
        let entry = str::from_utf8(entry).ok()?;
        let (start, end) = (entry.find('{')?, entry.rfind('}')? + 1);
        let text = entry.get(start..end)?;
        let mut event: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
        let damaged = match self {
            Self::Garbage | Self::Cut => text.get(..text.len().checked_sub(5)?)?.to_owned(),
            Self::Json(json) => json.to_owned(),
            Self::Without(member) => {
                event.remove(member)?;
                serde_json::Value::Object(event).to_string()
            }
            Self::Number(member) => {
                *event.get_mut(member)? = 7.into();
                serde_json::Value::Object(event).to_string()
            }
        };
        Some([&entry[..start], &*damaged, &entry[end..]].concat().into_bytes())
    }
}

/// A key, as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// `list`, `stream`, `zset`, `set`, `hash` or `string`.
    pub kind: String,
    /// Milliseconds until the key expires; `None` where it never does.
    pub ttl_ms: Option<u64>,
    /// How many entries it has; for a string, how many bytes.
    pub length: u64,
}

impl RedisServer {
    /// The processor time that it has used so far, user and system, in seconds.
    ///
    /// # Errors
    /// Where it does not answer, or does not tell.
    pub async fn cpu_s(&self) -> Result<f64, RedisError> {
        let mut redis = connect(self.address(), 0).await?;
        let told: String = redis::cmd("INFO").arg("cpu").query_async(&mut redis).await?;
        let used = |what: &str| told.lines().find_map(|line| line.strip_prefix(what)?.trim().parse::<f64>().ok());
        let used = used("used_cpu_user:").zip(used("used_cpu_sys:")).map(|(user, system)| user + system);
        used.ok_or_else(|| RedisError::Fault("it does not tell its processor time".to_owned()))
    }
}

/// A database, of which each server of a Redis Cluster has a part.
#[derive(Debug)]
pub struct View {
    parts: Vec<MultiplexedConnection>,
}

impl View {
    pub(super) const fn new(parts: Vec<MultiplexedConnection>) -> Self {
        Self { parts }
    }

    /// Every key, as by [`keys`].
    ///
    /// # Errors
    /// Where Redis does not answer.
    pub async fn keys(&mut self) -> RedisResult<BTreeMap<String, Key>> {
        let mut found = BTreeMap::new();
        for part in &mut self.parts {
            if serves(part).await? {
                found.append(&mut keys(part).await?);
            }
        }
        Ok(found)
    }

    /// The keys whose content has this text, as by [`holding`].
    ///
    /// # Errors
    /// Where Redis does not answer.
    pub async fn holding(&mut self, text: &str) -> RedisResult<BTreeMap<String, Key>> {
        let mut found = BTreeMap::new();
        for part in &mut self.parts {
            if serves(part).await? {
                found.append(&mut holding(part, text).await?);
            }
        }
        Ok(found)
    }

    /// As [`corrupt_one_entry`], wherever the key is.
    ///
    /// # Errors
    /// Where Redis does not answer.
    pub async fn corrupt_one_entry(
        &mut self,
        name: &str,
        kind: &str,
        damage: Damage,
    ) -> RedisResult<Option<&'static str>> {
        for part in &mut self.parts {
            if serves(part).await? && keys(part).await?.contains_key(name) {
                return corrupt_one_entry(part, name, kind, damage).await;
            }
        }
        Ok(None)
    }

    /// Tells all servers something.
    ///
    /// # Errors
    /// Where one does not take it.
    pub async fn tell(&mut self, command: &redis::Cmd) -> RedisResult<()> {
        for part in &mut self.parts {
            command.query_async::<()>(part).await?;
        }
        Ok(())
    }
}

/// Whether it is a primary: a replica has the same once more.
async fn serves(redis: &mut MultiplexedConnection) -> RedisResult<bool> {
    let role: Vec<Value> = redis::cmd("ROLE").query_async(redis).await?;
    Ok(role.first().is_some_and(|role| holds(role, "master")))
}

/// Every key of the database but the suite's own claim to it. A name that is no text is shown with replacement characters.
///
/// # Errors
/// Where Redis does not answer.
pub async fn keys(redis: &mut MultiplexedConnection) -> RedisResult<BTreeMap<String, Key>> {
    let mut found = BTreeMap::new();
    let mut cursor = 0_u64;
    loop {
        let (next, names): (u64, Vec<Vec<u8>>) =
            redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(1_000).query_async(redis).await?;
        for name in names.into_iter().filter(|name| name != CLAIM.as_bytes()) {
            // One that has expired since it was listed has gone, and is not a key that never expires.
            if let Some(key) = look(redis, &name).await? {
                found.insert(String::from_utf8_lossy(&name).into_owned(), key);
            }
        }
        if next == 0 {
            return Ok(found);
        }
        cursor = next;
    }
}

/// The keys whose content has this text, wherever it stands.
///
/// # Errors
/// Where Redis does not answer.
pub async fn holding(redis: &mut MultiplexedConnection, text: &str) -> RedisResult<BTreeMap<String, Key>> {
    let mut found = BTreeMap::new();
    for (name, key) in keys(redis).await? {
        let mut all = match key.kind.as_str() {
            "list" => redis::cmd("LRANGE"),
            "stream" => redis::cmd("XRANGE"),
            "zset" => redis::cmd("ZRANGE"),
            "set" => redis::cmd("SMEMBERS"),
            "hash" => redis::cmd("HGETALL"),
            _ => redis::cmd("GET"),
        };
        all.arg(&name);
        match key.kind.as_str() {
            "list" | "zset" => all.arg(0).arg(-1),
            "stream" => all.arg("-").arg("+"),
            _ => &mut all,
        };
        if holds(&all.query_async(redis).await?, text) {
            found.insert(name, key);
        }
    }
    Ok(found)
}

fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::BulkString(bytes) => bytes.windows(text.len()).any(|part| part == text.as_bytes()),
        Value::SimpleString(line) => line.contains(text),
        Value::Array(items) | Value::Set(items) => items.iter().any(|item| holds(item, text)),
        Value::Map(pairs) => pairs.iter().any(|(name, value)| holds(name, text) || holds(value, text)),
        _ => false,
    }
}

/// Damages the second entry of whatever collection the key holds, and says how; `None` where the key holds no collection,
/// one with fewer than two entries, or one that cannot be damaged so.
///
/// The entry keeps its place between the others. Of a set or a hash, which has no order, any entry may be the second. A
/// stream is written anew, because its entries cannot be changed; where consumer groups would be lost by that, the damaged
/// entry comes to its end.
///
/// # Errors
/// Where Redis does not answer.
pub async fn corrupt_one_entry(
    redis: &mut MultiplexedConnection,
    name: &str,
    kind: &str,
    damage: Damage,
) -> RedisResult<Option<&'static str>> {
    match kind {
        "list" => corrupt_list(redis, name, damage).await,
        "stream" => corrupt_stream(redis, name, damage).await,
        "zset" => corrupt_zset(redis, name, damage).await,
        "set" => corrupt_set(redis, name, damage).await,
        "hash" => corrupt_hash(redis, name, damage).await,
        _ => Ok(None),
    }
}

async fn look(redis: &mut MultiplexedConnection, name: &[u8]) -> RedisResult<Option<Key>> {
    let (kind, ttl): (String, i64) =
        redis::pipe().cmd("TYPE").arg(name).cmd("PTTL").arg(name).query_async(redis).await?;
    let length = match kind.as_str() {
        "list" => "LLEN",
        "stream" => "XLEN",
        "zset" => "ZCARD",
        "set" => "SCARD",
        "hash" => "HLEN",
        "string" => "STRLEN",
        _ => return Ok(None),
    };
    let length = redis::cmd(length).arg(name).query_async(redis).await?;
    const GONE: i64 = -2;
    Ok((ttl != GONE).then(|| Key { kind, ttl_ms: u64::try_from(ttl).ok(), length }))
}

async fn corrupt_list(
    redis: &mut MultiplexedConnection,
    name: &str,
    damage: Damage,
) -> RedisResult<Option<&'static str>> {
    let entry: Option<Vec<u8>> = redis::cmd("LINDEX").arg(name).arg(1).query_async(redis).await?;
    let Some(damaged) = entry.and_then(|entry| damage.of(&entry)) else { return Ok(None) };
    redis::cmd("LSET").arg(name).arg(1).arg(damaged).query_async::<()>(redis).await?;
    Ok(Some("the second entry of a list was overwritten"))
}

async fn corrupt_zset(
    redis: &mut MultiplexedConnection,
    name: &str,
    damage: Damage,
) -> RedisResult<Option<&'static str>> {
    let members: Vec<(Vec<u8>, f64)> =
        redis::cmd("ZRANGE").arg(name).arg(1).arg(1).arg("WITHSCORES").query_async(redis).await?;
    let Some((member, score)) = members.into_iter().next() else { return Ok(None) };
    let Some(damaged) = damage.of(&member) else { return Ok(None) };
    let mut replace = redis::pipe();
    replace.atomic().cmd("ZREM").arg(name).arg(member).cmd("ZADD").arg(name).arg(score).arg(damaged);
    replace.query_async::<()>(redis).await?;
    Ok(Some("the second member of a sorted set was replaced"))
}

async fn corrupt_set(
    redis: &mut MultiplexedConnection,
    name: &str,
    damage: Damage,
) -> RedisResult<Option<&'static str>> {
    let members: Vec<Vec<u8>> = redis::cmd("SMEMBERS").arg(name).query_async(redis).await?;
    let Some(member) = members.get(1) else { return Ok(None) };
    let Some(damaged) = damage.of(member) else { return Ok(None) };
    let mut replace = redis::pipe();
    replace.atomic().cmd("SREM").arg(name).arg(member).cmd("SADD").arg(name).arg(damaged);
    replace.query_async::<()>(redis).await?;
    Ok(Some("a member of a set was replaced"))
}

async fn corrupt_hash(
    redis: &mut MultiplexedConnection,
    name: &str,
    damage: Damage,
) -> RedisResult<Option<&'static str>> {
    let fields: Vec<Vec<u8>> = redis::cmd("HKEYS").arg(name).query_async(redis).await?;
    let Some(field) = fields.get(1) else { return Ok(None) };
    let value: Vec<u8> = redis::cmd("HGET").arg(name).arg(field).query_async(redis).await?;
    let Some(damaged) = damage.of(&value) else { return Ok(None) };
    redis::cmd("HSET").arg(name).arg(field).arg(damaged).query_async::<()>(redis).await?;
    Ok(Some("a field of a hash was overwritten"))
}

/// The id of an entry, and its fields and values by turns.
type StreamEntry = (String, Vec<Vec<u8>>);

async fn corrupt_stream(
    redis: &mut MultiplexedConnection,
    name: &str,
    damage: Damage,
) -> RedisResult<Option<&'static str>> {
    let mut entries: Vec<StreamEntry> = redis::cmd("XRANGE").arg(name).arg("-").arg("+").query_async(redis).await?;
    let Some((id, fields)) = entries.get_mut(1) else { return Ok(None) };
    let mut is_damaged = false;
    for value in fields.iter_mut().skip(1).step_by(2) {
        if let Some(damaged) = damage.of(value) {
            *value = damaged;
            is_damaged = true;
        }
    }
    if !is_damaged {
        return Ok(None);
    }
    let groups: Vec<redis::Value> = redis::cmd("XINFO").arg("GROUPS").arg(name).query_async(redis).await?;
    let mut replace = redis::pipe();
    replace.atomic();
    if !groups.is_empty() {
        replace.cmd("XDEL").arg(name).arg(&*id).cmd("XADD").arg(name).arg("*").arg(&*fields);
        replace.query_async::<()>(redis).await?;
        return Ok(Some("the second entry of a stream was replaced by a damaged one at its end"));
    }
    let expires_at: i64 = redis::cmd("PEXPIRETIME").arg(name).query_async(redis).await?;
    replace.cmd("DEL").arg(name);
    for (id, fields) in &entries {
        replace.cmd("XADD").arg(name).arg(id).arg(fields);
    }
    if expires_at >= 0 {
        replace.cmd("PEXPIREAT").arg(name).arg(expires_at);
    }
    replace.query_async::<()>(redis).await?;
    Ok(Some("the second entry of a stream was overwritten"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::{Database, RedisServer, for_a_test};

    /// A Redis in which these commands, one a line, were carried out.
    async fn after(commands: &str) -> Option<((RedisServer, Database), MultiplexedConnection)> {
        let server = for_a_test().await?;
        let database = server.lend().await.expect("a database");
        let mut redis = database.connect().await.expect("it answers");
        for command in commands.lines() {
            let mut words = command.split_whitespace();
            let mut command = redis::cmd(words.next().expect("a command"));
            command.arg(words.collect::<Vec<_>>());
            command.query_async::<()>(&mut redis).await.expect("it is carried out");
        }
        Some(((server, database), redis))
    }

    async fn entries(redis: &mut MultiplexedConnection, command: &str) -> Vec<String> {
        let mut words = command.split_whitespace();
        let mut command = redis::cmd(words.next().expect("a command"));
        command.arg(words.collect::<Vec<_>>());
        command.query_async(redis).await.expect("it answers")
    }

    #[tokio::test]
    async fn keys_are_seen_with_kind_expiry_and_length() {
        let commands = "RPUSH list a b c\nSET text hello PX 60000\nXADD stream * k v";
        let Some((_server, mut redis)) = after(commands).await else { return };
        let keys = keys(&mut redis).await.expect("it answers");
        assert_eq!(keys.keys().collect::<Vec<_>>(), ["list", "stream", "text"]);
        assert_eq!(keys["list"], Key { kind: "list".into(), ttl_ms: None, length: 3 });
        assert_eq!((keys["stream"].kind.as_str(), keys["stream"].length), ("stream", 1));
        assert!(keys["text"].ttl_ms.is_some_and(|ttl| (50_000..=60_000).contains(&ttl)) && keys["text"].length == 5);
    }

    #[tokio::test]
    async fn a_name_that_is_no_text_is_seen_too() {
        let Some((_server, mut redis)) = after("").await else { return };
        redis::cmd("SET").arg(b"\xff").arg("x").query_async::<()>(&mut redis).await.expect("it is set");
        assert!(keys(&mut redis).await.expect("it answers").contains_key("\u{fffd}"));
    }

    #[tokio::test]
    async fn the_second_entry_of_a_list_or_sorted_set_is_damaged_in_its_place() {
        let commands = "RPUSH list a b c\nZADD zset 1 a 2 b 3 c";
        let Some((_server, mut redis)) = after(commands).await else { return };
        for (name, command) in [("list", "LRANGE list 0 -1"), ("zset", "ZRANGE zset 0 -1")] {
            assert!(corrupt_one_entry(&mut redis, name, name, Damage::Garbage).await.expect("it answers").is_some());
            assert_eq!(entries(&mut redis, command).await, ["a", GARBAGE, "c"]);
        }
    }

    #[tokio::test]
    async fn the_second_entry_of_a_stream_is_damaged_in_its_place_and_the_expiry_stays() {
        let commands = "XADD s 1-1 k a n 1\nXADD s 2-1 k b n 2\nXADD s 3-1 k c n 3\nPEXPIRE s 60000";
        let Some((_server, mut redis)) = after(commands).await else { return };
        let how = corrupt_one_entry(&mut redis, "s", "stream", Damage::Garbage).await.expect("it answers");
        assert_eq!(how, Some("the second entry of a stream was overwritten"));
        let left: Vec<(String, Vec<String>)> =
            redis::cmd("XRANGE").arg("s").arg("-").arg("+").query_async(&mut redis).await.expect("it answers");
        let fields = |words: [&str; 4]| words.map(str::to_owned).to_vec();
        assert_eq!(left[0], ("1-1".to_owned(), fields(["k", "a", "n", "1"])));
        assert_eq!(left[1], ("2-1".to_owned(), fields(["k", GARBAGE, "n", GARBAGE])));
        assert_eq!(left[2], ("3-1".to_owned(), fields(["k", "c", "n", "3"])));
        assert!(keys(&mut redis).await.expect("it answers")["s"].ttl_ms.is_some());
    }

    #[tokio::test]
    async fn a_stream_with_consumer_groups_keeps_them() {
        let commands = "XADD s 1-1 k a\nXADD s 2-1 k b\nXGROUP CREATE s readers 0";
        let Some((_server, mut redis)) = after(commands).await else { return };
        let how = corrupt_one_entry(&mut redis, "s", "stream", Damage::Garbage)
            .await
            .expect("it answers")
            .expect("it is damaged");
        assert!(how.contains("at its end"), "{how}");
        let groups: Vec<redis::Value> =
            redis::cmd("XINFO").arg("GROUPS").arg("s").query_async(&mut redis).await.expect("it answers");
        assert_eq!(groups.len(), 1);
    }

    #[tokio::test]
    async fn one_entry_of_a_set_or_hash_is_damaged() {
        let commands = "SADD set a b c\nHSET hash f a g b h c";
        let Some((_server, mut redis)) = after(commands).await else { return };
        for (name, command) in [("set", "SMEMBERS set"), ("hash", "HVALS hash")] {
            assert!(corrupt_one_entry(&mut redis, name, name, Damage::Garbage).await.expect("it answers").is_some());
            let left = entries(&mut redis, command).await;
            assert_eq!((left.len(), left.iter().filter(|value| *value == GARBAGE).count()), (3, 1));
        }
    }

    #[test]
    fn an_event_is_damaged_where_it_stands_in_its_entry() {
        let entry = br#"id-1 {"eventType":"x","metadata":{"n":1}}"#;
        let of = |damage: Damage| damage.of(entry).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(of(Damage::Cut).as_deref(), Some(r#"id-1 {"eventType":"x","metadata":{"n"#));
        assert_eq!(of(Damage::Json("null")).as_deref(), Some("id-1 null"));
        assert_eq!(of(Damage::Without("metadata")).as_deref(), Some(r#"id-1 {"eventType":"x"}"#));
        assert_eq!(of(Damage::Number("eventType")).as_deref(), Some(r#"id-1 {"eventType":7,"metadata":{"n":1}}"#));
        assert_eq!(of(Damage::Without("eventId")), None);
        assert_eq!(Damage::Cut.of(b"no event"), None);
    }

    #[tokio::test]
    async fn what_has_no_second_entry_is_left_alone() {
        let commands = "RPUSH list a\nXADD stream * k v\nZADD zset 1 a\nSADD set a\nHSET hash f a\nSET string a";
        let Some((_server, mut redis)) = after(commands).await else { return };
        for kind in ["list", "stream", "zset", "set", "hash", "string"] {
            assert_eq!(corrupt_one_entry(&mut redis, kind, kind, Damage::Garbage).await.expect("it answers"), None);
        }
    }
}
