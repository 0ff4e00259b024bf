//! What is at the other end of a connection, as it says itself: an old Redis takes most of what it is asked for, and fails at the second
//! event; a replica takes no writes; a node of a cluster or a sentinel is something else.

use redis::{Value, aio::MultiplexedConnection};

use crate::model::StoreError;

/// The oldest major version that will do: older scripts may not ask for the time and write afterwards.
const OLDEST: u32 = 7;

/// What a server should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One that takes writes.
    Primary,
    /// One that watches over such.
    Sentinel,
    /// One of a Redis Cluster: what it has no slot for it refuses by itself.
    Member,
}

/// What it says; what it does not say is empty, and held against nobody.
#[derive(Debug, Default)]
pub(super) struct About {
    version: String,
    mode: String,
    role: String,
}

impl About {
    /// Asks. Nobody is denied HELLO, as INFO is by some who rent Redis out; before version 6 there was none.
    pub(super) async fn ask(connection: &mut MultiplexedConnection) -> Self {
        if let Ok(facts) = redis::cmd("HELLO").query_async::<Vec<Value>>(connection).await {
            let fact = |name: &str| {
                let mut pairs = facts.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1])));
                pairs.find(|(key, _)| key == name).map(|(_, value)| value).unwrap_or_default()
            };
            return Self { version: fact("version"), mode: fact("mode"), role: fact("role") };
        }
        let facts = redis::cmd("INFO").arg("server").query_async::<String>(connection).await.unwrap_or_default();
        let version = facts.lines().find_map(|line| line.strip_prefix("redis_version:"));
        Self { version: version.unwrap_or_default().trim().to_owned(), ..Self::default() }
    }

    /// # Errors
    /// Where it will not do.
    pub(super) fn check(self, kind: Kind) -> Result<(), StoreError> {
        if kind == Kind::Sentinel {
            return if ["", "sentinel"].contains(&self.mode.as_str()) { Ok(()) } else { Err(StoreError::NotSentinel) };
        }
        if kind == Kind::Member && !["", "cluster"].contains(&self.mode.as_str()) {
            return Err(StoreError::NotCluster);
        }
        let major = self.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        match (major, self.mode.as_str(), self.role.as_str()) {
            (_, "cluster" | "sentinel", _) if kind == Kind::Primary => Err(StoreError::Unsupported(self.mode)),
            (Some(..OLDEST), ..) => Err(StoreError::TooOld(self.version)),
            (_, _, "replica" | "slave") if kind == Kind::Primary => Err(StoreError::Replica),
            _ => Ok(()),
        }
    }
}

fn text(value: &Value) -> String {
    redis::from_redis_value_ref(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::{
        super::{Address, connect::Connector},
        Kind,
    };
    use crate::model::StoreError;

    /// What comes of connecting to a Redis of which only the answers to HELLO and INFO are known; anything else is answered with OK.
    async fn connecting(hello: &'static str, info: &'static str) -> Result<(), StoreError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("its address").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut bytes = [0; 4_096];
                    while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
                        let lines: Vec<_> = text.split("\r\n").collect();
                        let commands = (0..lines.len()).filter(|at| lines[*at].starts_with('*'));
                        for name in commands.filter_map(|at| lines.get(at + 2)) {
                            let answer = match name.to_uppercase().as_str() {
                                "HELLO" => hello.to_owned(),
                                "INFO" => format!("${}\r\n{info}\r\n", info.len()),
                                _ => "+OK\r\n".to_owned(),
                            };
                            stream.write_all(answer.as_bytes()).await.ok();
                        }
                    }
                });
            }
        });
        let address = Address { host: "127.0.0.1".into(), port };
        Connector::new(Arc::new(address), Kind::Primary, None, None).connect().await.map(drop)
    }

    fn hello(facts: &[(&str, &str)]) -> &'static str {
        let facts = facts.iter().flat_map(|(name, value)| [name, value]);
        let facts: Vec<_> = facts.map(|text| format!("${}\r\n{text}\r\n", text.len())).collect();
        format!("*{}\r\n{}", facts.len(), facts.concat()).leak()
    }

    const UNKNOWN: &str = "-ERR unknown command `HELLO`\r\n";

    #[tokio::test]
    async fn a_redis_that_is_too_old_is_refused_with_its_version() {
        let six = hello(&[("server", "redis"), ("version", "6.0.16")]);
        let error = connecting(six, "").await.expect_err("it is too old").to_string();
        assert!(error.contains("version 6.0.16") && error.contains("7 or later"), "{error}");
        let five = "# Server\r\nredis_version:5.0.7\r\nredis_mode:standalone";
        let error = connecting(UNKNOWN, five).await.expect_err("it is too old").to_string();
        assert!(error.contains("5.0.7"), "{error}");
    }

    #[tokio::test]
    async fn what_is_something_else_is_refused() {
        let replica = hello(&[("version", "7.4.1"), ("mode", "standalone"), ("role", "replica")]);
        assert!(matches!(connecting(replica, "").await, Err(StoreError::Replica)));
        let cluster = hello(&[("version", "7.4.1"), ("mode", "cluster"), ("role", "master")]);
        assert!(matches!(connecting(cluster, "").await, Err(StoreError::Unsupported(mode)) if mode == "cluster"));
    }

    #[tokio::test]
    async fn a_redis_that_is_new_enough_or_says_nothing_is_not_refused() {
        let seven = hello(&[("version", "7.4.1"), ("mode", "standalone"), ("role", "master")]);
        connecting(seven, "").await.expect("it will do");
        connecting(UNKNOWN, "nothing").await.expect("it may do");
    }
}
