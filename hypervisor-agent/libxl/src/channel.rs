//! The channel to a guest's agent: a second PV console, whose end in dom0 is a unix socket of QEMU's.
//!
//! It is made with the domain (`channels` in libxl's configuration) and is `/dev/hvc1` in a Linux guest: the console
//! itself, with the id 0, is `hvc0`. QEMU takes away what has the socket's name from before. Where the socket is, is read
//! back from libxl's own part of xenstore, which no guest writes.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use xenith_common_ids::{DomId, VmId};
use xenith_hypervisor_agent_backend::HypervisorError;

/// Emptied with each boot, as domains are. Names in it stay far below the 107 bytes that a socket's may have.
const FOLDER: &str = "/run/xenith/guest-agent";
/// What agents look for, and `xl channel-list` shows.
const NAME: &str = "org.qemu.guest_agent.0";
const DEVID: u32 = 1;

/// `libxl_device_channel`.
pub fn channel(vm: VmId) -> Value {
    let path = Path::new(FOLDER).join(vm.to_string());
    json!({ "devid": DEVID, "name": NAME, "connection.socket": { "path": path } })
}

/// Who reaches a socket in it speaks with the guest as root does.
pub fn ensure_folder() -> Result<(), HypervisorError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(FOLDER);
    made.map_err(|error| HypervisorError::Device {
        device: "the channel to the guest agent".to_owned(),
        detail: format!("{FOLDER} cannot be made: {error}"),
    })
}

/// Where libxl notes the socket of a domain's channel.
pub fn node(domid: DomId) -> String {
    format!("/libxl/{domid}/device/console/{DEVID}/path")
}

/// Only what we made is used.
pub fn socket(noted: &str) -> Option<PathBuf> {
    let path = PathBuf::from(noted.trim());
    (path.parent() == Some(Path::new(FOLDER))).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_found_again() {
        let vm = VmId::new();
        let channel = channel(vm);
        let path = channel["connection.socket"]["path"].as_str().unwrap();
        assert_eq!(socket(&format!("{path}\n")), Some(PathBuf::from(path)));
        assert!(path.len() < 108);
        for foreign in ["", "/tmp/x", "/run/xenith/guest-agent/../x/y", "/run/xenith/guest-agent"] {
            assert_eq!(socket(foreign), None, "{foreign}");
        }
        assert_eq!(node(DomId(7)), "/libxl/7/device/console/1/path");
    }
}
