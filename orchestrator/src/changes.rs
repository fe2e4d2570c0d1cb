//! Of which nouns something was changed by a call: for those who show lists that have no subscription of their own.
//!
//! It is a hint to read again, no state: nothing is kept, and a subscriber that is too slow hears that it missed some. What
//! hosts change, and what tasks and the scheduler do, is not in here; rows, tasks and events have subscriptions for that.
//! What is seen of SRs from time to time, what hosts say of networks, what is wrong with high availability, and what
//! `system.health` counts has none, and is told here.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;
use std::time::Duration;

use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender};
use xenith_orchestrator_api::{Caller, methods};
use xenith_orchestrator_types::Permission;

/// Calls that a subscriber may be behind: a burst of them is gathered into one message a noun.
const BEHIND: usize = 1024;
/// Calls that come together are told together.
const GATHER: Duration = Duration::from_millis(50);

/// What reading a noun needs. One that cannot be read is not here.
static READING: LazyLock<HashMap<&'static str, Permission>> = LazyLock::new(|| {
    let mut reading = HashMap::new();
    for info in methods() {
        if let Some((noun, "list" | "get" | "show" | "health")) = info.name.split_once('.') {
            reading.entry(noun).or_insert(info.permission);
        }
    }
    reading
});

#[derive(Debug)]
pub struct Changes(Sender<&'static str>);

impl Default for Changes {
    fn default() -> Self {
        Self(Sender::new(BEHIND))
    }
}

/// What one message tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Changed {
    Nouns(BTreeSet<&'static str>),
    /// Too many to know which.
    Many,
}

impl Changes {
    /// A call of this method has changed something.
    pub fn note(&self, method: &'static str) {
        if let Some((noun, _)) = method.split_once('.') {
            self.note_noun(noun);
        }
    }

    /// Something of this noun has changed without a call.
    pub fn note_noun(&self, noun: &'static str) {
        let _nobody_listens = self.0.send(noun);
    }

    #[must_use]
    pub fn subscribe(&self) -> Receiver<&'static str> {
        self.0.subscribe()
    }
}

/// Waits for the next changes. `None`: there will be no more.
pub async fn next(live: &mut Receiver<&'static str>) -> Option<Changed> {
    let mut nouns = BTreeSet::new();
    match live.recv().await {
        Ok(noun) => nouns.insert(noun),
        Err(RecvError::Lagged(_)) => return Some(Changed::Many),
        Err(RecvError::Closed) => return None,
    };
    tokio::time::sleep(GATHER).await;
    loop {
        match live.try_recv() {
            Ok(noun) => nouns.insert(noun),
            Err(TryRecvError::Lagged(_)) => return Some(Changed::Many),
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Some(Changed::Nouns(nouns)),
        };
    }
}

/// Who may not read a noun does not hear that somebody changed something of it.
#[must_use]
pub fn may_hear(caller: &Caller, noun: &str) -> bool {
    READING.get(noun).is_some_and(|permission| caller.check(*permission).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenith_common_ids::UserId;
    use xenith_orchestrator_types::{Binding, Role, Scope};

    #[tokio::test]
    async fn what_comes_together_is_told_once() {
        let changes = Changes::default();
        let mut live = changes.subscribe();
        for method in ["network.create", "network.delete", "user.update"] {
            changes.note(method);
        }
        changes.note_noun("sr");
        assert_eq!(next(&mut live).await, Some(Changed::Nouns(BTreeSet::from(["network", "sr", "user"]))));
        for _ in 0..=BEHIND {
            changes.note("pool.create");
        }
        assert_eq!(next(&mut live).await, Some(Changed::Many));
        drop(changes);
        while next(&mut live).await.is_some() {}
    }

    #[test]
    fn who_may_read_a_noun_hears_of_it() {
        let with = |role, scope| Caller {
            user: Some(UserId::new()),
            bindings: vec![Binding { role, scope }],
            ..Caller::anonymous(None)
        };
        let (viewer, admin) = (with(Role::Viewer, Scope::Tag("dev".into())), with(Role::Admin, Scope::All));
        let heard = |caller: &Caller| {
            let nouns = ["network", "token", "user", "mail", "system", "auth", "nothing"];
            nouns.into_iter().filter(|noun| may_hear(caller, noun)).collect::<Vec<_>>()
        };
        assert_eq!(heard(&viewer), ["network", "token", "system"]);
        assert_eq!(heard(&admin), ["network", "token", "user", "mail", "system"]);
        assert!(heard(&Caller::anonymous(None)).is_empty());
    }
}
