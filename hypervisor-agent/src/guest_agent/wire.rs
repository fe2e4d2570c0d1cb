//! What a guest's agent says, taken apart.
//!
//! All of it is foreign: a guest may send anything. A line is at most [`LONGEST_LINE`] bytes, what is skipped at most
//! [`MOST_SKIPPED`]; nothing else is kept. The protocol is QEMU's (`qga/qapi-schema.json`): one JSON object a line, and
//! `0xFF` before the answer to `guest-sync-delimited`.

use serde::Deserialize;
use serde_json::Value;
use xenith_hypervisor_agent_xenstore::guest::parse_text;

/// The answers that we ask for are numbers, words and sentences.
pub const LONGEST_LINE: usize = 16 * 1024;
/// Before a `0xFF`: answers to somebody who asked before us. A ring of Xen's console holds 2 KiB, QEMU a little more.
pub const MOST_SKIPPED: usize = 256 * 1024;
/// Never part of JSON.
pub const MARK: u8 = 0xff;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    #[error("a line of more than {LONGEST_LINE} bytes")]
    LongLine,
    #[error("more than {MOST_SKIPPED} bytes that nobody asked for")]
    Flood,
    #[error("no answer in {0:?}")]
    NotAnAnswer(String),
}

/// A refusal, in the guest's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub class: String,
    pub words: String,
}

/// Bytes to lines.
#[derive(Debug, Default)]
pub struct Lines {
    line: Vec<u8>,
    skipping: bool,
    skipped: usize,
}

impl Lines {
    /// From here nothing counts before the next `0xFF`.
    pub fn skip_to_mark(&mut self) {
        self.line.clear();
        self.skipping = true;
    }

    /// Forgets a line that was begun.
    pub fn restart(&mut self) {
        *self = Self::default();
    }

    /// Takes bytes from the front of `bytes` until a line is complete.
    pub fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Vec<u8>>, Nonsense> {
        while let Some((&byte, rest)) = bytes.split_first() {
            *bytes = rest;
            match byte {
                MARK => {
                    self.line.clear();
                    self.skipping = false;
                }
                _ if self.skipping => {
                    self.skipped += 1;
                    if self.skipped > MOST_SKIPPED {
                        return Err(Nonsense::Flood);
                    }
                }
                b'\n' if self.line.is_empty() => {}
                b'\n' => return Ok(Some(std::mem::take(&mut self.line))),
                _ if self.line.len() == LONGEST_LINE => return Err(Nonsense::LongLine),
                _ => self.line.push(byte),
            }
        }
        Ok(None)
    }
}

/// What of a guest's words may be shown to people, as of all that a guest writes: one short line, and nothing in it that
/// moves a cursor or hides what stands beside it.
fn printable(words: &[u8]) -> String {
    parse_text(words).unwrap_or_default()
}

/// The value of an answer, or the guest's refusal.
pub fn answer(line: &[u8]) -> Result<Result<Value, Refusal>, Nonsense> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(rename = "return")]
        value: Option<Value>,
        error: Option<Error>,
    }
    #[derive(Deserialize)]
    struct Error {
        #[serde(default)]
        class: String,
        #[serde(default)]
        desc: String,
    }
    match serde_json::from_slice(line) {
        Ok(Answer { error: Some(error), .. }) => Ok(Err(Refusal {
            class: printable(error.class.as_bytes()),
            words: printable(error.desc.as_bytes()),
        })),
        Ok(Answer { value: Some(value), .. }) => Ok(Ok(value)),
        Ok(Answer { value: None, .. }) | Err(_) => Err(not_an_answer(line)),
    }
}

pub fn not_an_answer(said: &[u8]) -> Nonsense {
    Nonsense::NotAnAnswer(printable(said))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn lines(reader: &mut Lines, mut bytes: &[u8]) -> Result<Vec<String>, Nonsense> {
        let mut found = Vec::new();
        while let Some(line) = reader.next(&mut bytes)? {
            found.push(String::from_utf8_lossy(&line).into_owned());
        }
        Ok(found)
    }

    #[test]
    fn lines_come_whole_and_bounded() {
        let mut reader = Lines::default();
        assert_eq!(lines(&mut reader, b"{\"ret"), Ok(vec![]));
        assert_eq!(lines(&mut reader, b"urn\":1}\n\n{}\nx"), Ok(vec!["{\"return\":1}".into(), "{}".into()]));
        reader.skip_to_mark();
        assert_eq!(lines(&mut reader, b"old\nolder\n\xffnew\n"), Ok(vec!["new".into()]));
        // A second mark begins anew.
        reader.skip_to_mark();
        assert_eq!(lines(&mut reader, b"\xffhalf\xffwhole\n"), Ok(vec!["whole".into()]));
        reader.restart();
        assert_eq!(lines(&mut reader, &vec![b'a'; LONGEST_LINE]), Ok(vec![]));
        assert_eq!(lines(&mut reader, b"a"), Err(Nonsense::LongLine));
        reader.restart();
        reader.skip_to_mark();
        assert_eq!(lines(&mut reader, &vec![b'\n'; MOST_SKIPPED]), Ok(vec![]));
        assert_eq!(lines(&mut reader, b"a"), Err(Nonsense::Flood));
    }

    /// Whatever comes, in whatever pieces: the same lines, and nothing of it is too much.
    fn foreign() -> impl Strategy<Value = Vec<Vec<u8>>> {
        vec(vec(prop_oneof![Just(b'\n'), Just(MARK), any::<u8>()], 0..64), 0..32)
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_come(pieces in foreign(), skipping in any::<bool>()) {
            let reader = || {
                let mut reader = Lines::default();
                if skipping {
                    reader.skip_to_mark();
                }
                reader
            };
            let whole = lines(&mut reader(), &pieces.concat()).unwrap();
            let mut piecemeal = reader();
            let mut found = Vec::new();
            for piece in &pieces {
                found.extend(lines(&mut piecemeal, piece).unwrap());
            }
            prop_assert_eq!(&found, &whole);
            for line in found {
                prop_assert!(!line.is_empty());
                // A value, a refusal or nonsense; never a panic.
                if let Err(Nonsense::NotAnAnswer(words)) = answer(line.as_bytes()) {
                    prop_assert!(!words.chars().any(char::is_control));
                }
            }
        }
    }

    #[test]
    fn answers_and_what_is_none() {
        assert_eq!(answer(br#"{"return": 3}"#), Ok(Ok(json!(3))));
        assert_eq!(answer(br#"{"return": {}}"#), Ok(Ok(json!({}))));
        let refusal = Refusal { class: "GenericError".into(), words: "no [31m way".into() };
        let told = br#"{"error": {"class": "GenericError", "desc": "no \u001b[31m w\u202eay"}}"#;
        assert_eq!(answer(told), Ok(Err(refusal)));
        let long = format!(r#"{{"error": {{"desc": "{}"}}}}"#, "x".repeat(5000));
        assert!(answer(long.as_bytes()).unwrap().unwrap_err().words.len() < 500);
        let deep = "[".repeat(LONGEST_LINE);
        for bad in ["", "{}", "7", "null", "[]", r#"{"return"#, r#"{"error": "no"}"#, "\u{0}\u{7f}", &deep] {
            assert!(matches!(answer(bad.as_bytes()), Err(Nonsense::NotAnAnswer(_))), "{bad}");
        }
        assert!(answer(b"\xc3\x28").is_err());
    }
}
