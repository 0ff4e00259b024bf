//! The upgrade of a polling session, up to the client's last word: nothing happens to the session before that, so an upgrade that
//! comes to nothing leaves it as it was (TRANS-12). The library would pause it at the first.

use std::{io::Cursor, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};
use tokio_tungstenite::tungstenite::protocol::frame::{
    FrameHeader,
    coding::{Control, Data, OpCode},
};

use super::connection::{Connection, Stream};

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long after the answer to a probe a poll that waits is ended again.
const FIRST_NUDGE: Duration = Duration::from_millis(100);

/// More than a client has to say.
const MAX_BYTES: usize = 1024;

const ANSWER: &[u8] = b"\x81\x063probe";

/// Answers the probe and waits for the client to say that the upgrade is done. Returns all that was read, for the library to read it
/// again; `None` where it has come to nothing.
pub(super) async fn probe(stream: &mut Box<dyn Stream>, read: Vec<u8>, connection: &Connection) -> Option<Vec<u8>> {
    timeout(PATIENCE, converse(stream, read, connection)).await.ok().flatten()
}

async fn converse(stream: &mut Box<dyn Stream>, mut read: Vec<u8>, connection: &Connection) -> Option<Vec<u8>> {
    let (mut understood, mut probed, mut nudge) = (0, false, FIRST_NUDGE);
    loop {
        while let Some((message, length)) = next_message(&read[understood..])? {
            understood += length;
            match message.as_deref() {
                None => {}
                Some(b"2probe") if !probed => {
                    stream.write_all(ANSWER).await.ok()?;
                    stream.flush().await.ok()?;
                    connection.probed();
                    probed = true;
                }
                Some(b"5") if probed => return Some(read),
                Some(_) => return None,
            }
        }
        if read.len() >= MAX_BYTES {
            return None;
        }
        tokio::select! {
            many = stream.read_buf(&mut read) => if many.ok()? == 0 { return None },
            // A poll that came after the answer has to end, too, before the client goes on. Ever more seldom, for the client may not
            // have been given the answer, and goes on polling then.
            () = sleep(nudge), if probed => {
                connection.probed();
                nudge *= 2;
            }
        }
    }
}

/// The next frame, where it is complete: its text, if it is one, and its length. `None` where the client goes or breaks the protocol.
fn next_message(bytes: &[u8]) -> Option<Option<(Option<Vec<u8>>, usize)>> {
    let mut cursor = Cursor::new(bytes);
    let Some((header, length)) = FrameHeader::parse(&mut cursor).ok()? else {
        return Some(None);
    };
    let (begin, length) = (usize::try_from(cursor.position()).ok()?, usize::try_from(length).ok()?);
    if length > MAX_BYTES {
        return None;
    }
    let mask = header.mask?;
    let Some(payload) = bytes.get(begin..begin + length) else {
        return Some(None);
    };
    let message = match header.opcode {
        OpCode::Data(Data::Text) if header.is_final => {
            Some(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect())
        }
        OpCode::Control(Control::Ping | Control::Pong) => None,
        _ => return None,
    };
    Some(Some((message, begin + length)))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x81, 0x80 | u8::try_from(payload.len()).unwrap(), 1, 2, 3, 4];
        bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ [1, 2, 3, 4][i % 4]));
        bytes
    }

    /// What comes of it where the client says this, and goes.
    async fn upgrade(said: &[u8]) -> Option<Vec<u8>> {
        let (mut client, server) = duplex(4096);
        client.write_all(said).await.unwrap();
        client.shutdown().await.unwrap();
        let mut stream: Box<dyn Stream> = Box::new(server);
        probe(&mut stream, Vec::new(), &Connection::for_tests()).await
    }

    #[tokio::test]
    async fn an_upgrade_is_done_when_the_client_says_so_after_its_probe() {
        let ping = [0x89, 0x80, 0, 0, 0, 0];
        let said = [&frame(b"2probe")[..], &ping, &frame(b"5"), b"and more"].concat();
        assert_eq!(upgrade(&said).await, Some(said));
    }

    #[tokio::test]
    async fn anything_else_comes_to_nothing() {
        let close = [0x88, 0x80, 0, 0, 0, 0];
        let unmasked = [&[0x81, 6][..], b"2probe"].concat();
        for said in [
            vec![],
            frame(b"5"),
            frame(b"2probe"),
            [frame(b"2probe"), frame(b"2probe")].concat(),
            [frame(b"2probe"), frame(b"40/notifications,")].concat(),
            [&frame(b"2probe")[..], &close].concat(),
            unmasked,
            vec![0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0],
        ] {
            assert_eq!(upgrade(&said).await, None, "{said:?}");
        }
    }
}
