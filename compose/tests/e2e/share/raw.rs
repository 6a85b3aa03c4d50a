//! Connections to the public side on which anything can be said, also what no client says.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// How long a server may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the server of a link is (plain HTTP on loopback), and the link's path.
pub(super) fn parts(link: &str) -> (SocketAddr, &str) {
    let rest = link.strip_prefix("http://").expect("plain HTTP");
    let slash = rest.find('/').expect("an address has a path");
    (rest[..slash].parse().expect("an address of a server"), &rest[slash..])
}

/// A connection.
pub(super) struct Raw {
    stream: BufReader<TcpStream>,
}

/// What came back on it.
pub(super) struct Said {
    pub(super) status: u16,
    /// Without the status line and the date.
    pub(super) headers: Vec<String>,
    pub(super) body: Vec<u8>,
}

impl Raw {
    pub(super) fn open(server: SocketAddr) -> Self {
        Self::over(TcpStream::connect(server).expect("the server accepts"))
    }

    /// Connects from one of the machine's own addresses.
    pub(super) fn from(address: IpAddr, server: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::new(address, 0).into())?;
        socket.connect_timeout(&server.into(), PATIENCE)?;
        Ok(Self::over(socket.into()))
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit for reading");
        stream.set_nodelay(true).expect("no delay");
        Self { stream: BufReader::new(stream) }
    }

    /// Sends bytes; whether the other side has gone is seen when its answer is read.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        // A server that refuses what was said so far need not hear the rest.
        let _ = self.stream.get_mut().write_all(bytes);
    }

    /// Asks for a path.
    pub(super) fn get(&mut self, path: &str, headers: &str) {
        self.say(format!("GET {path} HTTP/1.1\r\nHost: files\r\n{headers}\r\n").as_bytes());
    }

    /// Reads an answer with a length; `None` where the connection has ended instead.
    pub(super) fn answer(&mut self) -> Option<Said> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let (mut headers, mut length) = (Vec::new(), 0);
        loop {
            line.clear();
            self.stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
            let header = line.trim_end().to_ascii_lowercase();
            if header.is_empty() {
                break;
            }
            if let Some(text) = header.strip_prefix("content-length: ") {
                length = text.parse().ok()?;
            }
            if !header.starts_with("date: ") {
                headers.push(header);
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        Some(Said { status, headers, body })
    }

    /// Says that nothing more comes, and reads until the other side ends the connection; `None` if it does not.
    pub(super) fn rest(mut self) -> Option<Vec<u8>> {
        // It may have ended already.
        let _ = self.stream.get_mut().shutdown(std::net::Shutdown::Write);
        self.until_end()
    }

    /// Reads until the other side ends the connection; `None` if it does not.
    pub(super) fn until_end(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => Some(bytes),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => None,
            // A connection that is reset has ended too.
            Err(_) => Some(bytes),
        }
    }

    /// Reads some bytes of a body that is not awaited to its end.
    pub(super) fn some(&mut self) -> usize {
        let mut bytes = [0; 16 << 10];
        self.stream.read(&mut bytes).unwrap_or(0)
    }
}
