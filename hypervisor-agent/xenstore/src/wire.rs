//! xenstore's wire protocol: pure encoding and decoding, no IO.
//!
//! Source: `xen/include/public/io/xs_wire.h` and `docs/misc/xenstore.txt` of Xen 4.17. A message is a header
//! of four 32-bit words in the machine's byte order (type, request id, transaction id, length of the
//! payload) and a payload of at most [`PAYLOAD_MAX`] bytes, mostly strings that end with NUL.
//!
//! One answer is longer in practice. A list that does not fit into a message is refused by the C `xenstored` with
//! E2BIG and then given in parts. `oxenstored` (Debian's default) knows no parts, and over its socket it sends the
//! list whole, however long (`packet_of` in `connection.ml` minds the length for rings only). A guest chooses how
//! many names there are below its own nodes, so such an answer is no reason to drop the connection that all
//! others use: up to [`DIRECTORY_MAX`] it is taken, beyond that it is skipped.
//!
//! What always holds: no length is trusted before it is checked, no more than one message is kept, a
//! payload that is skipped is not kept at all, and no input makes this module panic. After an error the stream has
//! no boundary to start again from: the caller must drop the connection.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before the payload.
pub const HEADER_LEN: usize = 16;
/// The longest payload; a peer that sends more breaks the protocol, but for the answer to DIRECTORY.
pub const PAYLOAD_MAX: usize = 4096;
/// The most bytes of names that a directory may have. The daemons have no limit for the control domain;
/// 4 MiB are about 100,000 names, far beyond any directory that Xen makes and any that a guest's quota allows.
pub const DIRECTORY_MAX: usize = 4 << 20;
/// The longest absolute path that xenstored takes.
pub const ABSOLUTE_PATH_MAX: usize = 3072;

/// Ties an answer to its request. Chosen by the client, echoed by the daemon; 0 in watch events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(pub u32);

/// A transaction of one connection; 0 is "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TxId(pub u32);

impl TxId {
    pub const NONE: Self = Self(0);
}

macro_rules! message_types {
    ($($name:ident = $number:literal,)*) => {
        /// What a message is: `enum xsd_sockmsg_type`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum MessageType { $($name = $number,)* }

        impl MessageType {
            /// All that the protocol knows; 20 was removed from it.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }

        impl TryFrom<u32> for MessageType {
            type Error = WireError;

            fn try_from(number: u32) -> Result<Self, WireError> {
                match number {
                    $($number => Ok(Self::$name),)*
                    other => Err(WireError::UnknownType(other)),
                }
            }
        }
    };
}

message_types! {
    Control = 0,
    Directory = 1,
    Read = 2,
    GetPerms = 3,
    Watch = 4,
    Unwatch = 5,
    TransactionStart = 6,
    TransactionEnd = 7,
    Introduce = 8,
    Release = 9,
    GetDomainPath = 10,
    Write = 11,
    Mkdir = 12,
    Rm = 13,
    SetPerms = 14,
    WatchEvent = 15,
    Error = 16,
    IsDomainIntroduced = 17,
    Resume = 18,
    SetTarget = 19,
    ResetWatches = 21,
    DirectoryPart = 22,
}

/// Why bytes are not a message. None of these can be recovered from on the same stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("a message announces {0} bytes of payload; xenstore allows {PAYLOAD_MAX}")]
    Oversize(usize),
    #[error("a message has the unknown type {0}")]
    UnknownType(u32),
    #[error("a watch event is not a path and a token")]
    BadWatchEvent,
    #[error("an answer came for the request {0}, which is not open")]
    UnmatchedRequest(u32),
    #[error("a {asked:?} request was answered with {answered:?}")]
    UnrelatedAnswer { asked: MessageType, answered: MessageType },
}

/// One message, in either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub kind: MessageType,
    pub request: RequestId,
    pub transaction: TxId,
    pub payload: Bytes,
}

/// Appends `message` to `out`; nothing is appended on an error.
pub fn encode(message: &Message, out: &mut BytesMut) -> Result<(), WireError> {
    let len = message.payload.len();
    let announced = u32::try_from(len).ok().filter(|_| len <= PAYLOAD_MAX).ok_or(WireError::Oversize(len))?;
    out.reserve(HEADER_LEN + len);
    out.put_u32_ne(message.kind as u32);
    out.put_u32_ne(message.request.0);
    out.put_u32_ne(message.transaction.0);
    out.put_u32_ne(announced);
    out.put_slice(&message.payload);
    Ok(())
}

/// What comes off a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    Message(Message),
    /// The answer to DIRECTORY has more than [`DIRECTORY_MAX`] bytes. The stream goes on behind it.
    TooLong {
        request: RequestId,
    },
}

/// Four words, of which the length is judged.
struct Header {
    kind: MessageType,
    request: RequestId,
    transaction: TxId,
    len: usize,
}

impl Header {
    /// `None` when it is not there in full yet. A wrong one is refused without waiting for its payload.
    fn parse(input: &[u8]) -> Result<Option<Self>, WireError> {
        let Some(mut words) = input.get(..HEADER_LEN) else {
            return Ok(None);
        };
        let kind = MessageType::try_from(words.get_u32_ne())?;
        let request = RequestId(words.get_u32_ne());
        let transaction = TxId(words.get_u32_ne());
        let len = usize::try_from(words.get_u32_ne()).unwrap_or(usize::MAX);
        if len > PAYLOAD_MAX && kind != MessageType::Directory {
            return Err(WireError::Oversize(len));
        }
        Ok(Some(Self { kind, request, transaction, len }))
    }
}

/// Takes messages off one stream, which arrives in pieces.
#[derive(Debug, Default)]
pub struct Decoder {
    /// How many bytes of a payload that is skipped are still to come.
    skip: usize,
}

impl Decoder {
    /// Takes what is first in `input` off it; `None` when it is not there in full yet. A payload that is
    /// skipped is said as soon as its header is there.
    pub fn take(&mut self, input: &mut BytesMut) -> Result<Option<Incoming>, WireError> {
        let skipped = self.skip.min(input.len());
        input.advance(skipped);
        self.skip -= skipped;
        let Some(Header { kind, request, transaction, len }) = Header::parse(input)? else {
            return Ok(None);
        };
        if len > DIRECTORY_MAX {
            input.advance(HEADER_LEN);
            self.skip = len;
            return Ok(Some(Incoming::TooLong { request }));
        }
        if input.len() < HEADER_LEN + len {
            return Ok(None);
        }
        let mut whole = input.split_to(HEADER_LEN + len);
        whole.advance(HEADER_LEN);
        Ok(Some(Incoming::Message(Message { kind, request, transaction, payload: whole.freeze() })))
    }
}

/// A payload of strings, each followed by NUL.
#[must_use]
pub fn nul_terminated(strings: &[&str]) -> Bytes {
    let mut payload = BytesMut::with_capacity(strings.iter().map(|s| s.len() + 1).sum());
    for string in strings {
        payload.put_slice(string.as_bytes());
        payload.put_u8(0);
    }
    payload.freeze()
}

/// The strings of a payload. A last one without NUL counts too: not every daemon ends it.
pub fn strings(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let body = payload.strip_suffix(&[0]).unwrap_or(payload);
    body.split(|byte| *byte == 0).filter(move |_| !payload.is_empty())
}

/// The changed path and our token. More strings may follow in later versions of the protocol.
pub fn parse_watch_event(payload: &[u8]) -> Result<(&str, &str), WireError> {
    let mut parts = strings(payload).map(|part| std::str::from_utf8(part));
    match (parts.next(), parts.next()) {
        (Some(Ok(path)), Some(Ok(token))) if !path.is_empty() => Ok((path, token)),
        _ => Err(WireError::BadWatchEvent),
    }
}

/// What the daemon refused with: the names of `xsd_errors` in `xs_wire.h`, and one that only oxenstored has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    Einval,
    Eacces,
    Eexist,
    Eisdir,
    Enoent,
    Enomem,
    Enospc,
    Eio,
    Enotempty,
    Enosys,
    Erofs,
    Ebusy,
    Eagain,
    Eisconn,
    E2big,
    Eperm,
    /// oxenstored's own: a quota is used up.
    Equota,
    /// A name that this version of the protocol does not have.
    Unknown,
}

impl ErrorCode {
    const NAMES: [(Self, &'static str); 17] = [
        (Self::Einval, "EINVAL"),
        (Self::Eacces, "EACCES"),
        (Self::Eexist, "EEXIST"),
        (Self::Eisdir, "EISDIR"),
        (Self::Enoent, "ENOENT"),
        (Self::Enomem, "ENOMEM"),
        (Self::Enospc, "ENOSPC"),
        (Self::Eio, "EIO"),
        (Self::Enotempty, "ENOTEMPTY"),
        (Self::Enosys, "ENOSYS"),
        (Self::Erofs, "EROFS"),
        (Self::Ebusy, "EBUSY"),
        (Self::Eagain, "EAGAIN"),
        (Self::Eisconn, "EISCONN"),
        (Self::E2big, "E2BIG"),
        (Self::Eperm, "EPERM"),
        (Self::Equota, "EQUOTA"),
    ];

    /// The code in the payload of an [`MessageType::Error`] message.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Self {
        let name = strings(payload).next().unwrap_or_default();
        Self::NAMES.iter().find(|(_, text)| text.as_bytes() == name).map_or(Self::Unknown, |(code, _)| *code)
    }

    /// As the protocol spells it; `an unknown code` for what it does not have.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(code, _)| *code == self).map_or("an unknown code", |(_, text)| text)
    }
}
