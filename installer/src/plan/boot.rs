//! The boot menu: which slot is started, and what starts it.
//!
//! ```text
//!  ESP: grub/grub.cfg   fixed; reads grub/grubenv
//!       grub/grubenv    slot=a  trial=b  trial_left=1
//!  slot: boot/xenith.cfg   comes with the system in the slot: Xen, kernel, their arguments
//! ```
//!
//! GRUB itself takes the one try away *before* it starts the slot on trial. So a system that hangs, panics or loses its
//! power is tried once, and the next start is the slot that was good. Only the started system, when it is healthy,
//! makes itself the good one ([`crate::boot_state`]).

use super::{Action, Chosen, ESP, TARGET, run};
use crate::disks::Disk;

/// Below the mount point of an ESP.
pub const ENV_FILE: &str = "grub/grubenv";
/// GRUB takes no other length.
pub const ENV_SIZE: usize = 1024;

/// What GRUB must bring itself, since it finds the rest with it.
const MODULES: &str =
    "part_gpt fat ext2 mdraid1x search_fs_uuid normal serial terminal loadenv test echo configfile";

/// Memory of dom0: 1 GiB, growing with the machine, whose page tables and devices it serves.
pub fn dom0_mib(memory_mib: u64) -> Result<u64, String> {
    // What Xen and the firmware keep is missing in what Linux counts.
    if memory_mib < 1900 {
        return Err(format!("this machine has {memory_mib} MiB; a host needs 2 GiB or more"));
    }
    Ok((1024 + memory_mib / 32).min(8192).min(memory_mib / 2))
}

/// `boot/xenith.cfg` of a slot, read by the menu when the slot is its root.
#[must_use]
pub fn slot_menu(uuid: &str, dom0_mib: u64) -> String {
    format!(
        "# Written by the installer; an upgrade writes it anew. Read by the boot menu on the EFI system partition.\n\
         # Without gzio GRUB takes what gzip packed as it is, and finds no kernel in it.\n\
         insmod gzio\ninsmod multiboot2\n\
         # xen_rm_opts: no real-mode code where there is no BIOS. xenith_trial: whether this start is a try.\n\
         if [ \"$grub_platform\" = pc ]; then set xen_rm_opts=; else set xen_rm_opts='no-real-mode edd=off'; fi\n\
         multiboot2 /boot/xen.gz placeholder dom0_mem={dom0_mib}M,max:{dom0_mib}M console=com1,vga com1=115200,8n1 \
         guest_loglvl=warning $xen_rm_opts\n\
         module2 /boot/vmlinuz placeholder root=UUID={uuid} rw console=tty0 console=hvc0 panic=30 \
         $xenith_trial\n\
         module2 --nounzip /boot/initrd.img\n"
    )
}

/// The menu on the ESP. It never changes, so no upgrade can break it.
fn menu(chosen: &Chosen) -> String {
    let [a, b] = &chosen.slots;
    format!(
        r#"# Written by the installer. Which system is started stands in grubenv beside this file.
insmod part_gpt
insmod ext2
insmod mdraid1x
serial --unit=0 --speed=115200
terminal_input console serial
terminal_output console serial
load_env
if [ -z "$slot" ]; then set slot=a; fi
set boot="$slot"
if [ -n "$trial" -a "$trial_left" = 1 ]; then
    # Taken away before the try: whatever happens now, the next start is the good slot again. Where that cannot be written
    # nothing is tried, or a system that hangs would be tried for ever.
    set trial_left=0
    if save_env trial_left; then
        # What cannot even be loaded is not waited at: the good slot is started at once.
        if [ "$slot" = b ]; then set fallback=1; else set fallback=0; fi
        set boot="$trial"
        set trying="$trial"
    fi
fi
if [ "$boot" = b ]; then set default=xenith-b; else set default=xenith-a; fi
set timeout=3
menuentry "Xenith (slot A)" --id xenith-a {{
    if [ "$trying" = a ]; then set xenith_trial=xenith.trial; else set xenith_trial=; fi
    search --no-floppy --fs-uuid --set=root {a}
    source /boot/xenith.cfg
}}
menuentry "Xenith (slot B)" --id xenith-b {{
    if [ "$trying" = b ]; then set xenith_trial=xenith.trial; else set xenith_trial=; fi
    search --no-floppy --fs-uuid --set=root {b}
    source /boot/xenith.cfg
}}
"#
    )
}

/// GRUB's environment block: a line a variable, filled up with `#`.
#[must_use]
pub fn env_block(variables: &[(&str, &str)]) -> Vec<u8> {
    let mut text = "# GRUB Environment Block\n".to_owned();
    for (name, value) in variables {
        text.push_str(&format!("{name}={value}\n"));
    }
    let mut block = text.into_bytes();
    block.resize(ENV_SIZE, b'#');
    block
}

/// The boot loaders of both worlds on each disk. The one of the BIOS comes last: it is the commit point.
pub fn actions(disks: &[&Disk], chosen: &Chosen) -> Vec<Action> {
    const MODULES_EFI: &str = "/usr/lib/grub/x86_64-efi";
    let mut actions = Vec::new();
    for (place, (disk, serial)) in disks.iter().zip(&chosen.esp).enumerate() {
        let esp = format!("{ESP}{place}");
        // A FAT keeps no modes, and refuses to be given any but the one that all its files have.
        let file = |name: &str, content: Vec<u8>| Action::Write {
            path: format!("{esp}/{name}"),
            mode: 0o755,
            content,
        };
        for folder in ["grub", "EFI", "EFI/BOOT", "EFI/debian"] {
            actions.push(Action::MakeDir { path: format!("{esp}/{folder}"), mode: 0o755 });
        }
        actions.push(file("grub/grub.cfg", menu(chosen).into_bytes()));
        actions.push(file(ENV_FILE, env_block(&[("slot", "a")])));
        // The path that firmware starts when nobody told it another: no variable of the firmware has to be written,
        // and the disk boots in the next machine too.
        let copy = |from: &str, to: &str| Action::Copy { from: from.to_owned(), to: format!("{esp}/{to}") };
        actions.push(copy("/usr/lib/shim/shimx64.efi.signed", "EFI/BOOT/BOOTX64.EFI"));
        actions.push(copy("/usr/lib/shim/mmx64.efi.signed", "EFI/BOOT/mmx64.efi"));
        actions.push(copy("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "EFI/BOOT/grubx64.efi"));
        actions.push(copy(MODULES_EFI, "grub/x86_64-efi"));
        let serial = format!("{}-{}", &serial[..4], &serial[4..]);
        let find = format!(
            "search --no-floppy --fs-uuid --set=root {serial}\nset prefix=($root)/grub\nconfigfile $prefix/grub.cfg\n"
        );
        actions.push(file("EFI/debian/grub.cfg", find.clone().into_bytes()));
        let boot_directory = format!("--boot-directory={esp}");
        let modules = format!("--modules={MODULES}");
        let install = [
            "--target=i386-pc",
            &boot_directory,
            &modules,
            "--no-floppy",
            "--recheck",
            "--skip-fs-probe",
            &disk.path,
        ];
        actions.push(run("grub-install", &install));
    }
    if disks.len() > 1 {
        // The initial ramdisk assembles arrays by itself; this names them in the installed system. Without a program or a
        // mail address mdadm's monitor ends with a failure: a disk that dies stands in the journal.
        let conf = format!("{TARGET}/etc/mdadm/mdadm.conf");
        let write = format!("(echo PROGRAM /usr/bin/logger && mdadm --detail --scan) > {conf}");
        actions.push(run("sh", &["-c", &write]));
    }
    actions
}
