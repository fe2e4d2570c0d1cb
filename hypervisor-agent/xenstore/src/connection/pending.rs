//! Requests that wait for their answer.

use std::collections::HashMap;

use bytes::Bytes;

use super::link::{Failure, OpenTransaction, Reply};
use super::mailbox::Watch;
use super::registry::WatchId;
use crate::wire::{ErrorCode, Incoming, MessageType, RequestId, WireError};

/// Who waits.
pub enum Waiting {
    Call {
        kind: MessageType,
        reply: Reply<Bytes>,
    },
    Begin {
        reply: Reply<OpenTransaction>,
    },
    Watch {
        id: WatchId,
        reply: Reply<Watch>,
    },
    /// A watch that is registered again after a reconnect.
    Rewatch {
        id: WatchId,
    },
    /// Nobody: the end of something whose handle was dropped.
    Nobody {
        kind: MessageType,
    },
}

impl Waiting {
    const fn kind(&self) -> MessageType {
        match self {
            Self::Call { kind, .. } | Self::Nobody { kind } => *kind,
            Self::Begin { .. } => MessageType::TransactionStart,
            Self::Watch { .. } | Self::Rewatch { .. } => MessageType::Watch,
        }
    }

    /// Answers with `failure`. An answer that nobody takes any more is no error.
    pub fn fail(self, failure: Failure) {
        match self {
            Self::Call { reply, .. } => drop(reply.send(Err(failure))),
            Self::Begin { reply } => drop(reply.send(Err(failure))),
            Self::Watch { reply, .. } => drop(reply.send(Err(failure))),
            Self::Rewatch { .. } | Self::Nobody { .. } => {}
        }
    }
}

/// An answer that was asked for: what it says, and who waits for it.
pub struct Answer {
    pub waiting: Waiting,
    pub outcome: Result<Bytes, Failure>,
}

#[derive(Default)]
pub struct Pending {
    waiting: HashMap<RequestId, Waiting>,
    last: u32,
}

impl Pending {
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A free id; 0 is left to watch events.
    pub fn add(&mut self, waiting: Waiting) -> RequestId {
        loop {
            self.last = self.last.wrapping_add(1);
            let id = RequestId(self.last);
            if self.last != 0 && !self.waiting.contains_key(&id) {
                self.waiting.insert(id, waiting);
                return id;
            }
        }
    }

    /// Matches an answer with its request. What does not match means that the two sides no longer agree on
    /// what was asked; whoever waits under that id is put back, to fail with all others.
    pub fn settle(&mut self, incoming: Incoming) -> Result<Answer, WireError> {
        let (id, answered) = match &incoming {
            Incoming::Message(message) => (message.request, message.kind),
            Incoming::TooLong { request } => (*request, MessageType::Directory),
        };
        let waiting = self.waiting.remove(&id).ok_or(WireError::UnmatchedRequest(id.0))?;
        let asked = waiting.kind();
        if answered != asked && answered != MessageType::Error {
            self.waiting.insert(id, waiting);
            return Err(WireError::UnrelatedAnswer { asked, answered });
        }
        let outcome = match incoming {
            Incoming::Message(message) if answered == asked => Ok(message.payload),
            Incoming::Message(message) => Err(Failure::Refused(ErrorCode::parse(&message.payload))),
            Incoming::TooLong { .. } => Err(Failure::DirectoryTooLarge),
        };
        Ok(Answer { waiting, outcome })
    }

    pub fn take_all(&mut self) -> impl Iterator<Item = Waiting> {
        std::mem::take(&mut self.waiting).into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Message, TxId};

    fn answer(kind: MessageType, request: RequestId) -> Incoming {
        let payload = Bytes::from_static(b"ENOENT\0");
        Incoming::Message(Message { kind, request, transaction: TxId::NONE, payload })
    }

    #[test]
    fn settles_only_what_was_asked() {
        let mut pending = Pending { last: u32::MAX - 1, ..Pending::default() };
        let first = pending.add(Waiting::Nobody { kind: MessageType::Unwatch });
        let second = pending.add(Waiting::Nobody { kind: MessageType::Unwatch });
        assert_eq!((first, second), (RequestId(u32::MAX), RequestId(1)), "0 is skipped");

        assert_eq!(
            pending.settle(answer(MessageType::Unwatch, RequestId(77))).err(),
            Some(WireError::UnmatchedRequest(77))
        );
        let unrelated = pending.settle(answer(MessageType::Read, first)).err();
        assert!(matches!(unrelated, Some(WireError::UnrelatedAnswer { .. })));
        assert_eq!(pending.len(), 2, "who waits is not lost with a wrong answer");

        let refused = pending.settle(answer(MessageType::Error, first)).ok().map(|answer| answer.outcome);
        assert_eq!(refused, Some(Err(Failure::Refused(ErrorCode::Enoent))));
        assert!(pending.settle(answer(MessageType::Unwatch, second)).is_ok());
        assert!(pending.settle(answer(MessageType::Unwatch, second)).is_err(), "answered twice");
    }

    #[test]
    fn only_a_directory_is_too_long() {
        let mut pending = Pending::default();
        let list = pending.add(Waiting::Nobody { kind: MessageType::Directory });
        let read = pending.add(Waiting::Nobody { kind: MessageType::Read });
        let outcome = |answer: Result<Answer, WireError>| answer.map(|answer| answer.outcome);
        let too_long = |request| Incoming::TooLong { request };
        assert_eq!(outcome(pending.settle(too_long(list))), Ok(Err(Failure::DirectoryTooLarge)));
        let (asked, answered) = (MessageType::Read, MessageType::Directory);
        let unrelated = Err(WireError::UnrelatedAnswer { asked, answered });
        assert_eq!(outcome(pending.settle(too_long(read))), unrelated);
        assert_eq!(pending.len(), 1, "who waits for another answer is not lost");
    }
}
