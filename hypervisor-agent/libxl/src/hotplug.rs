//! Who makes the dom0 end of a guest's disks and NICs: a script of ours, or Xen's own.
//!
//! libxl runs a script for each device. Xen's are general, fork some forty times and hold one lock for all disks of the
//! host, so that many starts at once queue up. Ours ([`TEXT`]) knows what we give it: block devices, whose one writer we
//! see to ourselves, and bridges of Linux. It is a file, since libxl has its path in xenstore for as long as the device
//! is there: a later agent, or `xl`, takes the device away with it.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use xenith_hypervisor_agent_types::PlatformKind;

const TEXT: &str = include_str!("hotplug.sh");
const NAME: &str = "hotplug";

/// The script that libxl runs for disks and NICs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hotplug {
    /// `block` and `vif-bridge`, or what `xl.conf` says.
    Xens,
    Own(PathBuf),
}

impl Hotplug {
    /// Puts our script into this folder. Where nothing there can be run, Xen's own do: slower, but they do.
    pub fn install(folder: &Path) -> Self {
        match put(folder) {
            Ok(script) => Self::Own(script),
            Err(error) => {
                let folder = folder.display();
                tracing::warn!(%error, %folder, "no script of ours can be run there; Xen's own make devices, more slowly");
                Self::Xens
            }
        }
    }

    /// HVM guests keep Xen's own: QEMU takes their emulated disks and cards from what these leave, and has not been tried
    /// on what ours leaves.
    #[must_use]
    pub fn of(&self, kind: PlatformKind) -> Self {
        if kind == PlatformKind::Hvm { Self::Xens } else { self.clone() }
    }

    /// Names it in a `libxl_device_disk` or `libxl_device_nic`.
    pub fn name(&self, device: &mut Value) {
        if let Self::Own(script) = self {
            device["script"] = json!(script);
        }
    }
}

/// Written anew only when it differs: libxl may be running it.
fn put(folder: &Path) -> io::Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let script = folder.join(NAME);
    if fs::read(&script).ok().as_deref() != Some(TEXT.as_bytes()) {
        let part = folder.join(format!("{NAME}.part"));
        fs::write(&part, TEXT)?;
        fs::set_permissions(&part, Permissions::from_mode(0o755))?;
        fs::rename(&part, &script)?;
    }
    // A folder may be mounted noexec.
    let mut check = Command::new(&script);
    check.arg("check").env("XENBUS_TYPE", "").env("XENBUS_PATH", "").stdin(Stdio::null());
    let status = check.status()?;
    if !status.success() {
        return Err(io::Error::new(
            ErrorKind::Unsupported,
            format!("{} ends with {status}", script.display()),
        ));
    }
    Ok(script)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Xen's: it says what it read before the first key that is not there.
    const XENSTORE_READ: &str = r#"#!/bin/sh
        for key; do
            case $key in
            backend/vif/5/0/bridge) echo xp-b302099a8057 ;;
            backend/vif/6/0/bridge) exit 1 ;;
            */bridge) echo lo ;;
            backend/vif/3/0/vifname | backend/vif/9/0/vifname) echo x002OV00001 ;;
            backend/vbd/3/51712/params) echo "$DEVICE" ;;
            *) echo "couldn't read path $key" >&2; exit 1 ;;
            esac
        done"#;
    /// What else the script calls, as it calls it: a line per call in `calls`.
    const XENSTORE_WRITE: &str = r#"#!/bin/sh
        echo "write $*" >>"$CALLS""#;
    const IP: &str = r#"#!/bin/sh
        echo "ip $*" >>"$CALLS"
        case $4 in *9.0) echo "Cannot find device" >&2; exit 1 ;; esac"#;

    struct Dom0 {
        folder: tempfile::TempDir,
        script: PathBuf,
    }

    impl Dom0 {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let Hotplug::Own(script) = Hotplug::install(&folder.path().join("scripts")) else {
                panic!("scripts cannot be run in {}", folder.path().display())
            };
            for (name, text) in
                [("xenstore-read", XENSTORE_READ), ("xenstore-write", XENSTORE_WRITE), ("ip", IP)]
            {
                let program = folder.path().join(name);
                fs::write(&program, text).unwrap();
                fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
            }
            Self { folder, script }
        }

        /// Whether it ended well, and what it called.
        fn run(&self, kind: &str, path: &str, arguments: &[&str], device: &str) -> (bool, Vec<String>) {
            let calls = self.folder.path().join("calls");
            let _none_yet = fs::remove_file(&calls);
            let mut script = Command::new(&self.script);
            let own = self.folder.path().display();
            script.env("PATH", format!("{own}:{}", std::env::var("PATH").unwrap_or_default()));
            script.env("CALLS", &calls).env("DEVICE", device).env("vif", device).env("INTERFACE", device);
            script.env("XENBUS_TYPE", kind).env("XENBUS_PATH", path).args(arguments);
            let status = script.stderr(Stdio::null()).status().unwrap();
            let calls = fs::read_to_string(&calls).unwrap_or_default();
            (status.success(), calls.lines().map(str::to_owned).collect())
        }
    }

    /// Any block device of this machine, with its numbers as xenstore has them.
    fn block_device() -> Option<(String, String)> {
        fs::read_dir("/sys/class/block").ok()?.flatten().find_map(|entry| {
            let device = format!("/dev/{}", entry.file_name().to_str()?);
            let number = fs::read_to_string(entry.path().join("dev")).ok()?;
            let (major, minor) = number.trim().split_once(':')?;
            let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
            Path::new(&device).exists().then(|| (device, format!("{major:x}:{minor:x}")))
        })
    }

    #[test]
    fn a_disk_is_told_by_its_device() {
        let dom0 = Dom0::new();
        let path = "backend/vbd/3/51712";
        match block_device() {
            Some((device, number)) => {
                let expected = format!(
                    "write {path}/physical-device {number} {path}/physical-device-path {device} {path}/hotplug-status connected"
                );
                assert_eq!(dom0.run("vbd", path, &["add"], &device), (true, vec![expected]));
            }
            None => eprintln!("no block device on this machine to try it with"),
        }
        let (good, calls) = dom0.run("vbd", path, &["add"], "/dev/null");
        assert!(!good);
        let said =
            format!("write {path}/hotplug-error /dev/null is not a block device {path}/hotplug-status error");
        assert_eq!(calls, [said]);
        assert_eq!(dom0.run("vbd", path, &["remove"], "/dev/null"), (true, vec![]));
    }

    #[test]
    fn a_nic_joins_its_bridge_under_its_name_and_with_its_mtu() {
        let dom0 = Dom0::new();
        let mtu = fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
        let mtu = mtu.trim();
        let joins = |port: &str, name: &str| {
            format!("ip link set dev {port} name {name} addrgenmode none mtu {mtu} master lo up")
        };
        let (path, online) = ("backend/vif/3/0", ["online", "type_if=vif"]);
        let told = format!("write /local/domain/3/device/vif/0/mtu {mtu} {path}/hotplug-status connected");
        let online_is = (true, vec![joins("vif3.0", "x002OV00001"), told]);
        assert_eq!(dom0.run("vif", path, &online, "vif3.0"), online_is);
        let tap = dom0.run("vif", path, &["add", "type_if=tap"], "vif3.0-emu");
        assert_eq!(tap, (true, vec![joins("vif3.0-emu", "x002OV00001-emu")]));
        let (good, calls) = dom0.run("vif", "backend/vif/9/0", &online, "vif9.0");
        assert!(
            !good && calls[1].contains("vif9.0 cannot join the bridge lo as x002OV00001: Cannot find device"),
            "{calls:?}"
        );
        for gone in [["offline", "type_if=vif"], ["remove", "type_if=tap"]] {
            assert_eq!(dom0.run("vif", path, &gone, "vif3.0"), (true, vec![]));
        }
    }

    #[test]
    fn a_nic_that_no_rule_would_find_joins_no_bridge() {
        let dom0 = Dom0::new();
        for (path, why) in [
            ("backend/vif/4/0", "vif4.0 has no name in xenstore"),
            ("backend/vif/6/0", "vif4.0 is of no bridge"),
            // That of a proof needs no name, and is not on this machine.
            ("backend/vif/5/0", "there is no bridge xp-b302099a8057"),
        ] {
            let (good, calls) = dom0.run("vif", path, &["online", "type_if=vif"], "vif4.0");
            assert!(!good && calls.len() == 1 && calls[0].contains(why), "{path}: {calls:?}");
        }
    }

    #[test]
    fn where_nothing_can_be_put_xens_own_do() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(Hotplug::install(file.path()), Hotplug::Xens);
        let mut device = json!({});
        Hotplug::Xens.name(&mut device);
        assert_eq!(device, json!({}));
        let own = Hotplug::Own("/var/lib/xenith/hotplug".into());
        assert_eq!(
            PlatformKind::ALL.map(|kind| own.of(kind) == own).into_iter().filter(|own| *own).count(),
            2
        );
    }
}
