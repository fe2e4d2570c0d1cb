//! A guest's serial line: read all the time into a history, which viewers read at their own pace.
//!
//! Reading begins with the first viewer, because xenconsoled keeps up to a MiB for who comes first (and a fleet
//! whose consoles nobody opens costs nothing); from then on it goes on until the guest has ended, so that who
//! comes later sees the boot text too. A guest that reboots gets a new domain and a new terminal; the viewers
//! stay.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use xenith_common_ids::{DomId, VmId};
use xenith_hypervisor_agent_api::{ConsoleInput, ConsoleOutput};

use super::pty::Terminal;
use super::{CHUNK, CHUNKS, Consoles, Viewer};

/// What is kept of a line. A Linux guest's boot text is 20 to 60 KiB.
const HISTORY: usize = 64 * 1024;
/// How long viewers wait for a guest that has ended to come back: a reboot.
const RETURNS_WITHIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

#[derive(Debug, Default)]
struct History {
    bytes: VecDeque<u8>,
    /// How much was written since the line was opened; `bytes` are the last of it.
    end: u64,
}

impl History {
    fn start(&self) -> u64 {
        self.end - self.bytes.len() as u64
    }

    fn push(&mut self, data: &[u8]) {
        let data_kept = &data[data.len().saturating_sub(HISTORY)..];
        let excess = (self.bytes.len() + data_kept.len()).saturating_sub(HISTORY);
        self.bytes.drain(..excess);
        self.bytes.extend(data_kept);
        self.end += data.len() as u64;
    }

    /// The next bytes for a viewer at `position`, which moves on, and how many it has missed.
    fn next(&self, position: &mut u64) -> (u64, Vec<u8>) {
        let missed = self.start().saturating_sub(*position);
        *position += missed;
        let from = usize::try_from(*position - self.start()).unwrap_or(usize::MAX);
        let data: Vec<u8> = self.bytes.iter().skip(from).take(CHUNK).copied().collect();
        *position += data.len() as u64;
        (missed, data)
    }
}

/// What viewers wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// This much was written.
    At(u64),
    Ended,
}

pub(super) struct Serial {
    history: Mutex<History>,
    news: watch::Sender<News>,
    typed: mpsc::Sender<Vec<u8>>,
    /// Taken by the one reader.
    typing: Mutex<Option<mpsc::Receiver<Vec<u8>>>>,
}

impl Serial {
    pub(super) fn new() -> Arc<Self> {
        let (typed, typing) = mpsc::channel(CHUNKS);
        let news = watch::Sender::new(News::At(0));
        Arc::new(Self { history: Mutex::default(), news, typed, typing: Mutex::new(Some(typing)) })
    }

    pub(super) fn has_ended(&self) -> bool {
        *self.news.borrow() == News::Ended
    }

    fn write(&self, data: &[u8]) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.push(data);
        let end = history.end;
        drop(history);
        self.news.send_replace(News::At(end));
    }

    /// Reads the guest, domain after domain, until it stays away.
    pub(super) async fn run(&self, vm: VmId, opened: (DomId, Terminal), consoles: Arc<Consoles>) {
        // Whatever ends this task, the viewers are told.
        let _ended = Ended(self);
        let taken = self.typing.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut typing) = taken else { return };
        let (mut domid, mut terminal) = opened;
        loop {
            let why = self.pump(terminal, &mut typing).await;
            tracing::debug!(%vm, %domid, why, "a serial console closed");
            self.write(b"\r\n[xenith: the guest has ended]\r\n");
            let Some(next) = self.next_domain(vm, domid, &consoles).await else { return };
            (domid, terminal) = next;
            self.write(b"[xenith: it starts again]\r\n");
        }
    }

    /// Until the terminal closes. Two halves that do not wait for each other: a guest that does not read what
    /// is typed is still listened to.
    async fn pump(&self, terminal: Terminal, typing: &mut mpsc::Receiver<Vec<u8>>) -> String {
        let Terminal { mut output, mut input } = terminal;
        let listen = async {
            let mut buffer = vec![0; CHUNK];
            loop {
                match output.read(&mut buffer).await {
                    Ok(0) => return "end of file".to_owned(),
                    Ok(count) => self.write(&buffer[..count]),
                    // EIO: the other end is closed.
                    Err(error) => return error.to_string(),
                }
            }
        };
        let speak = async {
            while let Some(data) = typing.recv().await {
                if let Err(error) = input.write_all(&data).await {
                    return error.to_string();
                }
            }
            // `typed` is ours: this is never reached while the line lives.
            std::future::pending().await
        };
        tokio::select! {
            why = listen => why,
            why = speak => why,
        }
    }

    async fn next_domain(&self, vm: VmId, last: DomId, consoles: &Consoles) -> Option<(DomId, Terminal)> {
        let next = async {
            loop {
                consoles.domids.after(vm, last).await;
                if let Ok(opened) = consoles.open_serial(vm).await {
                    return opened;
                }
                // The domain is there before its terminal is; xenconsoled tells nobody when it has made that.
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::select! {
            opened = tokio::time::timeout(RETURNS_WITHIN, next) => opened.ok(),
            // Nobody looks: the next one to look opens a new line.
            () = self.news.closed() => None,
        }
    }

    /// Where a viewer begins that wants so many bytes of what was written before.
    pub(super) fn position(&self, history: u32) -> u64 {
        let kept = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        kept.start().max(kept.end.saturating_sub(history.into()))
    }

    /// One viewer, until it leaves or the line ends.
    pub(super) async fn view(self: Arc<Self>, mut viewer: Viewer, from: u64) {
        let output = self.tell(&viewer.output, from);
        let input = async {
            while let Some(input) = viewer.input.recv().await {
                // A serial line has no size; nothing else than data means anything here.
                if let ConsoleInput::Data(data) = input
                    && self.typed.send(data).await.is_err()
                {
                    return;
                }
            }
        };
        let gone = tokio::select! {
            gone = output => gone,
            () = input => true,
        };
        if !gone {
            viewer.end("the VM has ended").await;
        }
    }

    /// Whether it was the viewer who left.
    async fn tell(&self, output: &mpsc::Sender<ConsoleOutput>, from: u64) -> bool {
        let (mut news, mut position) = (self.news.subscribe(), from);
        loop {
            let ended = *news.borrow_and_update() == News::Ended;
            let (missed, mut data) =
                self.history.lock().unwrap_or_else(PoisonError::into_inner).next(&mut position);
            if missed > 0 {
                let mut told = format!("\r\n[xenith: {missed} bytes left out]\r\n").into_bytes();
                told.append(&mut data);
                data = told;
            }
            if !data.is_empty() {
                if output.send(ConsoleOutput::Data(data)).await.is_err() {
                    return true;
                }
            } else if ended {
                return false;
            } else {
                tokio::select! {
                    () = output.closed() => return true,
                    // The sender lives in `self`.
                    _ = news.changed() => {}
                }
            }
        }
    }
}

struct Ended<'a>(&'a Serial);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.news.send_replace(News::Ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_keeps_the_end_and_counts_what_was_missed() {
        let mut history = History::default();
        let mut position = 0;
        assert_eq!(history.next(&mut position), (0, vec![]));
        history.push(b"boot");
        assert_eq!(history.next(&mut position), (0, b"boot".to_vec()));
        history.push(&vec![b'x'; HISTORY - 1]);
        history.push(b"yz");
        assert_eq!(history.bytes.len(), HISTORY);
        let (missed, data) = history.next(&mut position);
        assert_eq!((missed, data.len()), (1, CHUNK));
        let mut rest = 0;
        loop {
            let (missed, data) = history.next(&mut position);
            assert_eq!(missed, 0);
            if data.is_empty() {
                break;
            }
            rest += data.len();
        }
        assert_eq!(CHUNK + rest, HISTORY);
        // More at once than is kept at all.
        history.push(&vec![b'w'; 3 * HISTORY]);
        assert_eq!(history.next(&mut position).0, 2 * HISTORY as u64);
        assert_eq!(history.end, 4 + HISTORY as u64 + 1 + 3 * HISTORY as u64);
    }
}
