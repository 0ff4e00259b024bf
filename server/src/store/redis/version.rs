//! Which Redis this is, asked once at the start: an old one takes most of what it is asked for, and fails at the second event.

use redis::{RedisError, Value, aio::MultiplexedConnection};

use super::{RedisConfig, in_time};
use crate::store::StoreError;

/// The oldest major version that will do: older scripts may not ask for the time and write afterwards.
const OLDEST: u32 = 7;

/// Asks Redis for its version. One that does not answer, or does not say, is none yet: the server starts without it, and is not
/// ready.
///
/// # Errors
/// Where it is too old.
pub async fn check(config: &RedisConfig) -> Result<(), StoreError> {
    let Ok(version) = ask(config).await else { return Ok(()) };
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major < OLDEST => Err(StoreError::TooOld(version)),
        _ => Ok(()),
    }
}

async fn ask(config: &RedisConfig) -> Result<String, StoreError> {
    let client = config.client()?;
    let mut connection = in_time(client.get_multiplexed_async_connection()).await?;
    // Nobody is denied HELLO, as INFO is by some who rent Redis out; before version 6 there was none.
    match hello(&mut connection).await {
        Ok(version) => Ok(version),
        Err(_) => info(&mut connection).await,
    }
}

async fn hello(connection: &mut MultiplexedConnection) -> Result<String, StoreError> {
    let facts: Vec<Value> = in_time(redis::cmd("HELLO").query_async(connection)).await?;
    let mut pairs = facts.chunks_exact(2);
    let version =
        pairs.find(|pair| text(&pair[0]).is_some_and(|name| name == "version")).and_then(|pair| text(&pair[1]));
    version.ok_or(StoreError::Senseless)
}

async fn info(connection: &mut MultiplexedConnection) -> Result<String, StoreError> {
    let facts: String = in_time(redis::cmd("INFO").arg("server").query_async(connection)).await?;
    let version = facts.lines().find_map(|line| line.strip_prefix("redis_version:"));
    version.map(|version| version.trim().to_owned()).ok_or(StoreError::Senseless)
}

fn text(value: &Value) -> Option<String> {
    redis::from_redis_value_ref(value).map_err(RedisError::from).ok()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// A Redis of which only the answers to HELLO and INFO are known; anything else is answered with OK.
    async fn redis(hello: &'static str, info: &'static str) -> RedisConfig {
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
        RedisConfig { host: "127.0.0.1".into(), port, username: None, password: None, db: 0 }
    }

    #[tokio::test]
    async fn a_redis_that_is_too_old_is_refused_with_its_version() {
        let six = "*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n6.0.16\r\n";
        let error = check(&redis(six, "").await).await.expect_err("it is too old");
        assert!(error.to_string().contains("version 6.0.16") && error.to_string().contains("7 or later"), "{error}");
        let unknown = "-ERR unknown command `HELLO`\r\n";
        let error = check(&redis(unknown, "# Server\r\nredis_version:5.0.7\r\nredis_mode:standalone").await).await;
        assert!(error.expect_err("it is too old").to_string().contains("5.0.7"));
    }

    #[tokio::test]
    async fn a_redis_that_is_new_enough_or_says_nothing_is_not_refused() {
        let seven = "*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$5\r\n7.4.1\r\n";
        let forbidden = "-NOPERM this user has no permissions to run the 'info' command\r\n";
        check(&redis(seven, "").await).await.expect("it will do");
        check(&redis(forbidden, "nothing").await).await.expect("it may do");
        let nobody = RedisConfig { host: "127.0.0.1".into(), port: 9, username: None, password: None, db: 0 };
        check(&nobody).await.expect("it may come yet");
    }
}
