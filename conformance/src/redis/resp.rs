//! Redis's protocol, both versions, as far as reading along takes: whole values out of chunks of bytes, and their text for
//! people. Knows nothing of connections and of what commands mean.

use std::fmt::{self, Write as _};

/// The most that is gathered for one value; a connection that exceeds it is read along no further.
const VALUE_LIMIT_BYTES: usize = 1 << 20;
/// How deep values may be nested.
const DEPTH_LIMIT: usize = 16;
/// The longest word that is shown whole, in bytes.
const WORD_LIMIT: usize = 400;

/// One value: a command, an answer, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resp {
    /// A text that is not an error: simple or bulk, a number with a fraction, a truth value.
    Text(Vec<u8>),
    /// An error.
    Error(String),
    /// A whole number.
    Integer(i64),
    /// Nothing.
    Null,
    /// An array or a set; also a map, as keys and values by turns.
    List(Vec<Self>),
    /// Something that nobody asked for, such as a published message.
    Push(Vec<Self>),
}

/// Puts values together from what comes in.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    buffer: Vec<u8>,
    lost: bool,
}

/// What cannot be read on.
#[derive(Debug, PartialEq, Eq)]
struct Lost;

impl Decoder {
    /// The values that `bytes` completes. Once something was no RESP, there are none any more.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Resp> {
        let mut values = Vec::new();
        if self.lost {
            return values;
        }
        self.buffer.extend_from_slice(bytes);
        let mut rest = self.buffer.as_slice();
        loop {
            match value(rest, 0) {
                Ok(Some((value, after))) => {
                    values.push(value);
                    rest = after;
                }
                Ok(None) => break,
                Err(Lost) => {
                    self.lost = true;
                    break;
                }
            }
        }
        self.lost |= rest.len() > VALUE_LIMIT_BYTES;
        self.buffer = if self.lost { Vec::new() } else { rest.to_vec() };
        values
    }
}

type Parsed<'a> = Result<Option<(Resp, &'a [u8])>, Lost>;

/// The first value and what follows it; `None` where more has to come.
fn value(bytes: &[u8], depth: usize) -> Parsed<'_> {
    let Some((line, rest)) = line(bytes) else { return Ok(None) };
    let [kind, head @ ..] = line else { return Err(Lost) };
    match kind {
        b'+' | b',' | b'(' | b'#' => Ok(Some((Resp::Text(head.to_vec()), rest))),
        b'-' => Ok(Some((Resp::Error(String::from_utf8_lossy(head).into_owned()), rest))),
        b':' => Ok(Some((Resp::Integer(number(head)?), rest))),
        b'_' => Ok(Some((Resp::Null, rest))),
        b'$' | b'=' | b'!' => bulk(*kind, number(head)?, rest),
        b'*' | b'~' => list(number(head)?, rest, depth, Resp::List),
        b'%' => list(number(head)?.saturating_mul(2), rest, depth, Resp::List),
        b'>' => list(number(head)?, rest, depth, Resp::Push),
        _ => Err(Lost),
    }
}

fn line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&bytes[..end], &bytes[end + 2..]))
}

fn number(digits: &[u8]) -> Result<i64, Lost> {
    std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Lost)
}

fn bulk(kind: u8, length: i64, rest: &[u8]) -> Parsed<'_> {
    let Ok(length) = usize::try_from(length) else { return Ok(Some((Resp::Null, rest))) };
    if length > VALUE_LIMIT_BYTES {
        return Err(Lost);
    }
    let Some((text, rest)) = rest.split_at_checked(length) else { return Ok(None) };
    let Some((end, rest)) = rest.split_at_checked(2) else { return Ok(None) };
    match (end, kind) {
        (b"\r\n", b'!') => Ok(Some((Resp::Error(String::from_utf8_lossy(text).into_owned()), rest))),
        // A verbatim text begins with three letters and a colon.
        (b"\r\n", b'=') => Ok(Some((Resp::Text(text.get(4..).unwrap_or(text).to_vec()), rest))),
        (b"\r\n", _) => Ok(Some((Resp::Text(text.to_vec()), rest))),
        _ => Err(Lost),
    }
}

fn list(length: i64, mut rest: &[u8], depth: usize, make: fn(Vec<Resp>) -> Resp) -> Parsed<'_> {
    let Ok(length) = usize::try_from(length) else { return Ok(Some((Resp::Null, rest))) };
    if depth >= DEPTH_LIMIT || length > VALUE_LIMIT_BYTES {
        return Err(Lost);
    }
    let mut items = Vec::new();
    for _ in 0..length {
        let Some((item, after)) = value(rest, depth + 1)? else { return Ok(None) };
        items.push(item);
        rest = after;
    }
    Ok(Some((make(items), rest)))
}

impl Resp {
    /// A command as one would type it.
    pub(super) fn as_command(&self) -> String {
        match self {
            Self::List(words) => words.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Resp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(&word(text)),
            Self::Error(text) => write!(f, "error: {text}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Null => f.write_str("nil"),
            Self::List(items) | Self::Push(items) => {
                f.write_char('[')?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { ", " })?;
                }
                f.write_char(']')
            }
        }
    }
}

/// Bytes as text where they are text; quoted where they would be taken for several words.
fn word(bytes: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(bytes) else { return format!("({} binary bytes)", bytes.len()) };
    let text = crate::text::shorten(text, WORD_LIMIT);
    if text.is_empty() || text.contains([' ', '\n', '\r', '\t']) && !text.starts_with(['{', '[']) {
        return format!("{text:?}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Resp {
        Resp::Text(text.into())
    }

    #[test]
    fn values_are_read_wherever_the_chunks_are_cut() {
        let bytes = b"*2\r\n$3\r\nGET\r\n$5\r\na\r\nb \r\n+OK\r\n:-7\r\n$-1\r\n_\r\n%1\r\n+k\r\n#t\r\n-ERR no\r\n=6\r\ntxt:ok\r\n>1\r\n+m\r\n";
        let expected = vec![
            Resp::List(vec![text("GET"), text("a\r\nb ")]),
            text("OK"),
            Resp::Integer(-7),
            Resp::Null,
            Resp::Null,
            Resp::List(vec![text("k"), text("t")]),
            Resp::Error("ERR no".into()),
            text("ok"),
            Resp::Push(vec![text("m")]),
        ];
        for size in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let values: Vec<_> = bytes.chunks(size).flat_map(|chunk| decoder.feed(chunk)).collect();
            assert_eq!(values, expected, "in chunks of {size}");
        }
    }

    #[test]
    fn what_is_no_resp_is_given_up_for_good() {
        for bytes in [&b"PING\r\n"[..], b"$x\r\n", b"\r\n", b"$1\r\nabc\r\n", b"*99999999\r\n"] {
            let mut decoder = Decoder::default();
            assert!(decoder.feed(bytes).is_empty());
            assert!(decoder.feed(b"+OK\r\n").is_empty(), "{bytes:?}");
        }
        let deep = "*1\r\n".repeat(DEPTH_LIMIT + 2);
        let mut decoder = Decoder::default();
        decoder.feed(deep.as_bytes());
        assert!(decoder.lost);
    }

    #[test]
    fn a_command_reads_as_one_would_type_it() {
        let command = Resp::List(vec![text("XADD"), text("q"), text(""), text("a b"), text("{\"a\": 1}")]);
        assert_eq!(command.as_command(), "XADD q \"\" \"a b\" {\"a\": 1}");
        assert_eq!(Resp::List(vec![Resp::Null, Resp::Text(vec![0xff])]).to_string(), "[nil, (1 binary bytes)]");
    }
}
