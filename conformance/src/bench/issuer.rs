//! A place for a key set, as an issuer of tokens has it. Knows nothing of what it holds.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Answers every request in the same way, until it is told another. Ends when it is dropped.
#[derive(Debug)]
pub struct Issuer {
    /// Where it is.
    pub url: String,
    answer: Arc<Mutex<(u16, String)>>,
    task: JoinHandle<()>,
}

impl Issuer {
    /// One that answers 200 and this text.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn start(text: String) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/keys.json", listener.local_addr()?);
        let answer = Arc::new(Mutex::new((200, text)));
        let said = answer.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (status, text) = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // Whoever has gone wants no answer.
                tokio::spawn(async move { reply(stream, status, &text).await.ok() });
            }
        });
        Ok(Self { url, answer, task })
    }

    /// Answers so from now on.
    pub fn says(&self, status: u16, text: String) {
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = (status, text);
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn reply(mut stream: TcpStream, status: u16, text: &str) -> io::Result<()> {
    let (mut head, mut chunk) = (Vec::new(), [0; 1_024]);
    while !head.windows(4).any(|it| it == b"\r\n\r\n") {
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        head.extend_from_slice(&chunk[..read]);
    }
    let length = text.len();
    let answer = format!(
        "HTTP/1.1 {status} Answer\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
