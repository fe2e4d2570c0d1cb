//! A trunk: a switch that carries one VLAN to a machine, tagged, and nothing else.
//!
//! ```text
//!  the network outside  --untagged--  [ access port | trunk port ]  --tagged--  both cards of the machine
//! ```
//!
//! What always holds: a frame without the tag, or with another one, reaches nobody in either direction. The thread ends
//! with the [`Trunk`].

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use xenith_installer_media::Wiring;
use xenith_lab::LanPort;

pub const VLAN: u16 = 10;
/// EtherType of a tagged frame (IEEE 802.1Q).
const TAGGED: [u8; 2] = [0x81, 0x00];
/// The tag comes after both addresses.
const ADDRESSES: usize = 12;
const TAG: usize = 4;
const MAX_FRAME: usize = 68 * 1024;
const LOOK_UP: Duration = Duration::from_millis(200);
const SLOW_READER: Duration = Duration::from_millis(1);

pub struct Trunk {
    dir: tempfile::TempDir,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Trunk {
    pub fn start() -> Result<Self> {
        // In the system's temporary folder: a Unix socket's path has 108 bytes at most.
        let dir = tempfile::Builder::new().prefix("xenith-trunk-").tempdir()?;
        let socket = UnixDatagram::bind(dir.path().join("switch"))?;
        socket.set_read_timeout(Some(LOOK_UP))?;
        socket.set_write_timeout(Some(SLOW_READER))?;
        let ends = Ends { outside: dir.path().join("outside"), cards: dir.path().join("cards") };
        let ending = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ending);
        let thread = std::thread::Builder::new()
            .name("trunk".into())
            .spawn(move || forward(&socket, &ends, &stop))
            .context("cannot start the trunk")?;
        Ok(Self { dir, ending, thread: Some(thread) })
    }

    pub fn wiring(&self) -> Wiring {
        let port = |name: &str| LanPort {
            local: self.dir.path().join(name),
            remote: self.dir.path().join("switch"),
        };
        Wiring::Trunk { outside: port("outside"), cards: port("cards") }
    }
}

impl Drop for Trunk {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _printed = thread.join();
        }
    }
}

struct Ends {
    outside: PathBuf,
    cards: PathBuf,
}

fn forward(socket: &UnixDatagram, ends: &Ends, ending: &AtomicBool) {
    let mut frame = vec![0; MAX_FRAME];
    while !ending.load(Ordering::Relaxed) {
        match socket.recv_from(&mut frame) {
            Ok((length, from)) => {
                let frame = &frame[..length];
                let passed = if from.as_pathname() == Some(ends.outside.as_path()) {
                    tagged(frame).map(|frame| (frame, &ends.cards))
                } else {
                    untagged(frame).map(|frame| (frame, &ends.outside))
                };
                if let Some((frame, to)) = passed {
                    // A machine that is off or slow loses the frame.
                    let _lost = socket.send_to(&frame, to);
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(_) => return,
        }
    }
}

fn tagged(frame: &[u8]) -> Option<Vec<u8>> {
    let (addresses, rest) = frame.split_at_checked(ADDRESSES)?;
    Some([addresses, &TAGGED, &VLAN.to_be_bytes(), rest].concat())
}

/// `None` for what is not of the VLAN.
fn untagged(frame: &[u8]) -> Option<Vec<u8>> {
    let (addresses, rest) = frame.split_at_checked(ADDRESSES)?;
    let (tag, rest) = rest.split_at_checked(TAG)?;
    // The upper four bits are priority and eligibility.
    let vlan = u16::from_be_bytes([tag[2], tag[3]]) & 0x0fff;
    (tag[..2] == TAGGED && vlan == VLAN).then(|| [addresses, rest].concat())
}

#[test]
fn only_the_vlan_passes() {
    let frame = [&[1; ADDRESSES][..], &[8, 0, 42, 43]].concat();
    let out = tagged(&frame).unwrap();
    assert_eq!(out[ADDRESSES..], [0x81, 0, 0, 10, 8, 0, 42, 43]);
    assert_eq!(untagged(&out).unwrap(), frame);
    assert_eq!(untagged(&frame), None, "without a tag");
    let mut other = out.clone();
    other[ADDRESSES + 3] = 11;
    assert_eq!(untagged(&other), None, "of another VLAN");
    let mut urgent = out;
    urgent[ADDRESSES + 2] = 0xe0;
    assert_eq!(untagged(&urgent).unwrap(), frame, "with a priority");
    assert_eq!((tagged(&[1; 5]), untagged(&[1; 13])), (None, None), "no frame");
}

#[test]
fn frames_cross_from_port_to_port() {
    let trunk = Trunk::start().unwrap();
    let Wiring::Trunk { outside, cards } = trunk.wiring() else { panic!("a trunk") };
    let plug_in = |port: &LanPort| {
        let socket = UnixDatagram::bind(&port.local).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        (socket, port.remote.clone())
    };
    let ((outside, switch), (cards, _)) = (plug_in(&outside), plug_in(&cards));
    let frame = [&[2; ADDRESSES][..], &[8, 6, 1]].concat();
    let mut buffer = [0; 64];
    outside.send_to(&frame, &switch).unwrap();
    let length = cards.recv(&mut buffer).unwrap();
    assert_eq!(buffer[..length], tagged(&frame).unwrap());
    cards.send_to(&frame, &switch).unwrap();
    cards.send_to(&tagged(&frame).unwrap(), &switch).unwrap();
    let length = outside.recv(&mut buffer).unwrap();
    assert_eq!(buffer[..length], frame, "the one without a tag was not passed");
}
