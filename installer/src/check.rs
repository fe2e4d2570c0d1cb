//! Whether the orchestrator of a join token is there, before anything is written. The token is not spent.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use xenith_common_pki::{Fingerprint, Peer, pinned_client_config};
use xenith_hypervisor_agent_api::JoinToken;

const PATIENCE: Duration = Duration::from_secs(10);
/// A fixed address is there at once, but a switch with spanning tree forwards nothing for 30 s after the link came up; and an
/// address of IPv6 comes before that of DHCP.
pub const NETWORK_SETTLES: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    #[error("the token's fingerprint is none; copy the token again from `xenith host add`")]
    Token,
    #[error("{address} has no address ({detail}); is the name right, and does DNS work?")]
    Name { address: String, detail: String },
    #[error("nobody answers at {address} ({detail}); is the orchestrator running, and the network right?")]
    Unreachable { address: String, detail: String },
    #[error(
        "{address} is not the orchestrator that the token names ({detail}); is the token of this orchestrator, and the \
         clock of this machine right?"
    )]
    Other { address: String, detail: String },
}

/// Connects, and compares the authority with the token's. Where nobody is found it is tried again, for as long as `patience`.
pub fn orchestrator(token: &JoinToken, patience: Duration) -> Result<(), CheckError> {
    let deadline = Instant::now() + patience;
    loop {
        match once(token) {
            Err(CheckError::Name { .. } | CheckError::Unreachable { .. }) if Instant::now() < deadline => {
                thread::sleep(AGAIN);
            }
            done => return done,
        }
    }
}

fn once(token: &JoinToken) -> Result<(), CheckError> {
    let address = token.address.clone();
    let pin: Fingerprint = token.fingerprint.parse().map_err(|_| CheckError::Token)?;
    let config = pinned_client_config(pin, &[b"h2"]).map_err(|_| CheckError::Token)?;
    let addresses = address
        .to_socket_addrs()
        .map_err(|error| CheckError::Name { address: address.clone(), detail: error.to_string() })?;
    let tcp = connect(addresses)
        .map_err(|error| CheckError::Unreachable { address: address.clone(), detail: error.to_string() })?;
    handshake(tcp, config).map_err(|error| CheckError::Other { address, detail: error.to_string() })
}

fn connect(addresses: impl Iterator<Item = std::net::SocketAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn handshake(tcp: TcpStream, config: rustls::ClientConfig) -> io::Result<()> {
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    let connection = ClientConnection::new(Arc::new(config), Peer::Orchestrator.server_name())
        .map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, tcp);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    stream.conn.send_close_notify();
    stream.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(address: String) -> JoinToken {
        format!("xenith-join:{address}/{}/s3cret", "a".repeat(64)).parse().unwrap()
    }

    #[test]
    fn who_cannot_be_reached_yet_is_tried_again() {
        xenith_common_pki::install_provider();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let answering = std::thread::spawn(move || {
            thread::sleep(Duration::from_millis(300));
            let (mut peer, _) = std::net::TcpListener::bind(free).unwrap().accept().unwrap();
            peer.write_all(b"SSH-2.0-none\r\n").unwrap();
        });
        let error = orchestrator(&token(free.to_string()), NETWORK_SETTLES).unwrap_err();
        assert!(matches!(error, CheckError::Other { .. }), "it was found: {error}");
        answering.join().unwrap();
    }

    #[test]
    fn nobody_and_somebody_else_are_told_apart() {
        xenith_common_pki::install_provider();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answering = std::thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            peer.write_all(b"SSH-2.0-none\r\n").unwrap();
        });
        let error = orchestrator(&token(address.clone()), Duration::ZERO).unwrap_err();
        assert!(matches!(error, CheckError::Other { .. }), "{error}");
        answering.join().unwrap();
        // The listener is closed now.
        let error = orchestrator(&token(address), Duration::ZERO).unwrap_err();
        assert!(matches!(error, CheckError::Unreachable { .. }), "{error}");
        let error = orchestrator(&token("no-such-host.invalid:1".into()), Duration::ZERO).unwrap_err();
        assert!(matches!(error, CheckError::Name { .. }), "{error}");
    }
}
