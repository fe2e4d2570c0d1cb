//! Orders to QEMU: a minimal client of its machine protocol (QMP, `docs/interop/qmp-spec.txt` of QEMU).
//!
//! One connection per order: QEMU serves one client at a time, and a person may want to look too.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// QEMU answers within milliseconds, unless the machine is overloaded.
const LIMIT: Duration = Duration::from_secs(30);
/// No answer of the orders used here comes near it.
const MAX_LINES: usize = 1000;

/// Why an order had no effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QmpError {
    #[error("{0}")]
    Refused(String),
    #[error("the connection failed: {0}")]
    Connection(#[from] io::Error),
    #[error("no answer")]
    Silent,
}

/// Sends one order and returns what QEMU says to it.
pub(crate) async fn order(socket: &Path, command: &str, arguments: Value) -> Result<Value, QmpError> {
    tokio::time::timeout(LIMIT, talk(socket, command, arguments)).await.map_err(|_| QmpError::Silent)?
}

async fn talk(socket: &Path, command: &str, arguments: Value) -> Result<Value, QmpError> {
    let (reader, mut writer) = UnixStream::connect(socket).await?.into_split();
    let mut lines = BufReader::new(reader).lines();
    for (execute, arguments) in [("qmp_capabilities", json!({})), (command, arguments)] {
        let text = json!({ "execute": execute, "arguments": arguments }).to_string();
        writer.write_all(format!("{text}\n").as_bytes()).await?;
        let answer = read_answer(&mut lines).await?;
        if execute == command {
            return Ok(answer);
        }
    }
    Err(QmpError::Silent)
}

/// Skips the greeting and events.
async fn read_answer<R: tokio::io::AsyncBufRead + Unpin>(
    lines: &mut tokio::io::Lines<R>,
) -> Result<Value, QmpError> {
    for _ in 0..MAX_LINES {
        let line = lines.next_line().await?.ok_or(QmpError::Silent)?;
        let mut answer: Value = serde_json::from_str(&line).map_err(io::Error::from)?;
        if let Some(error) = answer.get("error") {
            return Err(QmpError::Refused(error["desc"].as_str().unwrap_or("no reason given").to_owned()));
        }
        if let Some(value) = answer.get_mut("return") {
            return Ok(value.take());
        }
    }
    Err(QmpError::Silent)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answer(text: &str) -> Result<Value, QmpError> {
        read_answer(&mut BufReader::new(text.as_bytes()).lines()).await
    }

    #[tokio::test]
    async fn events_and_the_greeting_are_skipped() {
        let text = "{\"QMP\":{}}\n{\"event\":\"STOP\"}\n{\"return\":{\"a\":1}}\n";
        assert_eq!(answer(text).await.unwrap(), json!({"a": 1}));
    }

    #[tokio::test]
    async fn a_refusal_says_why() {
        let refused = answer("{\"error\":{\"class\":\"GenericError\",\"desc\":\"no such device\"}}\n").await;
        assert!(matches!(refused, Err(QmpError::Refused(why)) if why == "no such device"));
    }

    #[tokio::test]
    async fn an_end_without_an_answer_is_silence() {
        assert!(matches!(answer("{\"event\":\"STOP\"}\n").await, Err(QmpError::Silent)));
        assert!(matches!(answer("not json\n").await, Err(QmpError::Connection(_))));
    }
}
