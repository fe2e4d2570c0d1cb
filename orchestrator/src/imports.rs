//! What is known of imports between two writes: how far their disks are, where hosts take uploads; and how fast disks went
//! from SR to SR. Rebuilt by the sagas after a start; a list or a task that asks meanwhile sees zeros, never a wrong end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use xenith_common_ids::{HostId, ImportId, ImportSourceId, SrId, VdiId};

/// Passes over VMs of one source that only follow, at a time: hundreds of VMs wait for their cut-over, and each pass is a
/// snapshot there. The caps of waves are about first copies; last passes wait for nobody.
const FOLLOWING: usize = 8;
/// How long a password that a source refused is not tried again. vCenter locks an account after five refusals in three minutes,
/// for everybody who has it, and an import waits for weeks.
const NOT_AGAIN_FOR: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Default)]
pub struct LiveImports {
    disks: Mutex<HashMap<ImportId, HashMap<VdiId, u64>>>,
    ports: Mutex<HashMap<HostId, u16>>,
    /// VDIs that wait to be sent: what their tickets hash to, once there is one.
    tickets: Mutex<HashMap<VdiId, Option<String>>>,
    following: Mutex<HashMap<ImportSourceId, Arc<Semaphore>>>,
    /// Which password, as it is kept, and when.
    refused: Mutex<HashMap<ImportSourceId, (Vec<u8>, Instant)>>,
    /// Bytes a second.
    rates: Mutex<HashMap<(SrId, SrId), u64>>,
    nudged: Notify,
}

impl LiveImports {
    /// A disk of so many bytes was copied from one SR to another without a limit.
    pub fn note_copy(&self, between: (SrId, SrId), (bytes, milliseconds): (u64, u64)) {
        let rate = u128::from(bytes) * 1000 / u128::from(milliseconds.max(1));
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).insert(between, rate);
    }

    /// How fast the last copy went, bytes of the disk a second; holes count as if they had been sent.
    #[must_use]
    pub fn copy_rate(&self, between: (SrId, SrId)) -> Option<u64> {
        self.rates.lock().unwrap_or_else(PoisonError::into_inner).get(&between).copied()
    }

    /// Bytes that are behind us, by VDI.
    #[must_use]
    pub fn of(&self, import: ImportId) -> HashMap<VdiId, u64> {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner).get(&import).cloned().unwrap_or_default()
    }

    pub fn set(&self, import: ImportId, vdi: VdiId, done: u64) {
        let mut disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner);
        disks.entry(import).or_default().insert(vdi, done);
    }

    pub fn forget(&self, import: ImportId) {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner).remove(&import);
    }

    /// Where a host takes uploads, as it last said.
    #[must_use]
    pub fn port(&self, host: HostId) -> Option<u16> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).get(&host).copied()
    }

    pub fn set_port(&self, host: HostId, port: u16) {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).insert(host, port);
    }

    /// From now on the VDI waits to be sent; its ticket, if one was issued.
    pub fn wait_for(&self, vdi: VdiId) -> Option<String> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner).entry(vdi).or_default().clone()
    }

    /// A later ticket ends the one before. `false`: the VDI waits for nobody.
    #[must_use]
    pub fn set_ticket(&self, vdi: VdiId, hash: String) -> bool {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        tickets.get_mut(&vdi).map(|ticket| *ticket = Some(hash)).is_some()
    }

    pub fn forget_ticket(&self, vdi: VdiId) {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner).remove(&vdi);
    }

    /// Where a pass of an import that follows waits for its turn.
    #[must_use]
    pub fn following(&self, source: ImportSourceId) -> Arc<Semaphore> {
        let mut following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(following.entry(source).or_insert_with(|| Arc::new(Semaphore::new(FOLLOWING))))
    }

    /// The source refused this password.
    pub fn note_refused(&self, source: ImportSourceId, sealed: Vec<u8>) {
        let since = Instant::now();
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(source, (sealed, since));
    }

    /// Whether it is this password that the source refused a while ago. One that was told anew is kept as something else, even
    /// where it is the same.
    #[must_use]
    pub fn was_refused(&self, source: ImportSourceId, sealed: &[u8]) -> bool {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.get(&source).is_some_and(|(of, since)| of == sealed && since.elapsed() < NOT_AGAIN_FOR)
    }

    /// Somebody decided something: sagas that wait look again.
    pub fn nudge(&self) {
        self.nudged.notify_waiters();
    }

    /// Returns at the next nudge after this call, whenever it is waited for.
    pub fn nudged(&self) -> tokio::sync::futures::Notified<'_> {
        self.nudged.notified()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_follow_a_source_at_a_time() {
        let live = LiveImports::default();
        let (source, another) = (ImportSourceId::new(), ImportSourceId::new());
        let turn = |source| live.following(source).try_acquire_owned();
        let turns: Vec<_> = (0..FOLLOWING).map(|_| turn(source).unwrap()).collect();
        assert!(turn(source).is_err(), "one more than there may be");
        assert!(turn(another).is_ok(), "another source has its own");
        drop(turns);
        assert!(turn(source).is_ok());
    }

    #[test]
    fn a_password_that_was_refused_is_not_tried_again_before_it_is_told_anew() {
        let live = LiveImports::default();
        let (source, another) = (ImportSourceId::new(), ImportSourceId::new());
        assert!(!live.was_refused(source, b"sealed"));
        live.note_refused(source, b"sealed".to_vec());
        assert!(live.was_refused(source, b"sealed"));
        assert!(!live.was_refused(source, b"sealed anew"), "an administrator has told it again");
        assert!(!live.was_refused(another, b"sealed"));
    }
}
