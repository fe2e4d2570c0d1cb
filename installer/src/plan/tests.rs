//! Plans over a machine that is only a value: what is done, in which order, and what is refused.

use super::*;
use crate::answers::Answers;
use crate::disks::{DiskKind, Holder};
use crate::nics::{Link, Nic};

const TOKEN: &str =
    "xenith-join:10.0.2.2:8443/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/s3cret";

fn disk(path: &str, gib: u64) -> Disk {
    Disk {
        path: path.into(),
        bytes: gib << 30,
        model: "Disk".into(),
        serial: format!("S{path}"),
        wwn: String::new(),
        kind: DiskKind::Ssd,
        contents: vec![format!("{path}1: ext4 \"backups\", 1.0 GB")],
        unusable: None,
        holders: vec![Holder { path: "/dev/md127".into(), kind: "raid1".into() }],
        health: Health::Good,
    }
}

fn facts() -> Facts {
    let nic = |name: &str, mac: &str, link| Nic { name: name.into(), mac: mac.into(), link };
    Facts {
        firmware: Firmware::Bios,
        memory_mib: 4000,
        disks: vec![disk("/dev/sda", 100), disk("/dev/nvme0n1", 50), disk("/dev/sdc", 10)],
        nics: vec![nic("eno1", "52:54:00:00:00:01", Link::Up), nic("eno2", "52:54:00:00:00:02", Link::Down)],
    }
}

fn chosen() -> Chosen {
    Chosen {
        slots: ["uuid-a".into(), "uuid-b".into()],
        state: "uuid-state".into(),
        sr: "uuid-sr".into(),
        esp: vec!["AAAA1111".into(), "BBBB2222".into()],
    }
}

fn answers(disks: &str, more: &str) -> Answers {
    let text =
        format!("version = 1\n[target]\ndisks = {disks}\nerase = true\n[system]\nname = \"xen1\"\n{more}");
    Answers::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn plan(disks: &str, more: &str) -> Plan {
    make(&answers(disks, more), &facts(), &chosen(), "1.2.3").unwrap()
}

fn shown(plan: &Plan) -> String {
    let actions = plan.steps.iter().flat_map(|step| step.actions.iter().map(ToString::to_string));
    actions.collect::<Vec<_>>().join("\n")
}

fn written(plan: &Plan, path: &str) -> String {
    let mut found = plan.steps.iter().flat_map(|step| &step.actions).filter_map(|action| match action {
        Action::Write { path: at, content, .. } if at == path => Some(content.clone()),
        _ => None,
    });
    String::from_utf8(found.next().unwrap_or_else(|| panic!("{path} is not written"))).unwrap()
}

#[test]
fn the_boot_loader_comes_when_all_else_is_there() {
    let plan = plan("[\"/dev/sda\"]", "");
    let titles: Vec<_> = plan.steps.iter().map(|step| step.title.as_str()).collect();
    assert_eq!(
        titles,
        [
            "look at the disks once more",
            "partition /dev/sda",
            "make file systems",
            "mount them",
            "copy the system",
            "write the settings",
            "install the boot loader",
            "write everything out"
        ]
    );
    let shown = shown(&plan);
    assert!(shown.find("release /dev/sda").unwrap() < shown.find("sfdisk").unwrap(), "{shown}");
    assert!(shown.contains("mkfs.xfs -q -f -L xenith-sr -m reflink=1 -m uuid=uuid-sr /dev/sda6"), "{shown}");
    assert!(!shown.contains("mdadm"), "{shown}");
}

#[test]
fn a_power_cut_behind_the_boot_loader_finds_a_whole_system() {
    let shown = shown(&plan("[\"/dev/sda\"]", ""));
    let place = |part: &str| shown.find(part).unwrap_or_else(|| panic!("{part} is missing in\n{shown}"));
    let sync = place("sync --file-system /run/xenith/target /run/xenith/target/var/lib/xenith");
    assert!(place("/boot/xenith.cfg") < sync && sync < place("esp0/grub/grub.cfg"), "{shown}");
    assert!(sync < place("EFI/BOOT") && sync < place("grub-install"), "{shown}");
}

#[test]
fn the_answers_are_noted_behind_all_that_they_ask_for() {
    let mut plan = plan("[\"/dev/sda\"]", "");
    plan.note_answers("00ff");
    let shown = shown(&plan);
    let noted = shown.find("write /run/xenith/target/etc/xenith/answers.sha256 (5 bytes").unwrap();
    assert!(shown.rfind("grub-install").unwrap() < noted, "a power cut before it installs again: {shown}");
    assert!(noted < shown.rfind("umount /run/xenith/target").unwrap(), "{shown}");
}

#[test]
fn nothing_takes_the_place_of_an_sr_that_is_not_there() {
    let plan = plan("[\"/dev/sda\"]", "");
    let shown = shown(&plan);
    let sealed = shown.find("chattr +i /run/xenith/target/var/lib/xenith/sr").unwrap();
    assert!(sealed < shown.find("mount /dev/sda6 /run/xenith/target/var/lib/xenith/sr").unwrap(), "{shown}");
    let fstab = written(&plan, "/run/xenith/target/etc/fstab");
    let line = fstab.lines().find(|line| line.contains("/var/lib/xenith/sr")).unwrap();
    assert!(line.contains("nofail,x-systemd.before=xenith-agent.service"), "{line}");
}

#[test]
fn no_disk_but_the_chosen_one_is_named_by_any_action() {
    let shown = shown(&plan("[\"/dev/sda\"]", ""));
    assert!(!shown.contains("nvme") && !shown.contains("sdc"), "{shown}");
}

#[test]
fn a_mirror_is_as_large_as_its_smaller_disk_and_boots_from_either() {
    let plan = plan("[\"/dev/sda\", \"/dev/nvme0n1\"]", "");
    let shown = shown(&plan);
    assert!(shown.contains("/dev/md/xenith-a-uuid-sta --run --level=1"), "{shown}");
    assert!(shown.contains("--name=xenith-a-uuid-sta /dev/sda3 /dev/nvme0n1p3"), "{shown}");
    assert!(shown.contains("-L xenith-a -U uuid-a /dev/md/xenith-a-uuid-sta"), "{shown}");
    for part in ["mkfs.vfat -F 32 -n XENITH-ESP -i AAAA1111 /dev/sda2", "-i BBBB2222 /dev/nvme0n1p2"] {
        assert!(shown.contains(part), "{shown}");
    }
    assert_eq!(shown.matches("grub-install").count(), 2);
    let looks: Vec<_> = shown.match_indices("look at /dev/").collect();
    assert!(
        looks.len() == 2 && looks[1].0 < shown.find("sfdisk").unwrap(),
        "both before the first is written: {shown}"
    );
    assert!(shown.contains("PROGRAM /usr/bin/logger && mdadm --detail --scan) >"), "{shown}");
    assert!(plan.summary.iter().any(|line| line.contains("both disks carry everything")));
}

#[test]
fn a_thin_pool_takes_the_place_of_the_file_system() {
    let text = "version = 1\n[target]\ndisks = [\"/dev/sda\"]\nerase = true\nsr = \"lvm-thin\"\n[system]\nname = \"a\"\n";
    let plan = make(&Answers::parse(text).unwrap(), &facts(), &chosen(), "1").unwrap();
    let shown = shown(&plan);
    for part in [
        "vgcreate --yes --physicalextentsize=1m xenith_uuid-sr /dev/sda6",
        "--discards=passdown --extents=98%FREE --name=pool --chunksize=64k xenith_uuid-sr",
        "vgchange --activate=n xenith_uuid-sr",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("mkfs.xfs"), "{shown}");
    let command = "xenith sr create NAME --host a --thin-pool xenith_uuid-sr/pool";
    assert!(plan.summary.iter().any(|line| line.contains(command)), "{:?}", plan.summary);
    assert!(!written(&plan, "/run/xenith/target/etc/fstab").contains("xfs"));
}

#[test]
fn the_summary_says_what_is_lost_and_what_comes() {
    let join = format!("[network]\nvlan = 7\n[join]\ntoken = \"{TOKEN}\"\n");
    let summary = plan("[\"serial:S/dev/sda\"]", &join).summary.join("\n");
    for part in [
        "ERASED      /dev/sda",
        "lost: /dev/sda1: ext4 \"backups\"",
        "eno1 (52:54:00:00:00:01), VLAN 7",
        "address by DHCP",
        "joins       10.0.2.2:8443, authority aaaa",
        "at the console nobody",
        "Xenith 1.2.3",
    ] {
        assert!(summary.contains(part), "{part} is missing in\n{summary}");
    }
}

#[test]
fn secrets_are_written_but_never_shown() {
    let more = format!(
        "[access]\nroot_password_hash = \"$6$abcdefgh$0123456789\"\n[join]\ntoken = \"{TOKEN}\"\nadvertise = \"h:8444\"\n"
    );
    let plan = plan("[\"/dev/sda\"]", &more);
    assert_eq!(written(&plan, "/run/xenith/target/etc/xenith/join-token"), format!("{TOKEN}\n"));
    assert!(written(&plan, "/run/xenith/target/etc/xenith/agent.toml").contains("advertise = \"h:8444\""));
    let everything = format!("{plan:?}{}", shown(&plan));
    assert!(!everything.contains("s3cret"), "the token's secret is shown");
    assert!(!shown(&plan).contains("$6$"), "the hash is shown");
}

#[test]
fn an_orchestrator_is_started_and_reachable_only_where_it_was_asked_for() {
    let host = shown(&plan("[\"/dev/sda\"]", ""));
    assert!(!host.contains("orchestrator"), "{host}");
    let text = "version = 1\n[target]\ndisks = [\"/dev/sda\"]\nerase = true\n[system]\nname = \"a\"\nrole = \"host-and-orchestrator\"\n";
    let both = make(&Answers::parse(text).unwrap(), &facts(), &chosen(), "1").unwrap();
    assert!(shown(&both).contains("enable xenith-orchestrator.service"));
    let rule = written(&both, "/run/xenith/target/etc/xenith/nftables.d/orchestrator.nft");
    assert!(rule.contains("8443"), "{rule}");
}

#[test]
fn the_installed_system_finds_its_parts_by_uuid() {
    let plan = plan("[\"/dev/sda\"]", "");
    let fstab = written(&plan, "/run/xenith/target/etc/fstab");
    for line in [
        "UUID=uuid-a / ext4",
        "UUID=uuid-state /var/lib/xenith ext4",
        "/var/lib/xenith/log /var/log none bind",
        "UUID=uuid-sr /var/lib/xenith/sr xfs",
        "UUID=AAAA-1111 /boot/esp vfat",
    ] {
        assert!(fstab.contains(line), "{line} is missing in\n{fstab}");
    }
    let menu = written(&plan, "/run/xenith/esp0/grub/grub.cfg");
    assert!(menu.contains("if save_env trial_left; then\n"), "{menu}");
    let told =
        "if [ \"$trying\" = b ]; then set xenith_trial=xenith.trial; else set xenith_trial=; fi\n    search";
    assert!(menu.contains(told) && menu.contains("set trying=\"$trial\"\n"), "{menu}");
    assert!(menu.contains("if [ \"$slot\" = b ]; then set fallback=1; else set fallback=0; fi"), "{menu}");
    assert!(menu.contains("--set=root uuid-a") && menu.contains("--set=root uuid-b"), "{menu}");
    let slot = written(&plan, "/run/xenith/target/boot/xenith.cfg");
    assert!(slot.contains(" panic=30 $xenith_trial\n"), "{slot}");
    assert!(slot.contains("root=UUID=uuid-a") && slot.contains("dom0_mem=1149M"), "{slot}");
    // "no multiboot header found" is what GRUB says of a packed Xen that it does not unpack.
    assert!(slot.find("insmod gzio").unwrap() < slot.find("multiboot2 /boot/xen.gz").unwrap(), "{slot}");
}

#[test]
fn bond_vlan_and_bridge_stand_on_each_other() {
    let more = "[network]\nnics = [\"eno1\", \"52:54:00:00:00:02\"]\nbond = \"802.3ad\"\nvlan = 42\n\
                address = \"192.0.2.5/24\"\ngateway = \"192.0.2.1\"\ndns = [\"192.0.2.53\"]\n";
    let plan = plan("[\"/dev/sda\"]", more);
    let unit = |name: &str| written(&plan, &format!("/run/xenith/target/etc/systemd/network/{name}"));
    assert!(unit("20-uplink-525400000002.network").contains("Bond=bond0"));
    assert!(unit("10-bond0.netdev").contains("Mode=802.3ad"));
    assert!(unit("25-bond0.network").contains("VLAN=mgmt"));
    assert!(unit("10-mgmt.netdev").contains("Id=42"));
    assert!(unit("26-mgmt.network").contains("Bridge=xenbr0"));
    let bridge = unit("30-xenbr0.network");
    assert!(bridge.contains("Address=192.0.2.5/24\nGateway=192.0.2.1\nDNS=192.0.2.53\n"), "{bridge}");
}

#[test]
fn what_does_not_fit_the_machine_is_told_with_its_field() {
    let mut secure = facts();
    secure.firmware = Firmware::UefiSecureBoot;
    let mut small = facts();
    small.memory_mib = 1000;
    let mut paths = facts();
    paths.disks[1] = Disk { path: "/dev/sdb".into(), ..paths.disks[0].clone() };
    let mut medium = facts();
    medium.disks[0].unusable = Some("the installer runs from it");
    for (name, facts, disks, more, field, part) in [
        ("no such disk", facts(), "[\"/dev/sdz\"]", "", "target.disks", "there is no disk /dev/sdz"),
        ("too small", facts(), "[\"/dev/sdc\"]", "", "target.disks", "/dev/sdc is too small: 10.0 GiB"),
        (
            "small mirror",
            facts(),
            "[\"/dev/sda\", \"/dev/sdc\"]",
            "",
            "target.disks",
            "/dev/sdc is too small",
        ),
        (
            "twice",
            facts(),
            "[\"/dev/sda\", \"serial:S/dev/sda\"]",
            "",
            "target.disks",
            "both names mean /dev/sda",
        ),
        (
            "two ways to one",
            paths,
            "[\"/dev/sda\", \"/dev/sdb\"]",
            "",
            "target.disks",
            "two ways to the same disk",
        ),
        ("medium", medium, "[\"/dev/sda\"]", "", "target.disks", "the installer runs from it"),
        (
            "card",
            facts(),
            "[\"/dev/sda\"]",
            "[network]\nnics = [\"eno9\"]\n",
            "network.nics",
            "no network card eno9",
        ),
        ("secure boot", secure, "[\"/dev/sda\"]", "", "firmware", "Secure Boot is on"),
        ("memory", small, "[\"/dev/sda\"]", "", "memory", "1000 MiB"),
    ] {
        let error = make(&answers(disks, more), &facts, &chosen(), "1").expect_err(name);
        assert_eq!(error.field, field, "{name}: {error}");
        assert!(error.problem.contains(part), "{name}: {error}");
    }
}

#[test]
fn disks_that_have_no_name_are_not_taken_for_one() {
    // As those of a virtual machine: alike but for their paths.
    let mut machine = facts();
    machine.disks =
        ["/dev/vda", "/dev/vdb"].map(|path| Disk { serial: String::new(), ..disk(path, 50) }).into();
    make(&answers("[\"/dev/vda\", \"/dev/vdb\"]", ""), &machine, &chosen(), "1").unwrap();
}

#[test]
fn dom0_grows_with_the_machine() {
    for (memory, dom0) in [(2000, 1000), (4000, 1149), (65_536, 3072), (1_048_576, 8192)] {
        assert_eq!(boot::dom0_mib(memory), Ok(dom0), "{memory}");
    }
}

#[test]
fn the_environment_block_is_what_grub_takes() {
    let block = boot::env_block(&[("slot", "a")]);
    assert_eq!(block.len(), ENV_SIZE);
    assert!(block.starts_with(b"# GRUB Environment Block\nslot=a\n###"));
}
