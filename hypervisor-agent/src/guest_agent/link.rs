//! One connection to a guest's agent. Every exchange has an end: bytes are bounded by [`wire`], time by [`Limits`].

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::wire::{self, Lines, MARK, Nonsense, Refusal};

/// How long each thing may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// An answer to a plain question.
    pub answer: Duration,
    /// A freeze: the guest writes out first what it holds.
    pub freeze: Duration,
    /// From the order to freeze to the order to thaw. Programs in the guest stand as long.
    pub frozen: Duration,
    /// The answer to a thaw: a guest may have hooks that wake its programs.
    pub thaw: Duration,
    /// The same when the agent stops; half of what it waits for its tasks.
    pub stopping: Duration,
    /// Until a thaw that was not answered is ordered again; then longer and longer, up to [`Self::longest_retry`].
    pub retry: Duration,
    pub longest_retry: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(3),
            freeze: Duration::from_secs(8),
            frozen: Duration::from_secs(10),
            thaw: Duration::from_secs(5),
            stopping: Duration::from_millis(1500),
            retry: Duration::from_millis(500),
            longest_retry: Duration::from_secs(30),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the guest agent's channel cannot be used: {0}")]
    Io(io::Error),
    #[error("the guest agent does not answer; see that qemu-ga runs in the guest, on the channel's device")]
    Silent,
    #[error("what the guest agent says is not understood: {0}")]
    Nonsense(Nonsense),
    #[error("the guest agent refused {command}: {}", .refusal.words)]
    Refused { command: &'static str, refusal: Refusal },
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Nonsense> for LinkError {
    fn from(nonsense: Nonsense) -> Self {
        Self::Nonsense(nonsense)
    }
}

impl LinkError {
    /// The guest's agent does not know or not allow the command.
    pub fn is_unknown_command(&self) -> bool {
        matches!(self, Self::Refused { refusal, .. } if refusal.class == "CommandNotFound")
    }
}

const STATUS: &str = "guest-fsfreeze-status";
const FREEZE: &str = "guest-fsfreeze-freeze";
const THAW: &str = "guest-fsfreeze-thaw";

fn question(command: &str) -> String {
    format!("{}\n", json!({ "execute": command }))
}

pub struct Link {
    stream: UnixStream,
    lines: Lines,
    /// Came with the line before; at most a read's worth.
    rest: Vec<u8>,
    limits: Limits,
}

async fn within<T>(
    limit: Duration,
    exchange: impl Future<Output = Result<T, LinkError>> + Send,
) -> Result<T, LinkError> {
    tokio::time::timeout(limit, exchange).await.unwrap_or(Err(LinkError::Silent))
}

impl Link {
    pub async fn connect(path: &Path, limits: Limits) -> Result<Self, LinkError> {
        within(limits.answer, async {
            let stream = UnixStream::connect(path).await?;
            Ok(Self { stream, lines: Lines::default(), rest: Vec::new(), limits })
        })
        .await
    }

    /// Connects, and makes sure that somebody answers.
    pub async fn open(path: &Path, limits: Limits) -> Result<Self, LinkError> {
        let mut link = Self::connect(path, limits).await?;
        within(limits.answer, link.sync("")).await?;
        Ok(link)
    }

    /// `guest-sync-delimited`: what was said to somebody before us ends at the mark, and a mark with another number is
    /// one of theirs. The mark in front makes the guest's agent drop half a question that was left in the channel.
    /// `then` is asked in the same breath.
    async fn sync(&mut self, then: &str) -> Result<(), LinkError> {
        // Of 31 bits: some agents keep numbers as doubles.
        let id = uuid::Uuid::new_v4().as_u64_pair().1 & 0x7fff_ffff;
        let command = json!({ "execute": "guest-sync-delimited", "arguments": { "id": id } });
        let mut question = vec![MARK];
        question.extend_from_slice(format!("{command}\n{then}").as_bytes());
        self.stream.write_all(&question).await?;
        loop {
            self.lines.skip_to_mark();
            let line = self.line().await?;
            // Whatever else is there is not our answer.
            if let Ok(Ok(value)) = wire::answer(&line)
                && value.as_u64() == Some(id)
            {
                return Ok(());
            }
        }
    }

    async fn line(&mut self) -> Result<Vec<u8>, LinkError> {
        let mut bytes = [0; 4096];
        loop {
            let mut rest = self.rest.as_slice();
            let line = self.lines.next(&mut rest)?;
            self.rest = rest.to_vec();
            if let Some(line) = line {
                return Ok(line);
            }
            let count = self.stream.read(&mut bytes).await?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            self.rest.extend_from_slice(&bytes[..count]);
        }
    }

    async fn answer(&mut self, command: &'static str) -> Result<Value, LinkError> {
        let line = self.line().await?;
        wire::answer(&line)?.map_err(|refusal| LinkError::Refused { command, refusal })
    }

    async fn ask(&mut self, command: &'static str, limit: Duration) -> Result<Value, LinkError> {
        within(limit, async {
            // One question at a time, so one answer: what came behind the last one is nobody's.
            self.rest.clear();
            self.lines.restart();
            self.stream.write_all(question(command).as_bytes()).await?;
            self.answer(command).await
        })
        .await
    }

    pub async fn is_frozen(&mut self) -> Result<bool, LinkError> {
        let value = self.ask(STATUS, self.limits.answer).await?;
        match value.as_str() {
            Some("frozen") => Ok(true),
            Some("thawed") => Ok(false),
            _ => Err(wire::not_an_answer(value.to_string().as_bytes()).into()),
        }
    }

    /// How many filesystems stand still now.
    pub async fn freeze(&mut self) -> Result<u64, LinkError> {
        let value = self.ask(FREEZE, self.limits.freeze).await?;
        count(&value)
    }

    /// How many filesystems were let go by this. The order is in the channel at once, behind a freeze that may still go
    /// on; the answer to that is not taken for the answer to this.
    pub async fn thaw(&mut self) -> Result<u64, LinkError> {
        within(self.limits.thaw, async {
            self.sync(&question(THAW)).await?;
            let value = self.answer(THAW).await?;
            count(&value)
        })
        .await
    }
}

fn count(value: &Value) -> Result<u64, LinkError> {
    value.as_u64().ok_or_else(|| wire::not_an_answer(value.to_string().as_bytes()).into())
}
