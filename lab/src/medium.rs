//! A CD that boots the test guest as a whole machine, by BIOS or by UEFI: GRUB, Debian's kernel and our initramfs.
//!
//! Nothing is drawn: emulated on top of emulation, each pixel is a round trip to dom0. What the guest says, and GRUB
//! before it, is on the serial port.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use crate::error::{Doing, LabError};
use crate::guest::{initramfs, kernel_arguments};
use crate::paths::{ensure_dir, read, write};
use crate::rootfs::Rootfs;

/// What GRUB reads the CD and starts a kernel with. All of its modules would be minutes of reading.
const MODULES: &str = "part_msdos part_gpt iso9660 fat search serial terminal normal linux echo";

/// Writes `boot.iso` into a folder that is the caller's.
pub async fn write_boot_medium(
    rootfs: &Rootfs,
    folder: &Path,
    address: Ipv4Addr,
) -> Result<PathBuf, LabError> {
    let tree = folder.join("tree");
    ensure_dir(&tree.join("boot/grub"))?;
    write(&tree.join("boot/vmlinuz"), read(&rootfs.kernel())?)?;
    write(&tree.join("boot/initramfs"), initramfs(rootfs)?)?;
    write(&tree.join("boot/grub/grub.cfg"), menu(address))?;
    let medium = folder.join("boot.iso");
    let mut command = tokio::process::Command::new("grub-mkrescue");
    command.arg(format!("--install-modules={MODULES}")).args(["--fonts=", "--locales=", "--themes="]);
    command.arg("-o").arg(&medium).arg(&tree).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.doing(|| "could not run grub-mkrescue".into())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let source = std::io::Error::other(said);
        return Err(LabError::Io { doing: "grub-mkrescue made no medium".into(), source });
    }
    Ok(medium)
}

fn menu(address: Ipv4Addr) -> String {
    // The last console is the one that /dev/console is: an HVM guest may have no other than the serial port.
    let arguments =
        kernel_arguments(Some(address)).replace("console=hvc0", "console=hvc0 console=ttyS0,115200");
    format!(
        "serial --unit=0 --speed=115200\nterminal_input serial\nterminal_output serial\nset timeout=0\n\
         linux /boot/vmlinuz {arguments}\ninitrd /boot/initramfs\nboot\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_menu_speaks_on_the_serial_port_and_waits_for_nobody() {
        let menu = menu(Ipv4Addr::new(10, 0, 2, 104));
        assert!(
            menu.contains("console=hvc0 console=ttyS0,115200 ") && menu.contains("set timeout=0"),
            "{menu}"
        );
        assert!(menu.contains("xenith.ip=10.0.2.104/24"), "{menu}");
    }
}
