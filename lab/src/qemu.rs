//! The command line of one host: pure, so that it can be read in a test.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::accel::Accel;
use crate::rootfs::Rootfs;

/// Port of the agent inside the host.
const AGENT_PORT: u16 = 8444;

/// Sizes of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// All memory of the machine, MiB.
    pub memory_mib: u32,
    /// What dom0 gets of it, MiB; the rest is for guests.
    pub dom0_mib: u32,
    /// The second disk, GiB, sparse: room for an LVM-thin pool.
    pub data_gib: u32,
}

impl Default for Sizes {
    /// dom0 rests at 80 MiB; 1 GiB leaves room for an agent's debug build and a device model.
    fn default() -> Self {
        Self { memory_mib: 3072, dom0_mib: 1024, data_gib: 16 }
    }
}

/// The host's end of the LAN that lab hosts share: datagrams over two Unix sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LanPort {
    /// The socket QEMU binds.
    pub local: PathBuf,
    /// The socket it sends to, the switch's.
    pub remote: PathBuf,
}

/// The address of a host of this number on that LAN.
pub(crate) const fn lan_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, number)
}

/// Everything QEMU is told.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub name: &'a str,
    /// 1 for the first host of a lab: last number of its addresses.
    pub number: u8,
    pub accel: Accel,
    pub sizes: Sizes,
    pub rootfs: &'a Rootfs,
    pub root_disk: &'a Path,
    pub data_disk: &'a Path,
    pub console: &'a Path,
    pub qmp: &'a Path,
    pub ssh_port: u16,
    pub agent_port: u16,
    pub upload_port: u16,
    pub lan: Option<&'a LanPort>,
}

impl Machine<'_> {
    pub fn arguments(&self) -> Vec<OsString> {
        let Sizes { memory_mib, .. } = self.sizes;
        let mut args: Vec<OsString> = Vec::new();
        let mut add = |option: &str, value: String| {
            args.push(option.into());
            args.push(value.into());
        };
        add("-name", format!("xenith-lab-{}", self.name));
        add("-machine", "q35".into());
        add("-accel", self.accel.accel_argument().into());
        add("-cpu", self.accel.cpu_argument());
        add("-m", memory_mib.to_string());
        add("-smp", self.accel.cpus().to_string());
        add("-kernel", plain(&self.rootfs.xen()));
        add("-append", self.xen_arguments());
        // Multiboot modules: "file arguments,file". A comma inside is doubled.
        add(
            "-initrd",
            format!(
                "{} {},{}",
                commas(&self.rootfs.kernel()),
                self.dom0_arguments(),
                commas(&self.rootfs.initrd())
            ),
        );
        for (id, disk) in [("root", self.root_disk), ("data", self.data_disk)] {
            // Write-back with flushes honoured: what dom0 has flushed survives a power cut, the rest does not.
            add(
                "-drive",
                format!("if=none,id={id},format=qcow2,cache=writeback,discard=unmap,file={}", commas(disk)),
            );
            add("-device", format!("virtio-blk-pci,drive={id},serial={id}"));
        }
        add(
            "-netdev",
            format!(
                "user,id=wan,hostfwd=tcp:127.0.0.1:{}-:22,hostfwd=tcp:127.0.0.1:{}-:{AGENT_PORT},\
                 hostfwd=tcp:127.0.0.1:{uploads}-:{uploads}",
                self.ssh_port,
                self.agent_port,
                uploads = self.upload_port
            ),
        );
        add("-device", format!("virtio-net-pci,netdev=wan,mac=52:54:00:77:00:{:02x}", self.number));
        if let Some(lan) = self.lan {
            add(
                "-netdev",
                format!(
                    "dgram,id=lan,local.type=unix,local.path={},remote.type=unix,remote.path={}",
                    commas(&lan.local),
                    commas(&lan.remote)
                ),
            );
            add("-device", format!("virtio-net-pci,netdev=lan,mac=52:54:00:77:01:{:02x}", self.number));
        }
        add("-chardev", format!("file,id=console,append=on,path={}", commas(self.console)));
        add("-serial", "chardev:console".into());
        add("-qmp", format!("unix:{},server=on,wait=off", commas(self.qmp)));
        add("-display", "none".into());
        // No VGA, floppy or CD: dom0 would load drivers for them.
        args.push("-nodefaults".into());
        args
    }

    /// `bootscrub=0`: QEMU's memory is zero, and scrubbing 2 GiB under emulation took half of the boot time.
    /// `guest_loglvl`: why Xen ended a guest stands on the host's console, and nowhere else.
    fn xen_arguments(&self) -> String {
        let dom0 = self.sizes.dom0_mib;
        format!("dom0_mem={dom0}M,max:{dom0}M console=com1 com1=115200,8n1 bootscrub=0 guest_loglvl=warning")
    }

    fn dom0_arguments(&self) -> String {
        // Commas separate modules, so none may stand here.
        let lan = if self.lan.is_some() {
            let address = lan_address(self.number);
            format!(" ip={address}::{address}:255.255.255.0::eth1:off")
        } else {
            String::new()
        };
        format!("console=hvc0 root=/dev/vda rw net.ifnames=0 systemd.hostname={}{lan}", self.name)
    }
}

fn plain(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// QEMU's option parser takes a doubled comma for a comma.
fn commas(path: &Path) -> String {
    plain(path).replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::LabPaths;

    fn arguments(lan: Option<&LanPort>) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let paths = LabPaths::at(dir.path());
        std::fs::create_dir_all(paths.rootfs().join("abc")).unwrap();
        std::fs::write(paths.rootfs().join("abc/root.qcow2"), "").unwrap();
        let rootfs = Rootfs::by_hash(&paths, "abc").unwrap();
        let machine = Machine {
            name: "xen2",
            number: 2,
            accel: Accel::Tcg,
            sizes: Sizes::default(),
            rootfs: &rootfs,
            root_disk: Path::new("/a,b/root.qcow2"),
            data_disk: Path::new("/d/data.qcow2"),
            console: Path::new("/d/console.log"),
            qmp: Path::new("/d/qmp"),
            ssh_port: 2201,
            agent_port: 2202,
            upload_port: 2203,
            lan,
        };
        machine.arguments().into_iter().map(|a| a.into_string().unwrap()).collect()
    }

    fn value<'a>(args: &'a [String], option: &str) -> Vec<&'a str> {
        args.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].as_str()).collect()
    }

    #[test]
    fn xen_gets_the_kernel_and_the_initrd_as_modules() {
        let args = arguments(None);
        let modules = value(&args, "-initrd")[0];
        assert_eq!(modules.split(',').count(), 2, "{modules}");
        assert!(modules.contains("vmlinuz console=hvc0 root=/dev/vda"));
        assert!(modules.ends_with("/initrd.img"));
        assert!(value(&args, "-append")[0].contains("dom0_mem=1024M,max:1024M"));
    }

    #[test]
    fn only_loopback_reaches_the_host() {
        let args = arguments(None);
        let user = value(&args, "-netdev")[0];
        assert!(
            user.contains("tcp:127.0.0.1:2201-:22") && user.contains("tcp:127.0.0.1:2202-:8444"),
            "{user}"
        );
    }

    #[test]
    fn a_comma_in_a_path_is_doubled() {
        assert!(value(&arguments(None), "-drive")[0].ends_with("file=/a,,b/root.qcow2"));
    }

    #[test]
    fn the_lan_has_a_card_and_an_address_of_its_own() {
        let lan = LanPort { local: "/r/xen2".into(), remote: "/r/switch".into() };
        let with = arguments(Some(&lan));
        assert_eq!(value(&with, "-netdev").len(), 2);
        assert!(value(&with, "-initrd")[0].contains("ip=10.77.0.2::"));
        assert_eq!(value(&arguments(None), "-netdev").len(), 1);
    }
}
