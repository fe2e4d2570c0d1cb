//! Linux: the initramfs gets the Xen front-ends, disks are named by UUID, NICs keep their names, VMware's tools go.

use xenith_common_text::counted;

use super::{Change, Device, Facts, Family, Files, Preparation};

const FIRST_BOOT: &str = "/usr/local/sbin/xenith-first-boot";
const UNIT: &str = "/etc/systemd/system/xenith-first-boot.service";
const DRIVERS: [&str; 2] = ["xen-blkfront", "xen-netfront"];

pub fn is_root(files: &dyn Files) -> bool {
    files.exists("/etc/fstab")
        && (files.exists("/etc/os-release")
            || files.exists("/usr/lib/os-release")
            || files.exists("/etc/redhat-release"))
}

pub fn prepare(files: &dyn Files, facts: &Facts) -> Preparation {
    let (os, family) = os(files);
    let mut plan = Plan { files, facts, family, changes: Vec::new(), warnings: Vec::new() };
    plan.table("/etc/fstab");
    plan.table("/etc/crypttab");
    plan.boot_loader();
    plan.firmware();
    // Into the initramfs go the adapters' names, too: some systems name them there already.
    plan.nics();
    plan.initramfs();
    plan.tools();
    if family == Family::Unknown {
        plan.warnings.push(format!("{os} is not known: its initramfs was not looked at"));
    }
    Preparation { os, family, changes: plan.changes, warnings: plan.warnings }
}

fn os(files: &dyn Files) -> (String, Family) {
    let release = files.text("/etc/os-release").or_else(|| files.text("/usr/lib/os-release"));
    let release = release.unwrap_or_else(|| {
        let name = files.text("/etc/redhat-release").unwrap_or_default();
        format!("ID=rhel\nPRETTY_NAME=\"{}\"\n", name.trim())
    });
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
    };
    let like = format!("{} {}", value("ID"), value("ID_LIKE"));
    let is = |words: &[&str]| like.split_whitespace().any(|word| words.contains(&word));
    let family = if is(&["debian", "ubuntu"]) {
        Family::Debian
    } else if is(&["rhel", "fedora", "centos", "ol"]) {
        Family::RedHat
    } else if is(&["suse", "sles", "opensuse", "opensuse-leap"]) {
        Family::Suse
    } else {
        Family::Unknown
    };
    (value("PRETTY_NAME"), family)
}

struct Plan<'a> {
    files: &'a dyn Files,
    facts: &'a Facts,
    family: Family,
    changes: Vec<Change>,
    warnings: Vec<String>,
}

/// Whether a name found in the guest may become part of a path or an argument.
fn is_plain(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '~');
    !name.is_empty() && name.len() < 128 && !name.starts_with(['-', '.']) && name.chars().all(fits)
}

/// Names of devices that depend on the controller they hang on.
fn is_volatile(device: &str) -> bool {
    let Some(name) = device.strip_prefix("/dev/") else { return false };
    let sd = |prefix: &str| {
        name.strip_prefix(prefix).is_some_and(|rest| {
            let letters = rest.trim_end_matches(|c: char| c.is_ascii_digit());
            !letters.is_empty() && letters.len() <= 2 && letters.chars().all(|c| c.is_ascii_lowercase())
        })
    };
    let by_path = name.starts_with("disk/by-path/") || name.starts_with("disk/by-id/");
    sd("sd") || sd("hd") || sd("vd") || name.starts_with("nvme") || by_path
}

/// Devices that the kernel would be told to find its root on, and will not find: each once.
fn volatile_roots(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let words = lines.flat_map(|line| line.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')));
    let named = words.filter_map(|word| word.split_once("root=").map(|(_, device)| device));
    let mut found: Vec<String> = Vec::new();
    for device in named.filter(|device| is_volatile(device)) {
        if !found.iter().any(|known| known == device) {
            found.push(device.to_owned());
        }
    }
    found
}

/// Whether the device can be what an `fstab` mounts as this.
fn holds(device: &Device, filesystem: Option<&str>) -> bool {
    match filesystem {
        None | Some("auto") => true,
        // It was not looked at.
        Some(_) if device.kind.is_empty() => true,
        Some(told) if told.starts_with("ext") => device.kind.starts_with("ext"),
        Some(told) if told.starts_with("ntfs") => device.kind == "ntfs",
        Some("msdos") => device.kind == "vfat",
        Some(told) => device.kind == told,
    }
}

impl Plan<'_> {
    fn write(&mut self, path: &str, text: String, why: &str) {
        self.write_as(path, text, (0o644, why));
    }

    fn write_as(&mut self, path: &str, text: String, (mode, why): (u32, &str)) {
        if self.files.text(path).as_ref() != Some(&text) {
            self.changes.push(Change::Write { path: path.to_owned(), text, mode, why: why.to_owned() });
        }
    }

    fn run(&mut self, command: &[&str], why: &str) {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        self.changes.push(Change::Run { command, why: why.to_owned() });
    }

    fn device(&self, name: &str) -> Option<&Device> {
        self.facts.devices.iter().find(|device| device.name == name && !device.uuid.is_empty())
    }

    /// `fstab` names a device in the first field, `crypttab` in the second. Comments, spaces and the rest stay.
    fn table(&mut self, path: &str) {
        let Some(text) = self.files.text(path) else { return };
        let column = if path.ends_with("crypttab") { 1 } else { 0 };
        let mut lines = Vec::new();
        let mut missing = Vec::new();
        for line in text.split('\n') {
            let named = line.split_whitespace().nth(column).filter(|_| !line.trim_start().starts_with('#'));
            let filesystem = line.split_whitespace().nth(2).filter(|_| column == 0);
            match named.filter(|name| is_volatile(name)) {
                None => lines.push(line.to_owned()),
                // Which disk a name meant is told by its number only, and controllers of two kinds count on their own.
                Some(name) => match self.device(name).filter(|device| holds(device, filesystem)) {
                    Some(device) => lines.push(line.replacen(name, &format!("UUID={}", device.uuid), 1)),
                    None => {
                        missing.push(name.to_owned());
                        lines.push(line.to_owned());
                    }
                },
            }
        }
        for name in missing {
            self.warnings
                .push(format!("{path} names {name}, which was not found, or has other contents: check it before the first boot"));
        }
        self.write(path, lines.join("\n"), "disks are named by what is on them, not by their controller");
    }

    /// `root=` and `resume=` in GRUB's settings and in what was made of them.
    fn boot_loader(&mut self) {
        let mut changed = false;
        let mut paths = vec!["/etc/default/grub".to_owned(), "/etc/kernel/cmdline".to_owned()];
        for folder in ["/boot/grub", "/boot/grub2"] {
            paths.push(format!("{folder}/grub.cfg"));
            paths.push(format!("{folder}/grubenv"));
        }
        for entry in self.files.list("/boot/loader/entries").into_iter().filter(|name| is_plain(name)) {
            paths.push(format!("/boot/loader/entries/{entry}"));
        }
        for path in paths {
            let Some(text) = self.files.text(&path) else { continue };
            let new = self.by_uuid(&text);
            for device in volatile_roots(&new) {
                let text = format!(
                    "{path} names root={device}, which was not found: check it before the first boot"
                );
                self.warnings.push(text);
            }
            // A block of fixed size: what is longer by some letters is shorter by as many `#`.
            let new = if path.ends_with("grubenv") { sized(&new, text.len()) } else { Some(new) };
            let Some(new) = new else {
                self.warnings
                    .push(format!("{path} has no room for a UUID: check root= before the first boot"));
                continue;
            };
            changed |= new != text;
            self.write(&path, new, "the kernel finds its root by UUID");
        }
        let maps = ["/boot/grub/device.map", "/boot/grub2/device.map"];
        if let Some(map) =
            maps.into_iter().find(|map| self.files.text(map).is_some_and(|t| t.contains("/dev/sd")))
        {
            self.write(map, String::new(), "GRUB's map of disks is of the old machine");
            changed = true;
        }
        // Only where it is ours to make again: Red Hat's entries were changed above.
        if changed && self.family == Family::Debian && self.files.exists("/usr/sbin/update-grub") {
            self.run(&["/usr/sbin/update-grub"], "the boot menu follows its settings");
        }
    }

    /// The loader that the firmware starts here is a copy of the guest's own ([`super::fallback_loader`]), which its updates do
    /// not know of: a GRUB of before that loads modules of after starts nothing. Debian makes the copy itself where it is told
    /// to; the packages of the others always do.
    fn firmware(&mut self) {
        const ASKS: &str = "/usr/bin/debconf-set-selections";
        let grub = self.files.exists("/usr/sbin/grub-install") && self.files.exists(ASKS);
        if self.family != Family::Debian || !self.facts.efi || !grub {
            return;
        }
        let answers = self.files.text("/var/cache/debconf/config.dat").unwrap_or_default();
        let said = |answer: &str| {
            let has = |line: &str| answer.lines().any(|found| found == line);
            has("Name: grub2/force_efi_extra_removable") && has("Value: true")
        };
        if !answers.split("\n\n").any(said) {
            let tell = format!("echo grub-efi-amd64 grub2/force_efi_extra_removable boolean true | {ASKS}");
            self.run(&["/bin/sh", "-c", &tell], "updates of GRUB renew the loader that the firmware starts");
        }
    }

    fn by_uuid(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for device in
            self.facts.devices.iter().filter(|device| !device.uuid.is_empty() && is_volatile(&device.name))
        {
            for key in ["root=", "resume="] {
                for end in [' ', '\n', '"', '\'', '\t'] {
                    let old = format!("{key}{}{end}", device.name);
                    out = out.replace(&old, &format!("{key}UUID={}{end}", device.uuid));
                }
                // Where the text ends without an end of its line.
                if let Some(start) = out.strip_suffix(&format!("{key}{}", device.name)) {
                    out = format!("{start}{key}UUID={}", device.uuid);
                }
            }
        }
        out
    }

    fn initramfs(&mut self) {
        let folders = ["/lib/modules", "/usr/lib/modules"];
        let modules = folders.into_iter().find(|folder| !self.files.list(folder).is_empty());
        let Some(modules) = modules else {
            return self
                .warnings
                .push("no kernel with modules was found: its initramfs was not looked at".to_owned());
        };
        let kernels: Vec<String> =
            self.files.list(modules).into_iter().filter(|name| is_plain(name)).collect();
        // What is left of a kernel that was removed (weak-updates, DKMS) has no image: nothing starts it, and the tools that
        // make an initramfs fail over it.
        let has_image = |kernel: &String| {
            self.files.exists(&format!("/boot/vmlinuz-{kernel}"))
                || self.files.exists(&format!("{modules}/{kernel}/vmlinuz"))
        };
        let told = kernels.iter().any(has_image);
        let wanting: Vec<String> = kernels
            .into_iter()
            .filter(|kernel| (!told || has_image(kernel)) && !self.has_front_ends(modules, kernel))
            .collect();
        if wanting.is_empty() {
            return;
        }
        match self.family {
            Family::Debian => {
                let path = "/etc/initramfs-tools/modules";
                let mut text = self.files.text(path).unwrap_or_default();
                for driver in DRIVERS {
                    if !text.lines().any(|line| line.trim().replace('_', "-") == driver) {
                        text = format!("{}{driver}\n", with_line_end(text));
                    }
                }
                self.write(path, text, "the initramfs needs Xen's disk and network drivers");
                for kernel in wanting {
                    self.run(
                        &["/usr/sbin/update-initramfs", "-u", "-k", &kernel],
                        "puts the drivers into it",
                    );
                }
            }
            Family::RedHat | Family::Suse => {
                let text = format!("add_drivers+=\" {} \"\n", DRIVERS.join(" "));
                let path = "/etc/dracut.conf.d/50-xenith-xen.conf";
                self.write(path, text, "the initramfs needs Xen's disk and network drivers");
                let name = if self.family == Family::Suse { "initrd-" } else { "initramfs-" };
                let end = if self.family == Family::Suse { "" } else { ".img" };
                for kernel in wanting {
                    let image = format!("/boot/{name}{kernel}{end}");
                    self.run(&["/usr/bin/dracut", "-f", &image, &kernel], "puts the drivers into it");
                }
            }
            Family::Windows | Family::Unknown => {}
        }
    }

    /// In the initramfs, or in the kernel itself.
    fn has_front_ends(&self, modules: &str, kernel: &str) -> bool {
        let ready = self.facts.ready_kernels.iter().any(|ready| ready == kernel);
        let builtin = self.files.text(&format!("{modules}/{kernel}/modules.builtin")).unwrap_or_default();
        ready || DRIVERS.iter().all(|driver| builtin.contains(&format!("/{driver}.ko")))
    }

    /// VMware's adapters are called `ens192`, `ens224`, … after their PCI slots; here the same MAC gets another name.
    /// Where the configuration names one, the name is tied to the MAC.
    fn nics(&mut self) {
        let names = self.configured_nics();
        if names.is_empty() {
            return;
        }
        let told: Vec<&String> = names.iter().filter_map(|(_, told)| told.as_ref()).collect();
        let is_left = |mac: &&String| {
            let sound = mac.len() == 17 && mac.chars().all(|c| c.is_ascii_hexdigit() || c == ':');
            sound && !told.iter().any(|told| told.eq_ignore_ascii_case(mac))
        };
        let left: Vec<String> = self.facts.macs.iter().filter(is_left).cloned().collect();
        let untold = names.len() - told.len();
        let in_order = untold <= left.len();
        if !in_order {
            // One was left out on the way here, or its settings outlived it.
            self.warnings.push(format!(
                "{} without a MAC in the settings, but there are {} for them: none is tied to its name; check them before the first boot",
                counted(untold, "adapter"),
                left.len()
            ));
        } else if untold > 0 && untold < left.len() {
            self.warnings.push(format!(
                "{} without a MAC in the settings, and there are {} for them: the first were taken; check them before the first boot",
                counted(untold, "adapter"),
                left.len()
            ));
        }
        let mut left = left.into_iter();
        for (name, told) in names {
            let next = || if in_order { left.next() } else { None };
            let Some(mac) = told.or_else(next) else { continue };
            let text = format!("[Match]\nMACAddress={mac}\n\n[Link]\nName={name}\n");
            let path = format!("/etc/systemd/network/10-xenith-{name}.link");
            self.write(&path, text, "the adapter keeps the name that its settings use");
        }
    }

    /// Interfaces that the settings name, with a MAC where they say it, in the order of VMware's slots.
    fn configured_nics(&self) -> Vec<(String, Option<String>)> {
        let mut found: Vec<(String, Option<String>)> = Vec::new();
        let mut add = |name: &str, mac: Option<String>| {
            let physical = ["ens", "eth", "eno", "enp"].iter().any(|start| name.starts_with(start));
            if physical && is_plain(name) && name.len() <= 15 && !found.iter().any(|(known, _)| known == name)
            {
                found.push((name.to_owned(), mac));
            }
        };
        let scripts = ["/etc/sysconfig/network-scripts", "/etc/sysconfig/network"];
        for folder in scripts {
            for file in self.files.list(folder) {
                let Some(name) = file.strip_prefix("ifcfg-").filter(|_| is_plain(&file)) else { continue };
                let text = self.files.text(&format!("{folder}/{file}")).unwrap_or_default();
                let mac = text.lines().find_map(|line| line.strip_prefix("HWADDR="));
                add(name, mac.map(|mac| mac.trim_matches('"').to_ascii_lowercase()));
            }
        }
        let mut texts = vec![self.files.text("/etc/network/interfaces").unwrap_or_default()];
        for folder in ["/etc/network/interfaces.d", "/etc/netplan", "/etc/NetworkManager/system-connections"]
        {
            let plain = self.files.list(folder).into_iter().filter(|name| is_plain(name));
            texts.extend(plain.filter_map(|name| self.files.text(&format!("{folder}/{name}"))));
        }
        for line in texts.iter().flat_map(|text| text.lines()) {
            let line = line.trim();
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("iface"), Some(name)) => add(name, None),
                (Some(word), None) if word.ends_with(':') => add(word.trim_end_matches(':'), None),
                (Some(word), None) => {
                    if let Some(name) = word.strip_prefix("interface-name=") {
                        add(name, None);
                    }
                }
                _ => {}
            }
        }
        // ens192 before ens1024: by length, then by text.
        found.sort_by_key(|(name, _)| (name.len(), name.clone()));
        found
    }

    /// At the first boot, when the guest's package tool works as it should.
    fn tools(&mut self) {
        let tools = ["/usr/bin/vmtoolsd", "/usr/sbin/vmtoolsd", "/usr/bin/vmware-toolbox-cmd"];
        if !tools.iter().any(|path| self.files.exists(path)) {
            return;
        }
        if !self.files.exists("/etc/systemd/system") && !self.files.exists("/lib/systemd/system") {
            self.warnings.push(
                "VMware's tools are installed and the guest has no systemd: remove them by hand".to_owned(),
            );
            return;
        }
        let remove = match self.family {
            Family::Debian => {
                "DEBIAN_FRONTEND=noninteractive apt-get -y purge open-vm-tools open-vm-tools-desktop"
            }
            Family::RedHat => "dnf -y remove open-vm-tools || yum -y remove open-vm-tools",
            Family::Suse => "zypper -n remove open-vm-tools",
            Family::Windows | Family::Unknown => "true",
        };
        let script = format!(
            "#!/bin/sh\n# Once, after the move to Xen.\n[ -x /usr/bin/vmware-uninstall-tools.pl ] && \
             /usr/bin/vmware-uninstall-tools.pl\n{remove}\nsystemctl disable xenith-first-boot.service\n\
             rm -f {UNIT} {FIRST_BOOT}\n"
        );
        let unit = format!(
            "[Unit]\nDescription=Removes VMware's tools after the move to Xen\nAfter=network.target\n\n\
             [Service]\nType=oneshot\nExecStart={FIRST_BOOT}\n\n[Install]\nWantedBy=multi-user.target\n"
        );
        self.write_as(FIRST_BOOT, script, (0o755, "VMware's tools are of no use here"));
        self.write(UNIT, unit, "at the first boot");
        let path = "/etc/systemd/system/multi-user.target.wants/xenith-first-boot.service".to_owned();
        if !self.files.exists(&path) {
            self.changes.push(Change::Link { path, to: UNIT.to_owned() });
        }
    }
}

fn with_line_end(text: String) -> String {
    if text.is_empty() || text.ends_with('\n') { text } else { format!("{text}\n") }
}

/// `text` in `size` bytes, by more or fewer of the `#` at its end.
fn sized(text: &str, size: usize) -> Option<String> {
    let kept = text.trim_end_matches('#');
    (kept.len() <= size).then(|| format!("{kept}{}", "#".repeat(size - kept.len())))
}

#[cfg(test)]
mod tests {
    use super::super::{TableFiles, prepare as prepare_any};
    use super::*;

    const DEBIAN: &str = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";

    fn facts() -> Facts {
        let device = |name: &str, uuid: &str, kind: &str| Device {
            name: name.to_owned(),
            uuid: uuid.to_owned(),
            kind: kind.to_owned(),
        };
        Facts {
            devices: vec![
                device("/dev/sda1", "1111-aaaa", "ext4"),
                device("/dev/sda5", "2222-bbbb", "swap"),
                device("/dev/sdb1", "3333-cccc", "crypto_LUKS"),
            ],
            macs: vec!["00:50:56:aa:bb:01".to_owned(), "00:50:56:aa:bb:02".to_owned()],
            ..Facts::default()
        }
    }

    fn plan(files: &[(&str, &str)], facts: &Facts) -> Preparation {
        prepare_any(&TableFiles::of(files), facts).unwrap()
    }

    fn written<'a>(plan: &'a Preparation, wanted: &str) -> Option<&'a str> {
        plan.changes.iter().find_map(|change| match change {
            Change::Write { path, text, .. } if path == wanted => Some(text.as_str()),
            _ => None,
        })
    }

    fn runs(plan: &Preparation) -> Vec<String> {
        let run = |change: &Change| match change {
            Change::Run { command, .. } => Some(command.join(" ")),
            _ => None,
        };
        plan.changes.iter().filter_map(run).collect()
    }

    #[test]
    fn systems_are_told_apart() {
        for (release, family) in [
            (DEBIAN, Family::Debian),
            ("ID=ubuntu\nID_LIKE=debian\n", Family::Debian),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", Family::RedHat),
            ("ID=fedora\n", Family::RedHat),
            ("ID=\"sles\"\nID_LIKE=\"suse\"\n", Family::Suse),
            ("ID=alpine\n", Family::Unknown),
        ] {
            let found = plan(&[("/etc/fstab", ""), ("/etc/os-release", release)], &Facts::default());
            assert_eq!(found.family, family, "{release}");
        }
        assert!(
            prepare_any(&TableFiles::of(&[("/home/me/x", "")]), &Facts::default()).is_none(),
            "not a root"
        );
    }

    #[test]
    fn tables_name_disks_by_uuid() {
        for (name, path, before, after) in [
            (
                "root",
                "/etc/fstab",
                "/dev/sda1 / ext4 defaults 0 1\n",
                Some("UUID=1111-aaaa / ext4 defaults 0 1\n"),
            ),
            (
                "tabs and comments",
                "/etc/fstab",
                "# /dev/sda1 was here\n/dev/sda5\tnone\tswap sw 0 0",
                Some("# /dev/sda1 was here\nUUID=2222-bbbb\tnone\tswap sw 0 0"),
            ),
            ("by UUID already", "/etc/fstab", "UUID=x / ext4 defaults 0 1\n", None),
            (
                "LVM and network",
                "/etc/fstab",
                "/dev/mapper/vg-root / xfs defaults 0 0\nnas:/x /x nfs _netdev 0 0\n",
                None,
            ),
            (
                "crypttab",
                "/etc/crypttab",
                "data /dev/sdb1 none luks\n",
                Some("data UUID=3333-cccc none luks\n"),
            ),
        ] {
            let mut files = vec![("/etc/os-release", DEBIAN), (path, before)];
            if path != "/etc/fstab" {
                files.push(("/etc/fstab", ""));
            }
            assert_eq!(written(&plan(&files, &facts()), path), after, "{name}");
        }
        let found = plan(
            &[("/etc/os-release", DEBIAN), ("/etc/fstab", "/dev/sdz9 /x ext4 defaults 0 0\n")],
            &facts(),
        );
        assert!(found.warnings.iter().any(|text| text.contains("/dev/sdz9")), "{found:?}");
        // The system is on an NVMe disk, the first; the guest's sda is the second, and has XFS.
        let other = [("/etc/os-release", DEBIAN), ("/etc/fstab", "/dev/sda1 /data xfs defaults 0 2\n")];
        let found = plan(&other, &facts());
        assert_eq!(written(&found, "/etc/fstab"), None, "another disk would be mounted there");
        assert!(found.warnings.iter().any(|text| text.contains("/dev/sda1")), "{found:?}");
    }

    #[test]
    fn the_boot_loader_follows() {
        let grub = "GRUB_CMDLINE_LINUX=\"root=/dev/sda1 quiet\"\n";
        let files = [
            ("/etc/os-release", DEBIAN),
            ("/etc/fstab", ""),
            ("/etc/default/grub", grub),
            ("/usr/sbin/update-grub", "#!"),
            ("/boot/grub/device.map", "(hd0) /dev/sda\n"),
        ];
        let found = plan(&files, &facts());
        assert_eq!(
            written(&found, "/etc/default/grub"),
            Some("GRUB_CMDLINE_LINUX=\"root=UUID=1111-aaaa quiet\"\n")
        );
        assert_eq!(written(&found, "/boot/grub/device.map"), Some(""));
        assert_eq!(runs(&found).first().map(String::as_str), Some("/usr/sbin/update-grub"));
        // The last word of a file, and a device that nobody has found.
        let line =
            |text| [("/etc/os-release", "ID=rhel\n"), ("/etc/fstab", ""), ("/etc/kernel/cmdline", text)];
        let found = plan(&line("ro root=/dev/sda1"), &facts());
        assert_eq!(written(&found, "/etc/kernel/cmdline"), Some("ro root=UUID=1111-aaaa"));
        assert!(!found.warnings.iter().any(|text| text.contains("root=")), "{found:?}");
        let found = plan(&line("# root=/dev/sdy1\nro root=/dev/sdz1 quiet\n"), &facts());
        let told: Vec<_> = found.warnings.iter().filter(|text| text.contains("root=")).collect();
        assert!(told.len() == 1 && told[0].contains("/dev/sdz1"), "{found:?}");
        let env = format!("# GRUB Environment Block\nkernelopts=root=/dev/sda1 ro\n{}", "#".repeat(60));
        let files = [
            ("/etc/os-release", "ID=rhel\n"),
            ("/etc/fstab", ""),
            ("/boot/grub2/grubenv", &env),
            ("/boot/loader/entries/a.conf", "options root=/dev/sda1 ro\n"),
        ];
        let found = plan(&files, &facts());
        let new = written(&found, "/boot/grub2/grubenv").unwrap();
        assert!(new.len() == env.len() && new.contains("root=UUID=1111-aaaa ro"), "{new}");
        assert_eq!(written(&found, "/boot/loader/entries/a.conf"), Some("options root=UUID=1111-aaaa ro\n"));
    }

    #[test]
    fn updates_renew_the_loader_that_the_firmware_starts() {
        let answers = |value: &str| {
            format!(
                "Name: grub2/linux_cmdline\nValue: true\n\nName: grub2/force_efi_extra_removable\nValue: {value}\n"
            )
        };
        let files = |config: &str| {
            TableFiles::of(&[
                ("/etc/os-release", DEBIAN),
                ("/etc/fstab", ""),
                ("/usr/sbin/grub-install", ""),
                ("/usr/bin/debconf-set-selections", ""),
                ("/var/cache/debconf/config.dat", config),
            ])
        };
        let efi = Facts { efi: true, ..facts() };
        for (name, config, facts, expected) in [
            ("never asked", "", &efi, 1),
            ("no", answers("false").as_str(), &efi, 1),
            ("done", answers("true").as_str(), &efi, 0),
            ("BIOS", "", &facts(), 0),
        ] {
            let found = runs(&prepare_any(&files(config), facts).unwrap());
            assert_eq!(found.len(), expected, "{name}: {found:?}");
            assert!(found.iter().all(|run| run.contains("force_efi_extra_removable boolean true")), "{name}");
        }
    }

    #[test]
    fn the_initramfs_gets_the_front_ends_where_they_are_not() {
        let debian =
            [("/etc/os-release", DEBIAN), ("/etc/fstab", ""), ("/lib/modules/6.1.0-9-amd64/modules.dep", "")];
        let found = plan(&debian, &facts());
        assert_eq!(written(&found, "/etc/initramfs-tools/modules"), Some("xen-blkfront\nxen-netfront\n"));
        assert_eq!(runs(&found), ["/usr/sbin/update-initramfs -u -k 6.1.0-9-amd64"]);
        let ready = Facts { ready_kernels: vec!["6.1.0-9-amd64".to_owned()], ..facts() };
        assert!(plan(&debian, &ready).changes.is_empty(), "nothing to do when they are there");
        let builtin = "kernel/drivers/block/xen-blkfront.ko\nkernel/drivers/net/xen-netfront.ko\n";
        let files = [debian[0], debian[1], ("/lib/modules/6.6/modules.builtin", builtin)];
        assert!(plan(&files, &facts()).changes.is_empty(), "built in");
        let rhel = [
            ("/etc/os-release", "ID=rhel\n"),
            ("/etc/fstab", ""),
            ("/usr/lib/modules/5.14.0-1.el9/modules.dep", ""),
        ];
        let found = plan(&rhel, &facts());
        assert_eq!(runs(&found), ["/usr/bin/dracut -f /boot/initramfs-5.14.0-1.el9.img 5.14.0-1.el9"]);
        let left_over = [
            rhel[0],
            rhel[1],
            rhel[2],
            ("/boot/vmlinuz-5.14.0-1.el9", ""),
            ("/usr/lib/modules/4.18.0-1.el8/weak-updates/x.ko", ""),
        ];
        assert_eq!(runs(&plan(&left_over, &facts())), runs(&found), "a kernel that is gone has no initramfs");
        let hostile = [debian[0], debian[1], ("/lib/modules/-k; rm -rf ~/modules.dep", "")];
        assert!(runs(&plan(&hostile, &facts())).is_empty(), "a name that is no name of a kernel");
    }

    #[test]
    fn nics_keep_their_names() {
        let link = "/etc/systemd/network/10-xenith-ens192.link";
        for (name, path, text, mac) in [
            (
                "interfaces",
                "/etc/network/interfaces",
                "auto ens192\niface ens192 inet dhcp\n",
                "00:50:56:aa:bb:01",
            ),
            (
                "netplan",
                "/etc/netplan/50.yaml",
                "network:\n  ethernets:\n    ens192:\n      dhcp4: true\n",
                "00:50:56:aa:bb:01",
            ),
            (
                "keyfile",
                "/etc/NetworkManager/system-connections/a.nmconnection",
                "[connection]\ninterface-name=ens192\n",
                "00:50:56:aa:bb:01",
            ),
            (
                "ifcfg with its MAC",
                "/etc/sysconfig/network-scripts/ifcfg-ens192",
                "HWADDR=00:50:56:AA:BB:02\n",
                "00:50:56:aa:bb:02",
            ),
        ] {
            let files = [("/etc/os-release", DEBIAN), ("/etc/fstab", ""), (path, text)];
            let found = plan(&files, &facts());
            let wanted = format!("[Match]\nMACAddress={mac}\n\n[Link]\nName=ens192\n");
            assert_eq!(written(&found, link), Some(wanted.as_str()), "{name}: {found:?}");
        }
        let two = "iface ens224 inet dhcp\niface ens192 inet dhcp\n";
        let found = plan(
            &[("/etc/os-release", DEBIAN), ("/etc/fstab", ""), ("/etc/network/interfaces", two)],
            &facts(),
        );
        assert!(
            written(&found, link).unwrap().contains("bb:01"),
            "in the order of the slots, not of the file"
        );
        assert!(!found.warnings.iter().any(|text| text.contains("without a MAC")), "{found:?}");
        // The settings give the first MAC to one of two: the other one has the second.
        let files = [
            ("/etc/os-release", "ID=rhel\n"),
            ("/etc/fstab", ""),
            ("/etc/sysconfig/network-scripts/ifcfg-ens192", "HWADDR=00:50:56:AA:BB:01\n"),
            ("/etc/sysconfig/network-scripts/ifcfg-ens224", "BOOTPROTO=dhcp\n"),
        ];
        let other = "/etc/systemd/network/10-xenith-ens224.link";
        assert!(written(&plan(&files, &facts()), other).unwrap().contains("bb:02"), "two names for one MAC");
        // One adapter came along, and settings for two: which of them it is, nobody knows.
        let one = Facts { macs: vec!["00:50:56:aa:bb:02".to_owned()], ..facts() };
        let files = [("/etc/os-release", DEBIAN), ("/etc/fstab", ""), ("/etc/network/interfaces", two)];
        let found = plan(&files, &one);
        assert!(written(&found, link).is_none() && written(&found, other).is_none(), "{found:?}");
        assert!(found.warnings.iter().any(|text| text.contains("without a MAC")), "{found:?}");
    }

    #[test]
    fn tools_go_at_the_first_boot_and_a_second_plan_is_empty() {
        let mut files = TableFiles::of(&[
            ("/etc/os-release", DEBIAN),
            ("/etc/fstab", "/dev/sda1 / ext4 defaults 0 1\n"),
            ("/usr/bin/vmtoolsd", ""),
            ("/lib/systemd/system/x.service", ""),
            ("/etc/network/interfaces", "iface ens192 inet dhcp\n"),
        ]);
        let first = prepare_any(&files, &facts()).unwrap();
        assert!(written(&first, FIRST_BOOT).unwrap().contains("purge open-vm-tools"), "{first:?}");
        assert!(first.changes.iter().any(|change| matches!(change, Change::Link { .. })));
        files.apply(&first.changes);
        let second = prepare_any(&files, &facts()).unwrap();
        assert!(second.changes.is_empty(), "{second:?}");
    }
}
