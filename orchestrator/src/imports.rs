//! What is known of imports between two writes: how far their disks are, where hosts take uploads. Rebuilt by the
//! sagas after a start; a list or a task that asks meanwhile sees zeros, never a wrong end.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;
use xenith_common_ids::{HostId, ImportId, VdiId};

#[derive(Debug, Default)]
pub struct LiveImports {
    disks: Mutex<HashMap<ImportId, HashMap<VdiId, u64>>>,
    ports: Mutex<HashMap<HostId, u16>>,
    /// VDIs that wait to be sent: what their tickets hash to, once there is one.
    tickets: Mutex<HashMap<VdiId, Option<String>>>,
    nudged: Notify,
}

impl LiveImports {
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

    /// Somebody decided something: sagas that wait look again.
    pub fn nudge(&self) {
        self.nudged.notify_waiters();
    }

    /// Returns at the next nudge after this call, whenever it is waited for.
    pub fn nudged(&self) -> tokio::sync::futures::Notified<'_> {
        self.nudged.notified()
    }
}
