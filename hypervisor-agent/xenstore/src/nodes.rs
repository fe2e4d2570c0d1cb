//! What can be done with nodes, in a transaction or outside of one.
//!
//! A value is bytes without an end mark; most are text. A node is created by writing to it, with its parents,
//! and inherits the permissions of the nearest parent that exists. Reading a parent does not show its
//! children: a node has a value *and* children.

use bytes::{BufMut, Bytes, BytesMut};

use crate::connection::{Failure, Link, Request, Scope};
use crate::error::XenstoreError;
use crate::path;
use crate::permissions::Permissions;
use crate::wire::{self, DIRECTORY_MAX, ErrorCode, MessageType, PAYLOAD_MAX};

/// How often a large directory is read from its start again when it changes meanwhile.
const DIRECTORY_ATTEMPTS: u32 = 32;

/// The operations, in one scope.
#[derive(Debug, Clone)]
pub struct Nodes {
    link: Link,
    scope: Scope,
}

impl Nodes {
    pub const fn new(link: Link, scope: Scope) -> Self {
        Self { link, scope }
    }

    /// One request about `path`, which is named in its error.
    pub async fn request(
        &self,
        kind: MessageType,
        path: &str,
        payload: Bytes,
    ) -> Result<Bytes, XenstoreError> {
        self.try_request(kind, payload).await.map_err(|failure| failure.about(path))
    }

    async fn try_request(&self, kind: MessageType, payload: Bytes) -> Result<Bytes, Failure> {
        self.link.call(Request { kind, scope: self.scope, payload }).await
    }

    /// A request that consists of a path.
    async fn about(&self, kind: MessageType, path: &str) -> Result<Bytes, XenstoreError> {
        path::check(path)?;
        self.request(kind, path, wire::nul_terminated(&[path])).await
    }

    pub async fn read_bytes(&self, path: &str) -> Result<Bytes, XenstoreError> {
        self.about(MessageType::Read, path).await
    }

    pub async fn read_text(&self, path: &str) -> Result<String, XenstoreError> {
        let bytes = self.read_bytes(path).await?;
        let wrong = |_| XenstoreError::Malformed { path: path.to_owned(), expected: "text in UTF-8" };
        String::from_utf8(bytes.into()).map_err(wrong)
    }

    pub async fn write_bytes(&self, path: &str, value: &[u8]) -> Result<(), XenstoreError> {
        path::check(path)?;
        let mut payload = BytesMut::with_capacity(path.len() + 1 + value.len());
        payload.put_slice(path.as_bytes());
        payload.put_u8(0);
        payload.put_slice(value);
        self.request(MessageType::Write, path, payload.freeze()).await.map(drop)
    }

    pub async fn make_directory(&self, path: &str) -> Result<(), XenstoreError> {
        self.about(MessageType::Mkdir, path).await.map(drop)
    }

    pub async fn remove(&self, path: &str) -> Result<(), XenstoreError> {
        self.about(MessageType::Rm, path).await.map(drop)
    }

    pub async fn list(&self, path: &str) -> Result<Vec<String>, XenstoreError> {
        path::check(path)?;
        match self.try_request(MessageType::Directory, wire::nul_terminated(&[path])).await {
            Ok(names) => collect_names(path, &names),
            Err(Failure::Refused(ErrorCode::E2big)) => self.list_in_parts(path).await,
            Err(failure) => Err(failure.about(path)),
        }
    }

    /// A directory that does not fit into one message, of the C daemon. oxenstored gives it whole over its socket;
    /// through the kernel's device it refuses the whole, and knows no parts.
    ///
    /// Each part names the generation of the directory; when that changes, what was read so far is not a state the
    /// directory ever had, and is thrown away.
    async fn list_in_parts(&self, path: &str) -> Result<Vec<String>, XenstoreError> {
        let mut parts = Parts::default();
        let mut attempts = 1;
        loop {
            let payload = wire::nul_terminated(&[path, &parts.names.len().to_string()]);
            let part = match self.try_request(MessageType::DirectoryPart, payload).await {
                Err(Failure::Refused(ErrorCode::Enosys)) => return Err(too_large(path, PAYLOAD_MAX)),
                part => part.map_err(|failure| failure.about(path))?,
            };
            match parts.add(&part) {
                Part::More => {}
                Part::Last => return collect_names(path, &parts.names),
                Part::Changed if attempts < DIRECTORY_ATTEMPTS => {
                    attempts += 1;
                    parts = Parts::default();
                }
                Part::Changed => return Err(XenstoreError::Again { path: path.to_owned(), attempts }),
                Part::TooLarge => return Err(too_large(path, DIRECTORY_MAX)),
                Part::Malformed => {
                    let expected = "a directory that xenstored can list";
                    return Err(XenstoreError::Malformed { path: path.to_owned(), expected });
                }
            }
        }
    }

    pub async fn permissions(&self, path: &str) -> Result<Permissions, XenstoreError> {
        let payload = self.about(MessageType::GetPerms, path).await?;
        let wrong = |_| XenstoreError::Malformed { path: path.to_owned(), expected: "known permissions" };
        Permissions::parse(wire::strings(&payload)).map_err(wrong)
    }

    pub async fn set_permissions(&self, path: &str, wanted: &Permissions) -> Result<(), XenstoreError> {
        path::check(path)?;
        let entries = wanted.to_strings();
        let strings: Vec<&str> = std::iter::once(path).chain(entries.iter().map(String::as_str)).collect();
        self.request(MessageType::SetPerms, path, wire::nul_terminated(&strings)).await.map(drop)
    }
}

/// The names of one directory, as bytes with NULs, while they are collected.
#[derive(Default)]
struct Parts {
    generation: Option<Bytes>,
    names: BytesMut,
}

enum Part {
    More,
    Last,
    Changed,
    TooLarge,
    Malformed,
}

impl Parts {
    /// Takes the answer to DIRECTORY_PART: a generation, NUL, names with NULs, and one NUL more at the end of
    /// the last part.
    fn add(&mut self, part: &Bytes) -> Part {
        let Some(end) = part.iter().position(|byte| *byte == 0) else {
            return Part::Malformed;
        };
        let generation = part.slice(..end);
        let names = part.slice(end + 1..);
        if self.generation.get_or_insert_with(|| generation.clone()) != &generation {
            return Part::Changed;
        }
        let last = names.is_empty() || names.ends_with(&[0, 0]) || names[..] == [0];
        let names = if last { names.strip_suffix(&[0]).unwrap_or(&names) } else { &names[..] };
        if self.names.len() + names.len() > DIRECTORY_MAX {
            return Part::TooLarge;
        }
        self.names.extend_from_slice(names);
        if last { Part::Last } else { Part::More }
    }
}

fn too_large(path: &str, limit: usize) -> XenstoreError {
    XenstoreError::DirectoryTooLarge { path: path.to_owned(), limit }
}

fn collect_names(path: &str, names: &[u8]) -> Result<Vec<String>, XenstoreError> {
    let wrong = || XenstoreError::Malformed { path: path.to_owned(), expected: "names in ASCII" };
    wire::strings(names).map(|name| String::from_utf8(name.to_vec()).map_err(|_| wrong())).collect()
}

/// Gives a type with a field `nodes` the operations as its own. Not `Deref`: the traits of `xenstore-rs`, once
/// imported, would win over methods found that way.
macro_rules! node_operations {
    ($type:ty) => {
        impl $type {
            /// The value of a node.
            pub async fn read_bytes(&self, path: &str) -> Result<bytes::Bytes, $crate::XenstoreError> {
                self.nodes.read_bytes(path).await
            }

            /// The value of a node that must be text.
            pub async fn read(&self, path: &str) -> Result<String, $crate::XenstoreError> {
                self.nodes.read_text(path).await
            }

            /// The value of a node that may be absent.
            pub async fn read_if_there(&self, path: &str) -> Result<Option<String>, $crate::XenstoreError> {
                self.nodes.read_text(path).await.map_or_else($crate::XenstoreError::absent, |v| Ok(Some(v)))
            }

            /// Sets the value of a node; creates it, with its parents, where it is absent.
            pub async fn write(
                &self,
                path: &str,
                value: impl AsRef<[u8]> + Send,
            ) -> Result<(), $crate::XenstoreError> {
                self.nodes.write_bytes(path, value.as_ref()).await
            }

            /// Creates an empty node, with its parents. One that is there stays as it is.
            pub async fn mkdir(&self, path: &str) -> Result<(), $crate::XenstoreError> {
                self.nodes.make_directory(path).await
            }

            /// Removes a node and all below it. Its parent must exist; the node itself need not.
            pub async fn rm(&self, path: &str) -> Result<(), $crate::XenstoreError> {
                self.nodes.remove(path).await
            }

            /// The names of the children, of at most [`DIRECTORY_MAX`](crate::wire::DIRECTORY_MAX) bytes together.
            pub async fn directory(&self, path: &str) -> Result<Vec<String>, $crate::XenstoreError> {
                self.nodes.list(path).await
            }

            /// Who may do what with a node.
            pub async fn permissions(
                &self,
                path: &str,
            ) -> Result<$crate::Permissions, $crate::XenstoreError> {
                self.nodes.permissions(path).await
            }

            /// Replaces the permissions of a node, not of what is below it.
            pub async fn set_permissions(
                &self,
                path: &str,
                wanted: &$crate::Permissions,
            ) -> Result<(), $crate::XenstoreError> {
                self.nodes.set_permissions(path, wanted).await
            }
        }
    };
}

node_operations!(crate::Xenstore);
node_operations!(crate::Transaction);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_directory() {
        let cases: [(&str, &[&[u8]], &str); 8] = [
            ("one part", &[b"7\0a\0b\0\0"], "a b"),
            ("two parts", &[b"7\0a\0b\0", b"7\0c\0\0"], "a b c"),
            ("end alone in the last part", &[b"7\0a\0", b"7\0\0"], "a"),
            ("nothing at all in the last part", &[b"7\0a\0", b"7\0"], "a"),
            ("empty directory", &[b"7\0\0"], ""),
            ("changed between the parts", &[b"7\0a\0", b"8\0b\0\0"], "changed"),
            ("no generation", &[b"7"], "malformed"),
            ("empty answer", &[b""], "malformed"),
        ];
        for (name, answers, expected) in cases {
            let mut parts = Parts::default();
            let mut outcome = Part::More;
            for answer in answers {
                assert!(matches!(outcome, Part::More), "{name}: ended early");
                outcome = parts.add(&Bytes::from_static(answer));
            }
            let seen = match outcome {
                Part::Last => collect_names("/", &parts.names).unwrap().join(" "),
                Part::Changed => "changed".to_owned(),
                Part::TooLarge => "too large".to_owned(),
                Part::Malformed => "malformed".to_owned(),
                Part::More => "unfinished".to_owned(),
            };
            assert_eq!(seen, expected, "{name}");
        }
    }

    #[test]
    fn a_directory_without_end_is_given_up() {
        let mut parts = Parts::default();
        let endless = Bytes::from([b"7\0".as_slice(), &[b'x'; 4000], b"\0"].concat());
        let steps = std::iter::repeat_with(|| parts.add(&endless)).take(2000);
        assert!(steps.into_iter().any(|part| matches!(part, Part::TooLarge)));
        assert!(parts.names.len() <= DIRECTORY_MAX);
    }
}
