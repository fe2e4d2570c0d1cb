//! What the agent is held against: `cp`, and a file that goes over TLS into a file. Both end with what they wrote durable,
//! as the agent does.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use xenith_common_ids::HostId;
use xenith_common_pki::{
    Authority, KeyAndRequest, LiveIdentity, Peer, authority_client_config, web_server_config,
};

use crate::harness::certify;

const BLOCK: usize = 1 << 20;

/// An image without a zero block, each time the same.
pub fn fill(path: &Path, mib: u64, seed: u64) {
    let mut file = File::create(path).unwrap();
    let (mut state, mut block) = (seed, vec![0_u8; BLOCK]);
    for _ in 0..mib {
        for word in block.chunks_exact_mut(8) {
            // xorshift64: good enough for what must not look like zeros.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        file.write_all(&block).unwrap();
    }
    file.sync_all().unwrap();
}

pub fn same(one: &Path, other: &Path) -> bool {
    let (mut one, mut other) = (File::open(one).unwrap(), File::open(other).unwrap());
    let length = one.metadata().unwrap().len();
    if other.metadata().unwrap().len() != length {
        return false;
    }
    let (mut left, mut right) = (vec![0; BLOCK], vec![0; BLOCK]);
    (0..length / BLOCK as u64).all(|_| {
        one.read_exact(&mut left).unwrap();
        other.read_exact(&mut right).unwrap();
        left == right
    })
}

/// As a copy, not as a share of the same blocks, for an import writes them too.
pub fn cp(source: &Path, copy: &Path) {
    let kept = Command::new("cp").args(["--reflink=never", "--sparse=never"]).args([source, copy]).status();
    assert!(kept.unwrap().success(), "cp");
    File::open(copy).unwrap().sync_all().unwrap();
}

/// A web server with one file, until the bench ends. Returns the file's address.
pub fn serve(file: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/image", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The import fails by itself then, and says more.
            let _client_gone = answer(stream, &file);
        }
    });
    url
}

fn answer(mut stream: TcpStream, file: &Path) -> io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        head.push(byte[0]);
    }
    let mut file = File::open(file)?;
    let length = file.metadata()?.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    io::copy(&mut file, &mut stream).map(drop)
}

/// Both ends of a connection as agents make it.
pub struct Wire {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Wire {
    pub fn new() -> Self {
        let authority = Authority::generate().unwrap().0;
        let (peer, key) = (Peer::Host(HostId::new()), KeyAndRequest::generate().unwrap());
        let certificate = certify(&authority, &key, peer, Duration::from_secs(3600));
        let identity = LiveIdentity::new(&key.key_pem, &certificate).unwrap();
        Self {
            server: Arc::new(web_server_config(identity).unwrap()),
            client: Arc::new(authority_client_config(authority.certificate_pem(), &[]).unwrap()),
            name: peer.server_name(),
        }
    }

    /// One thread reads and encrypts, the other decrypts and writes.
    pub fn carry(&self, source: &Path, copy: &Path) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sending = || {
            let connection = ClientConnection::new(Arc::clone(&self.client), self.name.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, TcpStream::connect(address).unwrap());
            pour(&mut File::open(source).unwrap(), &mut stream);
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            // Closed only when all was read there: what this end never read would reset the connection.
            stream
        };
        std::thread::scope(|scope| {
            let sender = scope.spawn(sending);
            let connection = ServerConnection::new(Arc::clone(&self.server)).unwrap();
            let mut stream = StreamOwned::new(connection, listener.accept().unwrap().0);
            let mut file = File::create(copy).unwrap();
            pour(&mut stream, &mut file);
            file.sync_all().unwrap();
            drop(sender.join().unwrap());
        });
    }
}

fn pour(from: &mut impl Read, to: &mut impl Write) {
    let mut block = vec![0; BLOCK];
    loop {
        match from.read(&mut block).unwrap() {
            0 => return,
            length => to.write_all(&block[..length]).unwrap(),
        }
    }
}
