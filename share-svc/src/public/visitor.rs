//! From where a request comes: from its connection, or, if that is a trusted proxy's, from where the proxy says.

use std::net::IpAddr;

use http::request::Parts;
use quics_quic::{Network, Peer};

use crate::desk::Visitor;

/// Finds out from where requests come.
#[derive(Debug)]
pub(super) struct Visits {
    proxies: Vec<Network>,
}

impl Visits {
    pub(super) fn new(proxies: Vec<Network>) -> Self {
        Self { proxies }
    }

    /// From where a request comes; `None` if it came by no connection.
    pub(super) fn of(&self, request: &Parts) -> Option<Visitor> {
        let mut address = request.extensions.get::<Peer>()?.remote.ip().to_canonical();
        let trusted = |address: IpAddr| self.proxies.iter().any(|proxy| proxy.holds(address));
        // The last of the list was added by the proxy that is next to us, the one before by the one next to that.
        let said = request.headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let mut said: Vec<&str> = said.flat_map(|list| list.split(',')).map(str::trim).collect();
        // Only the proxy next to us can know how it was reached, and only what it added last is its own.
        let proto =
            request.headers.get_all("x-forwarded-proto").iter().next_back().and_then(|value| value.to_str().ok());
        let proto = proto.and_then(|list| list.rsplit(',').next()).map(str::trim);
        let over_tls = trusted(address) && proto.is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
        while trusted(address)
            && let Some(before) = said.pop().and_then(|text| text.parse::<IpAddr>().ok())
        {
            address = before.to_canonical();
        }
        Some(Visitor { address, over_tls })
    }
}

#[cfg(test)]
mod tests {
    use quics_quic::Transport;

    use super::*;

    fn of(from: &str, forwarded: &[&str]) -> String {
        let visits = Visits::new(vec!["127.0.0.1".parse().unwrap(), "10.0.0.0/8".parse().unwrap()]);
        let (mut request, ()) = http::Request::new(()).into_parts();
        request.extensions.insert(Peer::anonymous((from.parse::<IpAddr>().unwrap(), 1).into(), Transport::Tcp));
        for list in forwarded {
            request.headers.append("x-forwarded-for", list.parse().unwrap());
        }
        visits.of(&request).unwrap().address.to_string()
    }

    #[test]
    fn only_trusted_proxies_say_from_where_a_request_comes() {
        assert_eq!(of("192.0.2.1", &["198.51.100.1"]), "192.0.2.1", "a stranger may say what they like");
        assert_eq!(of("127.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(of("127.0.0.1", &["6.6.6.6, 198.51.100.1"]), "198.51.100.1", "what a stranger sent stands before");
        assert_eq!(of("127.0.0.1", &["198.51.100.1, 10.1.2.3"]), "198.51.100.1", "two proxies");
        assert_eq!(of("127.0.0.1", &["198.51.100.1", "10.1.2.3"]), "198.51.100.1", "in two lines");
        assert_eq!(of("127.0.0.1", &[]), "127.0.0.1");
        assert_eq!(of("127.0.0.1", &["nonsense"]), "127.0.0.1");
        assert_eq!(of("::ffff:127.0.0.1", &["2001:db8::1"]), "2001:db8::1");
    }
}
