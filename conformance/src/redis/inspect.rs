//! Looks at what a server under test has put into its database, without assuming the name of any key.

use std::collections::BTreeMap;

use redis::{RedisResult, aio::MultiplexedConnection};

/// What garbage looks like: it is in no format that a queue could have been written in.
const GARBAGE: &str = "\u{1}not-json{";

/// A key, as seen from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// `list`, `stream`, `zset`, `set`, `hash` or `string`.
    pub kind: String,
    /// Milliseconds until the key expires; `None` where it never does.
    pub ttl_ms: Option<u64>,
}

/// Every key of the database.
///
/// # Errors
/// Where Redis does not answer.
pub async fn keys(redis: &mut MultiplexedConnection) -> RedisResult<BTreeMap<String, Key>> {
    let mut found = BTreeMap::new();
    let mut cursor = 0_u64;
    loop {
        let (next, names): (u64, Vec<String>) =
            redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(1_000).query_async(redis).await?;
        for name in names {
            let kind = redis::cmd("TYPE").arg(&name).query_async(redis).await?;
            let ttl: i64 = redis::cmd("PTTL").arg(&name).query_async(redis).await?;
            found.insert(name, Key { kind, ttl_ms: u64::try_from(ttl).ok() });
        }
        if next == 0 {
            return Ok(found);
        }
        cursor = next;
    }
}

/// Damages one entry of whatever collection the key holds, and says how; `None` where the key holds no collection.
///
/// A list loses its second entry to garbage; a stream, whose entries cannot be changed, has its second one replaced by
/// garbage at the end; sets, sorted sets and hashes have one member replaced.
///
/// # Errors
/// Where Redis does not answer.
pub async fn corrupt_one_entry(
    redis: &mut MultiplexedConnection,
    name: &str,
    kind: &str,
) -> RedisResult<Option<&'static str>> {
    match kind {
        "list" => {
            redis::cmd("LSET").arg(name).arg(1).arg(GARBAGE).query_async::<()>(redis).await?;
            Ok(Some("the second entry of a list was overwritten"))
        }
        "stream" => corrupt_stream(redis, name).await,
        "zset" => {
            let (member, score): (String, f64) = second_of_zset(redis, name).await?;
            redis::cmd("ZREM").arg(name).arg(member).query_async::<()>(redis).await?;
            redis::cmd("ZADD").arg(name).arg(score).arg(GARBAGE).query_async::<()>(redis).await?;
            Ok(Some("the second member of a sorted set was replaced"))
        }
        "hash" => {
            let fields: Vec<String> = redis::cmd("HKEYS").arg(name).query_async(redis).await?;
            let Some(field) = fields.get(1) else { return Ok(None) };
            redis::cmd("HSET").arg(name).arg(field).arg(GARBAGE).query_async::<()>(redis).await?;
            Ok(Some("a field of a hash was overwritten"))
        }
        _ => Ok(None),
    }
}

type StreamEntry = (String, Vec<String>);

async fn corrupt_stream(redis: &mut MultiplexedConnection, name: &str) -> RedisResult<Option<&'static str>> {
    let entries: Vec<StreamEntry> = redis::cmd("XRANGE").arg(name).arg("-").arg("+").query_async(redis).await?;
    let Some((id, fields)) = entries.get(1) else { return Ok(None) };
    redis::cmd("XDEL").arg(name).arg(id).query_async::<()>(redis).await?;
    let mut add = redis::cmd("XADD");
    add.arg(name).arg("*");
    for field in fields.iter().step_by(2) {
        add.arg(field).arg(GARBAGE);
    }
    add.query_async::<()>(redis).await?;
    Ok(Some("the second entry of a stream was replaced by a damaged one at its end"))
}

async fn second_of_zset(redis: &mut MultiplexedConnection, name: &str) -> RedisResult<(String, f64)> {
    let members: Vec<(String, f64)> =
        redis::cmd("ZRANGE").arg(name).arg(1).arg(1).arg("WITHSCORES").query_async(redis).await?;
    members.into_iter().next().ok_or_else(|| redis::RedisError::from(std::io::Error::other("a member was due")))
}
