//! From where a request comes: from its connection, or, if that is a trusted proxy's, from where the proxy says.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::request::Parts;
use quics_quic::Peer;

use crate::desk::Visitor;

/// Addresses with the same first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn holds(&self, address: IpAddr) -> bool {
        let whole = |address: IpAddr| match address.to_canonical() {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
            IpAddr::V6(v6) => (u128::from(v6), 128),
        };
        let ((own, length), (other, kind)) = (whole(self.address), whole(address));
        // A shift by all bits is none that the processor knows.
        let shift = 128 - u32::from(self.bits);
        length == kind && (self.bits == 0 || own >> shift == other >> shift)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.bits)
    }
}

impl FromStr for Network {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const NONE: &str = "this is no address, and no network like 10.0.0.0/8";
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address: IpAddr = address.parse().map_err(|_| NONE)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| NONE)?;
        if bits > most { Err(NONE) } else { Ok(Network { address, bits }) }
    }
}

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
        while trusted(address)
            && let Some(before) = said.pop().and_then(|text| text.parse::<IpAddr>().ok())
        {
            address = before.to_canonical();
        }
        Some(Visitor { address })
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

    #[test]
    fn networks_are_read_and_hold_what_is_in_them() {
        for wrong in ["", "a", "1.2.3.4/33", "::/129", "1.2.3.4/x"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.holds("1.2.3.4".parse().unwrap()) && !all.holds("::1".parse().unwrap()));
    }
}
