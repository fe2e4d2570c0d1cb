//! The LAN between lab hosts: a switch of our own, in this process.
//!
//! Each host's second card sends Ethernet frames as datagrams to the switch's Unix socket, and the switch
//! hands every frame to every other host. It knows no addresses: a lab has two or three hosts.
//!
//! Chosen over QEMU's `stream` sockets, where one host must be up before the other and a power cut of one
//! ends the link for good, and over multicast, which many containers do not have.
//!
//! What always holds: a frame is delivered whole or lost, as on a real LAN; a host that is off loses its
//! frames and nobody waits. The thread ends with the [`Switch`].

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Doing, LabError};
use crate::qemu::LanPort;

/// A jumbo frame and virtio's largest segment fit.
const MAX_FRAME: usize = 68 * 1024;
/// How soon the thread sees that it should end.
const LOOK_UP: Duration = Duration::from_millis(200);
/// One host that does not read holds the others up no longer than this for a frame.
const SLOW_READER: Duration = Duration::from_millis(1);

/// A LAN with a fixed number of ports.
#[derive(Debug)]
pub struct Switch {
    dir: tempfile::TempDir,
    ports: usize,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    /// A switch with ports 1 to `ports`.
    pub fn start(ports: usize) -> Result<Self, LabError> {
        let dir = tempfile::Builder::new()
            .prefix("xenith-lan-")
            .tempdir()
            .doing(|| "no temporary folder".into())?;
        let socket =
            UnixDatagram::bind(dir.path().join("switch")).doing(|| "no socket for the LAN".into())?;
        socket.set_read_timeout(Some(LOOK_UP)).doing(|| "no time limit for the LAN".into())?;
        socket.set_write_timeout(Some(SLOW_READER)).doing(|| "no time limit for the LAN".into())?;
        let ending = Arc::new(AtomicBool::new(false));
        let addresses: Vec<_> = (1..=ports).map(|port| port_path(dir.path(), port)).collect();
        let stop = Arc::clone(&ending);
        let thread = std::thread::Builder::new()
            .name("lab-switch".into())
            .spawn(move || forward(&socket, &addresses, &stop))
            .doing(|| "no thread for the LAN".into())?;
        Ok(Self { dir, ports, ending, thread: Some(thread) })
    }

    /// Port `number`, counted from 1, for one host.
    ///
    /// # Panics
    /// If there is no such port.
    #[must_use]
    pub fn port(&self, number: usize) -> LanPort {
        assert!((1..=self.ports).contains(&number), "the switch has ports 1 to {}", self.ports);
        LanPort { local: port_path(self.dir.path(), number), remote: self.dir.path().join("switch") }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed, and there is nobody to hand it to.
            let _ = thread.join();
        }
    }
}

fn port_path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("port{number}"))
}

fn forward(socket: &UnixDatagram, ports: &[PathBuf], ending: &AtomicBool) {
    let mut frame = vec![0; MAX_FRAME];
    while !ending.load(Ordering::Relaxed) {
        match socket.recv_from(&mut frame) {
            Ok((length, from)) => {
                let from = from.as_pathname();
                for port in ports.iter().filter(|port| Some(port.as_path()) != from) {
                    // A host that is off or slow loses the frame.
                    let _ = socket.send_to(&frame[..length], port);
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plug_in(port: &LanPort) -> UnixDatagram {
        let _ = std::fs::remove_file(&port.local);
        let card = UnixDatagram::bind(&port.local).unwrap();
        card.connect(&port.remote).unwrap();
        card.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        card
    }

    #[test]
    fn a_frame_reaches_all_others_and_not_its_sender() {
        let switch = Switch::start(3).unwrap();
        let cards: Vec<_> = (1..=3).map(|n| plug_in(&switch.port(n))).collect();
        cards[0].send(b"from 1").unwrap();
        cards[1].send(b"from 2").unwrap();
        let mut frame = [0; 100];
        for (card, expected) in [(0, "from 2"), (1, "from 1"), (2, "from 1"), (2, "from 2")] {
            let length = cards[card].recv(&mut frame).unwrap();
            assert_eq!(&frame[..length], expected.as_bytes(), "card {}", card + 1);
        }
    }

    #[test]
    fn a_host_that_is_off_holds_nobody_up_and_comes_back() {
        let switch = Switch::start(3).unwrap();
        let (one, two) = (plug_in(&switch.port(1)), plug_in(&switch.port(2)));
        let mut frame = [0; 100];
        one.send(b"a").unwrap();
        assert_eq!(two.recv(&mut frame).unwrap(), 1);
        drop(two);
        one.send(b"lost").unwrap();
        let (two, three) = (plug_in(&switch.port(2)), plug_in(&switch.port(3)));
        // Delivered in order: once three has heard this, "lost" is behind us.
        one.send(b"back").unwrap();
        assert!(three.recv(&mut frame).is_ok());
        assert!(two.recv(&mut frame).is_ok());
    }
}
