//! What a line of a transcript means: the layer that it belongs to, what it is there, and what it carries. Reads what clients
//! wrote, also where a line was cut, and never fails: what it cannot read, it shows as it is.

use serde_json::Value;

use crate::{client::EnginePacket, transcript::Line};

/// Separates packets in the body of a polling request.
const RECORD_SEPARATOR: char = '\u{1e}';

/// A line, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// `HTTP`, `WebSocket`, `Engine.IO`, `Socket.IO`, `Redis`, `server log` or `note`.
    pub layer: &'static str,
    /// Such as `POST /events`, `EVENT queued.events` or `XADD`.
    pub what: String,
    /// The rest.
    pub body: String,
}

/// Decodes a line.
pub fn decode(line: &Line) -> Decoded {
    let text = line.text.as_str();
    match (line.channel, line.direction) {
        (_, "·") if line.channel != "note" => decoded("note", "", text),
        ("http", "→") => {
            let (method, rest) = split(text);
            let (path, body) = split(rest);
            decoded("HTTP", &format!("{method} {path}"), body)
        }
        ("http", _) => {
            let (status, body) = split(text.strip_prefix("HTTP ").unwrap_or(text));
            decoded("HTTP", status, body)
        }
        ("ws", _) => match text.strip_prefix("GET ") {
            Some(url) => decoded("WebSocket", "open", url),
            None if text == "close frame" => decoded("WebSocket", text, ""),
            None if text.ends_with(" binary bytes") => decoded("WebSocket", "binary", text),
            None => engine_io(text),
        },
        ("poll", _) => polling(text),
        ("lib", direction) => library(text, direction == "→"),
        ("redis", "←") => {
            let (command, rest) = split(text);
            decoded("Redis", command, rest)
        }
        ("redis", _) => decoded("Redis", "", text),
        ("proc", _) => decoded("server log", "", text),
        ("hook", _) => decoded("command", "", text),
        _ => decoded("note", "", text),
    }
}

fn decoded(layer: &'static str, what: &str, body: &str) -> Decoded {
    Decoded { layer, what: what.to_owned(), body: body.trim().to_owned() }
}

fn split(text: &str) -> (&str, &str) {
    text.split_once(' ').unwrap_or((text, ""))
}

fn engine_io(text: &str) -> Decoded {
    match EnginePacket::decode(text) {
        EnginePacket::Open(json) => decoded("Engine.IO", "open", &json),
        EnginePacket::Close => decoded("Engine.IO", "close", ""),
        EnginePacket::Ping(data) => decoded("Engine.IO", "ping", &data),
        EnginePacket::Pong(data) => decoded("Engine.IO", "pong", &data),
        EnginePacket::Message(packet) => socket_io(&packet),
        EnginePacket::Upgrade => decoded("Engine.IO", "upgrade", ""),
        EnginePacket::Noop => decoded("Engine.IO", "noop", ""),
        EnginePacket::Binary(data) => decoded("Engine.IO", "binary", &data),
        EnginePacket::Unknown(text) => decoded("Engine.IO", "unknown packet", &text),
    }
}

/// A packet may be malformed on purpose, or cut: its head is read by itself.
fn socket_io(packet: &str) -> Decoded {
    let mut chars = packet.chars();
    let kind = match chars.next() {
        Some('0') => "CONNECT",
        Some('1') => "DISCONNECT",
        Some('2') => "EVENT",
        Some('3') => "ACK",
        Some('4') => "CONNECT_ERROR",
        Some('5') => "BINARY_EVENT",
        Some('6') => "BINARY_ACK",
        _ => return decoded("Socket.IO", "unknown packet", packet),
    };
    let rest = chars.as_str();
    let (namespace, rest) =
        if rest.starts_with('/') { rest.split_once(',').unwrap_or((rest, "")) } else { ("/", rest) };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (id, data) = rest.split_at(digits);
    let id = if id.is_empty() { String::new() } else { format!(" #{id}") };
    match (kind, event(data)) {
        ("EVENT" | "BINARY_EVENT", Some((name, args))) => decoded("Socket.IO", &format!("{kind} {name}{id}"), &args),
        ("EVENT" | "BINARY_EVENT" | "ACK" | "BINARY_ACK", _) => decoded("Socket.IO", &format!("{kind}{id}"), data),
        _ => decoded("Socket.IO", &format!("{kind} {namespace}{id}"), data),
    }
}

/// The name and the arguments of `["name",…]`; one argument stands for itself.
fn event(data: &str) -> Option<(String, String)> {
    if let Ok(Value::Array(items)) = serde_json::from_str(data) {
        let (name, args) = items.split_first()?;
        let args = match args {
            [] => String::new(),
            [one] => one.to_string(),
            several => Value::from(several.to_vec()).to_string(),
        };
        return Some((name.as_str()?.to_owned(), args));
    }
    let (name, args) = data.strip_prefix("[\"")?.split_once('"')?;
    Some((name.to_owned(), args.trim_start_matches(',').to_owned()))
}

/// `GET url`, `POST payload` or `status payload`.
fn polling(text: &str) -> Decoded {
    let (head, payload) = split(text);
    if head == "GET" || payload.is_empty() || payload == "ok" {
        return decoded("HTTP", head, payload);
    }
    let packets: Vec<_> = payload.split(RECORD_SEPARATOR).map(engine_io).collect();
    match packets.as_slice() {
        // An error's body is no packet.
        [one] if one.what == "unknown packet" => decoded("HTTP", head, payload),
        [one] => Decoded { what: format!("{head} {}", one.what), ..one.clone() },
        several => {
            let what: Vec<_> = several.iter().map(|packet| packet.what.as_str()).collect();
            let body: Vec<_> = several.iter().map(|packet| packet.body.as_str()).collect();
            decoded("Engine.IO", &format!("{head} {}", what.join(" + ")), &body.join("\n"))
        }
    }
}

/// By the words of `client/library.rs`.
fn library(text: &str, sent: bool) -> Decoded {
    let (head, rest) = split(text);
    match head {
        "connect" if sent => decoded("Socket.IO", "CONNECT", rest),
        "disconnect" if sent => decoded("Socket.IO", "DISCONNECT", rest),
        "acknowledgement" => decoded("Socket.IO", "ACK", rest),
        _ if text == "Accepted" => decoded("Socket.IO", "CONNECT", "accepted"),
        _ if text.starts_with("Refused(") => decoded("Socket.IO", "CONNECT_ERROR", text),
        _ if text.starts_with("Closed(") => decoded("WebSocket", "closed", text),
        _ => decoded("Socket.IO", &format!("EVENT {head}"), rest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(channel: &'static str, direction: &'static str, text: &str) -> (&'static str, String, String) {
        let decoded = decode(&Line { at_us: 0, channel, direction, text: text.to_owned() });
        (decoded.layer, decoded.what, decoded.body)
    }

    #[test]
    fn every_layer_is_read() {
        for (channel, direction, text, layer, what, body) in [
            ("http", "→", "POST /events {\"a\": 1}", "HTTP", "POST /events", "{\"a\": 1}"),
            ("http", "←", "HTTP 204 ", "HTTP", "204", ""),
            ("ws", "→", "GET ws://h/socket.io/?EIO=4", "WebSocket", "open", "ws://h/socket.io/?EIO=4"),
            ("ws", "←", "0{\"sid\":\"x\"}", "Engine.IO", "open", "{\"sid\":\"x\"}"),
            ("ws", "←", "2", "Engine.IO", "ping", ""),
            ("ws", "→", "3probe", "Engine.IO", "pong", "probe"),
            (
                "ws",
                "→",
                "40/notifications,{\"token\":\"[token]\"}",
                "Socket.IO",
                "CONNECT /notifications",
                "{\"token\":\"[token]\"}",
            ),
            (
                "ws",
                "←",
                "44/notifications,{\"message\":\"no\"}",
                "Socket.IO",
                "CONNECT_ERROR /notifications",
                "{\"message\":\"no\"}",
            ),
            (
                "ws",
                "←",
                "42/notifications,[\"queued.events\",[{\"a\":1}]]",
                "Socket.IO",
                "EVENT queued.events",
                "[{\"a\":1}]",
            ),
            (
                "ws",
                "←",
                "42/notifications,[\"queued.events\",[{\"a\"… (9 more bytes)",
                "Socket.IO",
                "EVENT queued.events",
                "[{\"a\"… (9 more bytes)",
            ),
            ("ws", "→", "42/notifications,7[\"ping\"]", "Socket.IO", "EVENT ping #7", ""),
            ("ws", "←", "43/notifications,7[\"pong\"]", "Socket.IO", "ACK #7", "[\"pong\"]"),
            ("ws", "→", "42[nope", "Socket.IO", "EVENT", "[nope"),
            ("ws", "→", "49", "Socket.IO", "unknown packet", "9"),
            ("ws", "→", "x", "Engine.IO", "unknown packet", "x"),
            ("ws", "→", "close frame", "WebSocket", "close frame", ""),
            ("poll", "→", "POST 3", "Engine.IO", "POST pong", ""),
            ("poll", "←", "200 ok", "HTTP", "200", "ok"),
            ("poll", "←", "400 {\"code\":\"1\"}", "HTTP", "400", "{\"code\":\"1\"}"),
            ("poll", "←", "200 2\u{1e}6", "Engine.IO", "200 ping + noop", ""),
            ("lib", "→", "connect http://h auth null", "Socket.IO", "CONNECT", "http://h auth null"),
            ("lib", "←", "record.accessed [{\"a\":1}]", "Socket.IO", "EVENT record.accessed", "[{\"a\":1}]"),
            ("lib", "←", "disconnect [1]", "Socket.IO", "EVENT disconnect", "[1]"),
            ("redis", "←", "XADD q * a b", "Redis", "XADD", "q * a b"),
            ("redis", "→", "nil", "Redis", "", "nil"),
            ("redis", "·", "q: damaged", "note", "", "q: damaged"),
            ("proc", "←", "INFO up", "server log", "", "INFO up"),
            ("note", "·", "ws: closed", "note", "", "ws: closed"),
        ] {
            assert_eq!(of(channel, direction, text), (layer, what.to_owned(), body.to_owned()), "{text}");
        }
    }

    #[test]
    fn no_text_is_too_strange() {
        for text in ["", " ", "4", "42", "42[", "42[\"", "42/", "43,", "45-", "\u{1e}", "ä", "4ä"] {
            for channel in ["http", "ws", "poll", "lib", "redis", "proc", "note", "?"] {
                for direction in ["→", "←", "·"] {
                    of(channel, direction, text);
                }
            }
        }
    }
}
