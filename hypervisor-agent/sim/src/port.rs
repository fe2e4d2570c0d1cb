//! A port for an agent that is told it before it listens.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Below those that the kernel hands out to whoever asks for any, to listeners and to each connection that is made: it begins
/// at 32768 (`ip_local_port_range`).
const FIRST: u16 = 20_000;
const PORTS: u16 = 12_000;
const THROWS: u32 = 500;

/// An address of loopback where nobody listens, and which nobody gets by chance. For the agent of a simulated host, whose
/// address others know before it starts, and while it is away.
///
/// # Panics
/// If all of some hundred ports are taken.
#[must_use]
pub fn unclaimed_address() -> SocketAddr {
    let dice = RandomState::new();
    (0..THROWS)
        .map(|throw| dice.hash_one(throw) % u64::from(PORTS))
        .map(|by_chance| FIRST + u16::try_from(by_chance).expect("it is less than there are ports"))
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .expect("some port of loopback is free")
}
