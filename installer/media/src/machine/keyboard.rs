//! Typing on the serial line of a machine.
//!
//! What always holds: the line stays connected until the handle is dropped, and what the machine writes to it is read. QEMU
//! drops what it has not passed on yet when the other end of the socket goes, and the machine's serial port takes sixteen
//! bytes at a time: who connected for one line only lost the end of it. And who does not read fills the socket, after which
//! nothing of the console would reach its log.

use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};

/// A connected serial line.
#[derive(Debug)]
pub(super) struct Keyboard {
    stream: UnixStream,
    reader: Option<JoinHandle<()>>,
}

impl Keyboard {
    pub fn plug_in(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("the serial line is not there")?;
        let mut shown = stream.try_clone().context("the serial line cannot be read")?;
        let reader = thread::Builder::new()
            .name("serial".into())
            .spawn(move || {
                // The log has all of it. The end of the machine is the end of this.
                let _ended = io::copy(&mut shown, &mut io::sink());
            })
            .context("cannot start a thread")?;
        Ok(Self { stream, reader: Some(reader) })
    }

    /// A line, and Enter.
    pub fn types(&mut self, line: &str) -> Result<()> {
        self.stream.write_all(format!("{line}\r").as_bytes()).context("the serial line is gone")
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // One that the machine has closed already is what is wanted.
        let _closed = self.stream.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            // A panic in it has been printed.
            let _ended = reader.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_line_arrives_whole_though_the_machine_writes_more_than_a_socket_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serial");
        let listener = UnixListener::bind(&path).unwrap();
        let machine = thread::spawn(move || {
            let (mut line, _) = listener.accept().unwrap();
            line.write_all(&vec![b'x'; 4 << 20]).unwrap();
            let mut typed = [0; 6];
            line.read_exact(&mut typed).unwrap();
            typed
        });
        let mut keyboard = Keyboard::plug_in(&path).unwrap();
        keyboard.types("hello").unwrap();
        assert_eq!(&machine.join().unwrap(), b"hello\r");
    }
}
