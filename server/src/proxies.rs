//! Which proxies are believed, and what they say: from which address a request came, and which host it asked for. Knows nothing of
//! limits and origins.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, header};
use ipnet::IpNet;

/// The addresses of `TRUSTED_PROXIES`; none unless told otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads a comma-separated list of addresses and ranges.
    ///
    /// # Errors
    /// Where an entry is neither; says which.
    pub fn parse(list: &str) -> Result<Self, String> {
        let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let networks = entries.map(|entry| {
            let address = entry.parse::<IpAddr>().map(|address| address.to_canonical().into());
            address.or_else(|_| entry.parse()).map_err(|_| {
                format!(
                    "has an entry that is neither an address nor a range (10.0.0.7, 10.0.0.0/8, fd00::/8): {entry:?}"
                )
            })
        });
        networks.collect::<Result<_, _>>().map(Self)
    }

    /// The address that a request came from: the peer's or, where that is a trusted proxy's, the one that it tells, and so on. What
    /// is said further on was said by somebody who is not trusted.
    #[must_use]
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        for told in forwarded(headers, "x-forwarded-for", "for").into_iter().rev() {
            let Some(before) = self.trust(client).then(|| address(told)).flatten() else { break };
            client = before;
        }
        client
    }

    /// The host, and the port if there is one, that a request asked for: that of `Host` or, where the peer is a trusted proxy that
    /// tells another, that one. `None` where it is not told, or told twice.
    #[must_use]
    pub fn host<'a>(&self, peer: Option<IpAddr>, headers: &'a HeaderMap) -> Option<&'a str> {
        let told = peer.filter(|peer| self.trust(peer.to_canonical()));
        // The first proxy was asked by the client; the next ones by a proxy.
        if let Some(host) = told.and_then(|_| forwarded(headers, "x-forwarded-host", "host").first().copied()) {
            return Some(host);
        }
        let mut hosts = headers.get_all(header::HOST).iter();
        hosts.next().filter(|_| hosts.next().is_none())?.to_str().ok()
    }

    pub(crate) fn trust(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// What the proxies have told, the first one first: in a header of its own, and only where there is none, in `Forwarded` (RFC
/// 7239). Which of the two a proxy writes cannot be seen, and nearly all write the former.
///
/// Split without regard to quotes: no address and no host has a comma in it, and a quote that a client has opened may not swallow
/// what a proxy adds.
fn forwarded<'a>(headers: &'a HeaderMap, name: &str, parameter: &str) -> Vec<&'a str> {
    let items = |name| headers.get_all(name).iter().filter_map(|it| it.to_str().ok()).flat_map(|it| it.split(','));
    if headers.contains_key(name) {
        return items(name).map(str::trim).collect();
    }
    let parameters = items("forwarded").filter_map(|element| {
        let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(key, _)| key.trim().eq_ignore_ascii_case(parameter))
            .map(|(_, value)| value.trim().trim_matches('"'))
    });
    parameters.collect()
}

/// An address with or without a port; an IPv6 address may have brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = || text.trim_start_matches('[').trim_end_matches(']').parse().ok();
    let address = text.parse::<SocketAddr>().ok().map(|it| it.ip()).or_else(bare);
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(all: &[(&str, &str)]) -> HeaderMap {
        let all = all.iter();
        all.map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn client(peer: &str, said: &[(&str, &str)]) -> String {
        let proxies = TrustedProxies::parse("10.0.0.0/8, 192.0.2.1, fd00::/8,").unwrap();
        proxies.client(peer.parse().unwrap(), &headers(said)).to_string()
    }

    #[test]
    fn nobody_is_believed_unless_trusted() {
        let said = headers(&[("host", "a.test"), ("x-forwarded-for", "9.9.9.9"), ("x-forwarded-host", "b.test")]);
        let (nobody, peer) = (TrustedProxies::default(), "127.0.0.1".parse().unwrap());
        assert_eq!(nobody.client(peer, &said), peer);
        assert_eq!(nobody.host(Some(peer), &said), Some("a.test"));
        let proxies = TrustedProxies::parse("127.0.0.0/8").unwrap();
        assert_eq!(proxies.client(peer, &said).to_string(), "9.9.9.9");
        assert_eq!(proxies.host(Some(peer), &said), Some("b.test"));
        assert_eq!(proxies.host(None, &said), Some("a.test"));
        assert_eq!(proxies.host(Some(peer), &headers(&[("host", "a.test"), ("host", "b.test")])), None);
    }

    #[test]
    fn the_client_is_the_last_who_is_not_a_trusted_proxy() {
        for (peer, told, expected) in [
            ("10.0.0.1", "9.9.9.9", "9.9.9.9"),
            ("::ffff:10.0.0.1", "9.9.9.9", "9.9.9.9"),
            ("10.0.0.1", "6.6.6.6, 9.9.9.9, 192.0.2.1", "9.9.9.9"),
            ("10.0.0.1", "9.9.9.9:4711", "9.9.9.9"),
            ("fd00::1", "[2001:db8::1]:4711, 10.2.3.4", "2001:db8::1"),
            ("fd00::1", "2001:db8::1", "2001:db8::1"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "9.9.9.9, unknown", "10.0.0.1"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("8.8.8.8", "9.9.9.9", "8.8.8.8"),
        ] {
            assert_eq!(client(peer, &[("x-forwarded-for", told)]), expected, "{peer} {told}");
        }
        let lines = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "9.9.9.9, 10.0.0.2")];
        assert_eq!(client("10.0.0.1", &lines), "9.9.9.9");
    }

    #[test]
    fn forwarded_is_read_where_nothing_else_is_said() {
        let said = r#"for="_hidden", For="[2001:db8::1]:4711";proto=https;host=a.test:8443, for=10.0.0.2"#;
        assert_eq!(client("10.0.0.1", &[("forwarded", said)]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &[("forwarded", said), ("x-forwarded-for", "9.9.9.9")]), "9.9.9.9");
        assert_eq!(client("10.0.0.1", &[("forwarded", r#"for="x, for=9.9.9.9"#)]), "9.9.9.9");
        let proxies = TrustedProxies::parse("10.0.0.1").unwrap();
        let peer = Some("10.0.0.1".parse().unwrap());
        assert_eq!(proxies.host(peer, &headers(&[("forwarded", said)])), Some("a.test:8443"));
    }

    #[test]
    fn an_entry_that_is_no_address_is_named() {
        for wrong in ["localhost", "10.0.0.0/33", "10.0.0", "10.0.0.1:80", "*", "10.0.0.1;10.0.0.2"] {
            assert!(TrustedProxies::parse(&format!("10.0.0.1, {wrong}")).unwrap_err().contains(wrong), "{wrong}");
        }
    }
}
