//! Judges a packet that a client sent. Pure: knows text and the state of a session.

use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{Violation, connection::Connection};
use crate::frame::NAMESPACE;

/// Judges an Engine.IO packet, and the Socket.IO packet in a message. Types that have their place somewhere are left to the library, which
/// closes the connection where this is not the place. Returns what the library is to read in its place, where that is something else.
pub(crate) fn judge(packet: &str, session: &Arc<Connection>) -> Result<Option<String>, Violation> {
    session.early.packet()?;
    match packet.as_bytes().first() {
        Some(b'4') => {
            let event = judge_message(&packet[1..], session)?;
            Ok(event.and_then(|data| with_plain_name(packet, data)))
        }
        // The client says goodbye.
        Some(b'1') => {
            session.end();
            Ok(None)
        }
        Some(b'b') => judge_attachment(session).map(|()| None),
        Some(b'2' | b'3' | b'5') => Ok(None),
        _ => Err(Violation::Malformed),
    }
}

/// Judges an attachment, whatever is in it.
pub(super) fn judge_attachment(session: &Connection) -> Result<(), Violation> {
    session.takes_attachment().then_some(()).ok_or(Violation::Malformed)
}

/// The packet of an event whose name has escapes, without them: the library reads the name as it stands. What cannot be written without
/// any is a name that nobody listens to (EVENT-14).
fn with_plain_name(packet: &str, data: &str) -> Option<String> {
    let name = name(data).filter(|name| name.contains('\\'))?;
    let begin = packet.len() - data.len() + data.find(name)?;
    let plain = serde_json::from_str::<String>(name)
        .ok()
        .filter(|plain| !plain.contains(['"', '\\']) && !plain.contains(char::is_control));
    Some(format!("{}\"{}\"{}", &packet[..begin], plain.unwrap_or_default(), &packet[begin + name.len()..]))
}

/// A Socket.IO packet: type, attachments, namespace, id and data.
struct Parts<'a> {
    kind: u8,
    attachments: u16,
    namespace: &'a str,
    id: &'a str,
    data: &'a str,
}

impl<'a> Parts<'a> {
    fn of(message: &'a str) -> Option<Self> {
        let kind = *message.as_bytes().first()?;
        // The type has to be ASCII before it may be cut off.
        let mut rest = kind.is_ascii().then(|| &message[1..])?;
        let mut attachments = 0;
        if matches!(kind, b'5' | b'6') {
            let (number, after) = rest.split_once('-')?;
            attachments = number.parse().ok()?;
            rest = after;
        }
        let mut namespace = "/";
        if rest.starts_with('/') {
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (id, data) = rest.split_at(digits);
        Some(Self { kind, attachments, namespace, id, data })
    }
}

/// The data of an event, where it is one.
fn judge_message<'a>(message: &'a str, session: &Arc<Connection>) -> Result<Option<&'a str>, Violation> {
    let parts = Parts::of(message).ok_or(Violation::Malformed)?;
    session.expects_attachments(parts.attachments);
    let ours = parts.namespace == NAMESPACE;
    // As large as the library takes.
    let id = parts.id.parse::<i64>().ok().and_then(|id| u64::try_from(id).ok());
    let well_formed = match parts.kind {
        b'0' => parts.id.is_empty() && is_connect_payload(parts.data),
        b'1' => parts.id.is_empty() && parts.data.is_empty(),
        b'2' | b'5' => name(parts.data).is_some(),
        b'3' | b'6' => id.is_some() && is_array(parts.data),
        _ => false,
    };
    if parts.kind == b'0' {
        session.early.connect()?;
    }
    match parts.kind {
        _ if !well_formed => Err(Violation::Malformed),
        b'0' if ours && !session.enter(parts.data) => Err(Violation::SecondConnect),
        // Another namespace: the library refuses it with a CONNECT_ERROR (TRANS-05).
        b'0' => Ok(None),
        // Not joined at all; where ours is not joined yet, the library closes the connection (TRANS-07).
        _ if !ours => Err(Violation::NotJoined),
        b'2' | b'5' if !session.may_send_event() => Err(Violation::TooFast),
        b'1' => {
            session.client_leaves();
            Ok(None)
        }
        b'3' | b'6' => {
            // Whatever its arguments (ACK-15). The library does not know the ids, and passes over them.
            session.acknowledged(id.unwrap_or_default());
            Ok(None)
        }
        _ => Ok(Some(parts.data)),
    }
}

fn is_connect_payload(data: &str) -> bool {
    let is_object_or_null = data.starts_with('{') || data == "null";
    data.is_empty() || (is_object_or_null && serde_json::from_str::<IgnoredAny>(data).is_ok())
}

fn is_array(data: &str) -> bool {
    serde_json::from_str::<Vec<IgnoredAny>>(data).is_ok()
}

/// The name of an event, as it is written: the first element of an array.
fn name(data: &str) -> Option<&str> {
    let elements: Vec<&RawValue> = serde_json::from_str(data).ok()?;
    elements.first().map(|name| name.get()).filter(|name| name.starts_with('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fate(packets: &[&str]) -> Result<(), Violation> {
        let session = Connection::for_tests();
        session.early.is_let_in();
        packets.iter().try_for_each(|packet| judge(packet, &session).map(drop))
    }

    /// What packets are made of.
    const PACKET: &[&str] = &[
        r#"["ping"]"#,
        r#"["\u0061\ud83d",{"_placeholder":true,"num":0}]"#,
        r#""\u0022","x""#,
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "b",
        "-",
        "/notifications",
        "/",
        ",",
        "[",
        "]",
        "{",
        "}",
        "\"ping\"",
        "\"pi\\u006eg\"",
        "\"a\\nb\"",
        "null",
        "\\ud83d",
        "\"",
        ":",
        "17",
        "99999999999999999999",
        "{\"_placeholder\":true,\"num\":0}",
        " ",
        "\u{e9}",
    ];

    #[tokio::test]
    async fn by_chance_what_passes_has_a_plain_name_and_passes_again() {
        bolero::check!().with_max_len(12).for_each(|bytes: &[u8]| {
            let said = crate::fragments::text(bytes, PACKET);
            for packet in [format!("42/notifications,[{said}]"), format!("4{said}"), said] {
                let session = Connection::for_tests();
                session.early.is_let_in();
                if let Ok(Some(plain)) = judge(&packet, &session) {
                    assert!(
                        !name(&plain[plain.find('[').expect("an array")..]).expect("a name").contains('\\'),
                        "{plain}"
                    );
                    assert_eq!(fate(&[&plain]), Ok(()), "{plain}");
                }
            }
        });
    }

    #[tokio::test]
    async fn what_a_decent_client_sends_passes() {
        let packets = [
            "2probe",
            "5",
            "3",
            r#"40/notifications,{"token":"a.b.c"}"#,
            r#"42/notifications,["ping"]"#,
            r#"42/notifications,17["ping",{"a":[1,2]}]"#,
            r#"43/notifications,3["ok"]"#,
            r#"451-/notifications,["upload",{"_placeholder":true,"num":0}]"#,
            "41/notifications,",
            "40/notifications,",
            "41/notifications",
            "40/notifications,null",
            "40",
            "40/other,{}",
            "1",
        ];
        assert_eq!(fate(&packets), Ok(()));
    }

    #[test]
    fn a_malformed_packet_is_a_violation() {
        let packets = [
            "4",
            "47",
            "49/notifications,",
            "4é",
            "44/notifications,{}",
            "40/notifications,{bad",
            "40/notifications,[]",
            "40/notifications,\"t\"",
            "40/notifications,1{}",
            "40/notifications,{}{}",
            "42/notifications,",
            "42/notifications,[]",
            "42/notifications,[1]",
            "42/notifications,{}",
            "42/notifications,[\"ping\"",
            "42/notifications,[\"ping\",{bad}]",
            "42/notifications,[\"ping\"]x",
            "43/notifications,[]",
            "43/notifications,1{}",
            "45/notifications,[\"x\"]",
            "45x-/notifications,[\"x\"]",
            "41/notifications,{}",
        ];
        for packet in packets {
            assert_eq!(fate(&[packet]), Err(Violation::Malformed), "{packet}");
        }
    }

    #[test]
    fn an_event_for_another_namespace_is_a_violation() {
        for packet in [r#"42["ping"]"#, r#"42/other,["ping"]"#, "41/other,", "43/other,1[]", "41"] {
            assert_eq!(fate(&["40/notifications,", packet]), Err(Violation::NotJoined), "{packet}");
        }
    }

    #[test]
    fn a_second_connect_is_a_violation() {
        let twice = ["40/notifications,", "40/notifications,{}"];
        assert_eq!(fate(&twice), Err(Violation::SecondConnect));
        assert_eq!(fate(&["40", "40", "40/notifications,"]), Ok(()));
    }

    #[tokio::test]
    async fn a_connect_may_follow_a_refusal_or_a_disconnect() {
        let session = Connection::for_tests();
        assert_eq!(judge("40/notifications,", &session), Ok(None));
        session.leave(session.membership());
        assert_eq!(judge("40/notifications,", &session), Ok(None));
        assert_eq!(judge("41/notifications,", &session), Ok(None));
        assert_eq!(judge("40/notifications,", &session), Ok(None));
    }

    #[test]
    fn a_name_is_written_without_escapes_or_is_nobodys() {
        let session = Connection::for_tests();
        session.early.is_let_in();
        let read = |packet: &str| judge(packet, &session).unwrap().unwrap_or_else(|| packet.to_owned());
        for (sent, read_as) in [
            (r#"42/notifications,7["pi\u006eg"]"#, r#"42/notifications,7["ping"]"#),
            (r#"42/notifications,[ "\u0070ing" , {"a":"\ud83d"}]"#, r#"42/notifications,[ "ping" , {"a":"\ud83d"}]"#),
            (r#"42/notifications,["caf\u00e9",1]"#, r#"42/notifications,["café",1]"#),
            (r#"42/notifications,["\ud83d\ude00"]"#, r#"42/notifications,["😀"]"#),
            (
                r#"451-/notifications,["caf\u00e9",{"_placeholder":true,"num":0}]"#,
                r#"451-/notifications,["café",{"_placeholder":true,"num":0}]"#,
            ),
            (r#"42/notifications,["a\"b"]"#, r#"42/notifications,[""]"#),
            (r#"42/notifications,["a\\b",2]"#, r#"42/notifications,["",2]"#),
            (r#"42/notifications,["a\nb"]"#, r#"42/notifications,[""]"#),
            (r#"42/notifications,["\ud83d",1]"#, r#"42/notifications,["",1]"#),
            (r#"42/notifications,["ping","\u0041"]"#, r#"42/notifications,["ping","\u0041"]"#),
            (r#"43/notifications,1["\u0041"]"#, r#"43/notifications,1["\u0041"]"#),
        ] {
            assert_eq!(read(sent), read_as);
        }
    }
}
