//! The connections of one try to send a memory find each other.
//!
//! The first says how many there are, and waits for the others; one that comes before it waits for it. They are of one try
//! by an id that the sender makes for it, so that what an earlier one has left takes no part. Nothing is read from any of
//! them before all are there: what waits is in the kernel's buffers, and no longer than [`WAIT`].

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;
use xenith_common_tasks::CancellationToken;

use super::arrive::CHUNKS;
use super::streams::StreamCount;

/// They are made at once: whoever is not there by then has not got through.
const WAIT: Duration = Duration::from_secs(20);

/// Of one arrival.
pub struct Gathering {
    wait: Duration,
    open: Mutex<Option<Open>>,
    changed: Notify,
}

struct Open {
    attempt: Uuid,
    over: CancellationToken,
    /// For who has not come yet.
    free: HashMap<u8, mpsc::Sender<Bytes>>,
}

impl Default for Gathering {
    fn default() -> Self {
        Self { wait: WAIT, open: Mutex::default(), changed: Notify::default() }
    }
}

impl Gathering {
    fn state(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a try. What comes over the second connection and those after it, in their order.
    pub fn open(
        &self,
        attempt: Uuid,
        streams: StreamCount,
        over: &CancellationToken,
    ) -> Vec<mpsc::Receiver<Bytes>> {
        let mut free = HashMap::new();
        let others = (1..u8::from(streams)).map(|stream| {
            let (sender, receiver) = mpsc::channel(CHUNKS);
            free.insert(stream, sender);
            receiver
        });
        let others = others.collect();
        *self.state() = Some(Open { attempt, over: over.clone(), free });
        self.changed.notify_waiters();
        others
    }

    /// Waits for the others. `Err`: how many have not come in time.
    pub async fn all_there(&self, over: &CancellationToken) -> Result<(), usize> {
        let missing = || self.state().as_ref().map_or(0, |open| open.free.len());
        let look = || (missing() == 0).then_some(());
        self.until(look, over).await.ok_or_else(missing)
    }

    /// The place of another connection, once its try has begun. `None`: there is no such try, or somebody has the place.
    pub async fn enter(
        &self,
        (attempt, stream): (Uuid, u8),
        ended: &CancellationToken,
    ) -> Option<(mpsc::Sender<Bytes>, CancellationToken)> {
        let look = || {
            let mut state = self.state();
            let open = state.as_mut().filter(|open| open.attempt == attempt)?;
            let sender = open.free.remove(&stream);
            Some(sender.map(|sender| (sender, open.over.clone())))
        };
        let place = self.until(look, ended).await.flatten();
        self.changed.notify_waiters();
        place
    }

    /// Ends the try: what has no connection by now does not get one.
    pub fn close(&self) {
        *self.state() = None;
    }

    async fn until<T>(&self, look: impl Fn() -> Option<T>, ended: &CancellationToken) -> Option<T> {
        let deadline = Instant::now() + self.wait;
        loop {
            // Before the look, so that a change right after it is not missed.
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(found) = look() {
                return Some(found);
            }
            tokio::select! {
                () = ended.cancelled() => return None,
                changed = timeout_at(deadline, changed) => changed.ok()?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> StreamCount {
        StreamCount::try_from(3).unwrap()
    }

    #[tokio::test]
    async fn connections_of_one_try_find_each_other_in_any_order() {
        for early in [true, false] {
            let (gathering, token, attempt) =
                (Gathering::default(), CancellationToken::new(), Uuid::from_u128(7));
            let enters = async |stream| {
                let (sender, _) = gathering.enter((attempt, stream), &token).await.unwrap();
                sender.send(Bytes::copy_from_slice(&[stream])).await.unwrap();
            };
            let opens = async {
                if early {
                    // The others are polled, and wait.
                    tokio::task::yield_now().await;
                }
                let others = gathering.open(attempt, three(), &token);
                gathering.all_there(&token).await.unwrap();
                others
            };
            let (mut others, (), ()) = tokio::join!(opens, enters(2), enters(1));
            for (receiver, stream) in others.iter_mut().zip(1_u8..) {
                assert_eq!(receiver.recv().await.unwrap()[..], [stream], "early: {early}");
            }
        }
    }

    #[tokio::test]
    async fn who_does_not_belong_to_it_or_comes_twice_has_no_place() {
        let gathering = Gathering { wait: Duration::from_millis(20), ..Gathering::default() };
        let (token, attempt) = (CancellationToken::new(), Uuid::from_u128(7));
        let _others = gathering.open(attempt, three(), &token);
        assert!(gathering.enter((attempt, 1), &token).await.is_some());
        assert!(gathering.enter((attempt, 1), &token).await.is_none(), "twice");
        assert!(gathering.enter((attempt, 0), &token).await.is_none(), "the first has its own way");
        assert!(gathering.enter((attempt, 3), &token).await.is_none(), "one too many");
        assert!(gathering.enter((Uuid::from_u128(8), 2), &token).await.is_none(), "of another try");
        assert_eq!(gathering.all_there(&token).await, Err(1));
        gathering.close();
        assert!(gathering.enter((attempt, 2), &token).await.is_none(), "it is over");
    }

    #[tokio::test]
    async fn nobody_waits_for_what_has_ended() {
        let (gathering, token) = (Gathering::default(), CancellationToken::new());
        token.cancel();
        assert!(gathering.enter((Uuid::nil(), 1), &token).await.is_none());
        let _others = gathering.open(Uuid::nil(), three(), &token);
        assert_eq!(gathering.all_there(&token).await, Err(2));
    }

    #[tokio::test]
    async fn one_connection_waits_for_no_other() {
        let (gathering, token) = (Gathering::default(), CancellationToken::new());
        assert!(gathering.open(Uuid::nil(), StreamCount::ONE, &token).is_empty());
        assert_eq!(gathering.all_there(&token).await, Ok(()));
    }
}
