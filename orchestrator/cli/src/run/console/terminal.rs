//! This terminal, in raw mode for as long as a console has it.

use std::io::{self, IsTerminal, Read, Write};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use terminal_size::{Height, Width, terminal_size};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use xenith_hypervisor_agent_types::TerminalSize;

use super::sized;

/// Ctrl-], as telnet and virsh have it.
const ESCAPE: u8 = 0x1d;

pub enum Event {
    Typed(Vec<u8>),
    Resized(TerminalSize),
    Leave,
    /// Nothing more will be typed.
    End,
}

pub struct Terminal {
    typed: mpsc::Receiver<Vec<u8>>,
    resized: Signal,
    /// What it was before.
    before: Option<Termios>,
}

/// The size of the terminal that output goes to.
pub fn size() -> Option<TerminalSize> {
    let (Width(columns), Height(rows)) = terminal_size()?;
    sized(columns, rows)
}

impl Terminal {
    pub fn take() -> io::Result<Self> {
        let (sender, typed) = mpsc::channel(16);
        // A thread of our own: one of tokio's that waits for input would hold up the end of the program.
        std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = io::stdin().lock().read(&mut buffer) {
                if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { typed, resized: signal(SignalKind::window_change())?, before: None })
    }

    pub fn is_for_people(&self) -> bool {
        io::stdin().is_terminal()
    }

    /// Every key goes to the console, Ctrl-C too. Nothing to do where input is no terminal.
    pub fn raw(&mut self) -> io::Result<()> {
        if !self.is_for_people() {
            return Ok(());
        }
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        self.before = Some(before);
        Ok(())
    }

    pub fn restore(&mut self) {
        if let Some(before) = self.before.take() {
            // A terminal that is gone needs no settings.
            let _gone = tcsetattr(io::stdin(), OptionalActions::Now, &before);
        }
    }

    pub fn write(&mut self, data: &[u8]) -> io::Result<()> {
        let mut to = io::stdout().lock();
        to.write_all(data)?;
        to.flush()
    }

    /// To the user, not to a script that reads the output.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        io::stderr().lock().write_all(text.as_bytes())
    }

    /// May be dropped and called again at any time.
    pub async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                typed = self.typed.recv() => return match typed {
                    None => Event::End,
                    Some(data) if self.before.is_some() && data.contains(&ESCAPE) => Event::Leave,
                    Some(data) => Event::Typed(data),
                },
                _ = self.resized.recv() => if let Some(size) = size() {
                    return Event::Resized(size);
                },
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}
