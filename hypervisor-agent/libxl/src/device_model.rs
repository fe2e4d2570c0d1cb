//! Whether a domain's device model (QEMU) is still there.
//!
//! Its screen is a port and its serial line a pseudo-terminal, both found by the numbers that are noted in xenstore. They
//! stay noted when QEMU ends, which a guest can bring about; the numbers are free then, and the next to get one may be
//! another guest's QEMU, or a login of this host. What always holds: nobody is led to a number whose QEMU is gone.

use std::path::Path;

use xenith_common_ids::DomId;
use xenith_hypervisor_agent_backend::HypervisorError;
use xenith_hypervisor_agent_types::{ConsolePaths, PlatformKind};
use xenith_hypervisor_agent_xenstore::Xenstore;

use crate::store;

/// What of `paths` is the domain's own. The serial line of a guest that is not HVM is xenconsoled's.
pub async fn own(
    store: &Xenstore,
    (domid, kind): (DomId, PlatformKind),
    paths: ConsolePaths,
) -> Result<ConsolePaths, HypervisorError> {
    let is_hvm = kind == PlatformKind::Hvm;
    let has_any = paths.vnc_port.is_some() || (is_hvm && paths.serial.is_some());
    if !has_any || !has_ended(store, domid).await? {
        return Ok(paths);
    }
    if is_hvm {
        let detail = "its device model (QEMU) has ended, which its log in /var/log/xen may explain; power the VM off and \
                      start it again";
        return Err(HypervisorError::Device {
            device: format!("the consoles of domain {domid}"),
            detail: detail.to_owned(),
        });
    }
    Ok(ConsolePaths { vnc_port: None, ..paths })
}

/// `false` also where none is noted.
async fn has_ended(store: &Xenstore, domid: DomId) -> Result<bool, HypervisorError> {
    let Some(pid) = store::device_model(store, domid).await? else { return Ok(false) };
    let runs = tokio::task::spawn_blocking(move || runs(Path::new("/proc"), pid, domid)).await;
    Ok(!runs.unwrap_or(false))
}

/// Whether the process is this domain's QEMU: also its number may be another's by now.
fn runs(processes: &Path, pid: u32, domid: DomId) -> bool {
    let line = std::fs::read(processes.join(pid.to_string()).join("cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let domid = domid.to_string();
    words.windows(2).any(|pair| pair[0] == b"-xen-domid" && pair[1] == domid.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_the_domains_qemu_or_not() {
        let processes = tempfile::tempdir().unwrap();
        let own = processes.path().join("7");
        std::fs::create_dir(&own).unwrap();
        for (case, line, expected) in [
            ("its own", "/usr/lib/xen/bin/qemu\0-xen-domid\x0012\0-no-shutdown\0", true),
            ("another domain's", "/usr/lib/xen/bin/qemu\0-xen-domid\x00121\0", false),
            ("in another place", "/usr/lib/xen/bin/qemu\0-xen-domid\x001\0-smp\x0012\0", false),
            ("another program", "sshd\0", false),
            ("one that has ended and was not waited for", "", false),
        ] {
            std::fs::write(own.join("cmdline"), line).unwrap();
            assert_eq!(runs(processes.path(), 7, DomId(12)), expected, "{case}");
        }
        assert!(!runs(processes.path(), 8, DomId(12)), "there is none");
    }
}
