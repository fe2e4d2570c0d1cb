//! Domain to wire to domain loses nothing; what is not valid is refused with its field; what is on the wire stays so.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails, which is its purpose")]

mod descriptor;

use proptest::prelude::*;
use prost::Message;
use xenith_common_ids::{Epoch, IncarnationId, NetworkId, OperationId, SrId, VdiId, VmId};
use xenith_common_units::{MacAddr, MemoryMiB, VcpuCount};
use xenith_hypervisor_agent_api::{
    ArrivalCommand, Command, CommandResult, Envelope, Exchanged, RevertPart, SendVdi, SendVm,
    TransferCommand, VmAction, fault_from_status, status_from_fault, wire,
};
use xenith_hypervisor_agent_types::{
    Autostart, BootDevice, CdDrive, CpuShare, CrashAction, DirectBoot, DiskAccess, DiskDevice, DiskSpec,
    Fault, FaultReason, Firmware, Graphics, Hardware, MemoryOf, MemorySpec, NicSpec, Platform, PlatformKind,
    RebootAction, SnapshotOf, ValidVmSpec, VcpuSpec, Video, VideoAdapter, VmSpec,
};

fn platform() -> impl Strategy<Value = Platform> {
    let boot = || {
        ("[a-z][a-z0-9.-]{0,20}", prop::option::of("[a-z]{1,9}"), "[ -~]{0,80}")
            .prop_map(|(kernel, ramdisk, cmdline)| DirectBoot { kernel, ramdisk, cmdline })
    };
    let firmware = prop_oneof![Just(Firmware::Bios), Just(Firmware::Uefi)];
    let order =
        prop::sample::subsequence(vec![BootDevice::Disk, BootDevice::Cdrom, BootDevice::Network], 0..=3);
    prop_oneof![
        boot().prop_map(|boot| Platform::Pv { boot }),
        boot().prop_map(|boot| Platform::Pvh { boot }),
        (firmware, order).prop_map(|(firmware, boot_order)| Platform::Hvm { firmware, boot_order }),
    ]
}

fn spec() -> impl Strategy<Value = ValidVmSpec> {
    let disks = prop::collection::vec(any::<bool>(), 0..5).prop_map(|read_only| {
        let disk = |(index, read_only): (usize, bool)| DiskSpec {
            device: DiskDevice::nth(u8::try_from(index).unwrap()).unwrap(),
            vdi: VdiId::new(),
            access: if read_only { DiskAccess::ReadOnly } else { DiskAccess::ReadWrite },
        };
        read_only.into_iter().enumerate().map(disk).collect::<Vec<_>>()
    });
    let nics = prop::collection::btree_set(any::<[u8; 3]>(), 0..4).prop_map(|macs| {
        let nic = |mac| NicSpec {
            mac: MacAddr::from_xen_block(mac),
            network: NetworkId::new(),
            bridge: "xenbr0".to_owned(),
        };
        macs.into_iter().map(nic).collect::<Vec<_>>()
    });
    let autostart = prop::option::of((any::<u16>(), any::<u16>()))
        .prop_map(|some| some.map(|(order, delay_s)| Autostart { order, delay_s }));
    let crash = prop_oneof![Just(CrashAction::Restart), Just(CrashAction::Stop), Just(CrashAction::Preserve)];
    let reboot = prop_oneof![Just(RebootAction::Restart), Just(RebootAction::Stop)];
    let graphics = prop_oneof![Just(Graphics::None), Just(Graphics::Vnc)];
    let sizes = (1u32..=64, 0u32..=64, 32u64..65_536, 0u64..65_536);
    let what = (crash, reboot, graphics);
    ("[a-z][a-z0-9-]{0,30}", platform(), sizes, disks, nics, autostart, what, any::<[u16; 3]>()).prop_map(
        |(name, platform, sizes, disks, nics, autostart, (on_crash, on_reboot, graphics), seed)| {
            let hardware = hardware(&platform, &disks, seed);
            let (online, more_vcpus, target, more_memory) = sizes;
            let vcpus = |count| VcpuCount::new(count).unwrap();
            let memory = |mib| MemoryMiB::new(mib).unwrap();
            let spec = VmSpec {
                name: name.parse().unwrap(),
                platform,
                vcpus: VcpuSpec { online: vcpus(online), max: vcpus(online + more_vcpus) },
                memory: MemorySpec { target: memory(target), max: memory(target + more_memory) },
                disks,
                nics,
                graphics,
                on_crash,
                on_reboot,
                autostart,
                hardware,
            };
            ValidVmSpec::try_from(spec).unwrap()
        },
    )
}

/// What this kind of guest can have.
fn hardware(platform: &Platform, disks: &[DiskSpec], [weight, cap, more]: [u16; 3]) -> Hardware {
    let hvm = platform.kind() == PlatformKind::Hvm;
    let room = disks.iter().all(|disk| disk.device != CdDrive::place());
    let cd = CdDrive { vdi: more.is_multiple_of(3).then(VdiId::new) };
    let video =
        Video { adapter: VideoAdapter::Std, memory: MemoryMiB::new(16 + u64::from(more % 16)).unwrap() };
    let pci = format!("{:x}:03:1f.{}", more, more % 8).parse().unwrap();
    Hardware {
        cd: (hvm && room).then_some(cd),
        video: (hvm && more.is_multiple_of(2)).then_some(video),
        cpu: CpuShare {
            weight: (weight > 0).then_some(weight),
            cap: (1..=100).contains(&cap).then_some(cap),
            pin: more.is_multiple_of(5).then(|| "0-3,9".parse().unwrap()),
        },
        pci: if hvm && more.is_multiple_of(7) { vec![pci] } else { vec![] },
        guest_agent: more.is_multiple_of(2),
    }
}

proptest! {
    #[test]
    fn a_definition_round_trips(spec in spec(), definition: u64, epoch: u64) {
        let envelope = Envelope {
            operation: OperationId::new(),
            epoch: Epoch(epoch),
            command: Command::Vm { vm: VmId::new(), action: VmAction::Define { definition, spec: Box::new(spec) } },
        };
        let wire = wire::ExecuteRequest::from(&envelope);
        prop_assert_eq!(Envelope::try_from(wire).unwrap(), envelope);
    }
}

fn send_vdi() -> SendVdi {
    SendVdi {
        vdi: VdiId::new(),
        to: VdiId::new(),
        address: "xen2:8445".into(),
        server_name: "host".into(),
        authority_pem: "PEM".into(),
        ticket: "secret".into(),
        bandwidth: 1 << 20,
    }
}

#[test]
fn what_moves_a_vm_round_trips() {
    let (vm, incarnation) = (VmId::new(), IncarnationId::new());
    let send = SendVm {
        address: "xen2:8445".into(),
        server_name: "host".into(),
        authority_pem: "PEM".into(),
        ticket: "secret".into(),
        exchanged: vec![Exchanged { from: VdiId::new(), to: VdiId::new() }],
    };
    assert!(!format!("{send:?}").contains("secret"), "commands are logged");
    let idle = std::time::Duration::from_secs(60);
    let disks = vec![SnapshotOf { vdi: VdiId::new(), snapshot: VdiId::new() }];
    let memory = MemoryOf { vdi: VdiId::new(), sr: SrId::new() };
    let back = |part| Command::Vm {
        vm,
        action: VmAction::RevertWithMemory { incarnation, disks: disks.clone(), memory, part },
    };
    for command in [
        Command::Vm { vm, action: VmAction::Send(Box::new(send)) },
        Command::Vm { vm, action: VmAction::TakeBack },
        Command::Vm { vm, action: VmAction::SnapshotWithMemory { disks: disks.clone(), memory } },
        back(RevertPart::Check),
        back(RevertPart::Whole),
        Command::Vm { vm, action: VmAction::Exchange(Exchanged { from: VdiId::new(), to: VdiId::new() }) },
        Command::Vm {
            vm,
            action: VmAction::SnapshotSent {
                disks: vec![SnapshotOf { vdi: VdiId::new(), snapshot: VdiId::new() }],
            },
        },
        Command::Transfer(TransferCommand::SendChanges { send: send_vdi(), base: VdiId::new() }),
        Command::Transfer(TransferCommand::Patch {
            from: VdiId::new(),
            base: VdiId::new(),
            to: VdiId::new(),
            bandwidth: 7,
        }),
        Command::Arrival(ArrivalCommand::Open { vm, incarnation, ticket_hash: "00ff".into(), idle }),
        Command::Arrival(ArrivalCommand::Close { vm }),
    ] {
        let envelope = Envelope { operation: OperationId::new(), epoch: Epoch(3), command };
        assert_eq!(Envelope::try_from(wire::ExecuteRequest::from(&envelope)).unwrap(), envelope);
    }
    for answer in [CommandResult::ArrivalOpen(8445), CommandResult::Copied(u64::MAX)] {
        assert_eq!(CommandResult::try_from(wire::ExecuteReply::from(&answer)).unwrap(), answer);
    }
    let wrong = wire::ArrivalOpen { port: 65_536 };
    let wrong = wire::ExecuteReply { result: Some(wire::execute_reply::Result::ArrivalOpen(wrong)) };
    assert_eq!(CommandResult::try_from(wrong).unwrap_err().field, "arrival_open.port");
}

#[test]
fn what_is_wrong_is_named() {
    let vm_id = VmId::new().to_string();
    let define = |change: fn(&mut wire::VmSpec)| {
        let mut spec = wire::VmSpec {
            name: "web".into(),
            platform: Some(wire::Platform {
                kind: Some(wire::platform::Kind::Pvh(wire::DirectBoot {
                    kernel: "vmlinuz".into(),
                    ..Default::default()
                })),
            }),
            vcpus_online: 1,
            vcpus_max: 1,
            memory_target_mib: 128,
            memory_max_mib: 128,
            graphics: 1,
            on_crash: 1,
            on_reboot: 1,
            ..Default::default()
        };
        change(&mut spec);
        wire::execute_request::Command::DefineVm(wire::DefineVm {
            vm_id: VmId::new().to_string(),
            definition: 1,
            spec: Some(spec),
        })
    };
    let pause =
        |vm_id: &str| wire::execute_request::Command::PauseVm(wire::VmCommand { vm_id: vm_id.to_owned() });
    let table = [
        ("vm_id", Some(pause("web-1"))),
        ("command", None),
        ("spec.name", Some(define(|spec| spec.name = "a b".into()))),
        ("spec.platform", Some(define(|spec| spec.platform = None))),
        ("spec.graphics", Some(define(|spec| spec.graphics = 77))),
        ("spec.vcpus_max", Some(define(|spec| spec.vcpus_max = 0))),
        ("spec.memory.target", Some(define(|spec| spec.memory_target_mib = 512))),
        ("spec.disks[0].device", Some(define(|spec| spec.disks = vec![wire::Disk::default()]))),
    ];
    for (field, command) in table {
        let operation_id = OperationId::new().to_string();
        let request = wire::ExecuteRequest { operation_id, epoch: 1, command };
        assert_eq!(Envelope::try_from(request).unwrap_err().field, field);
    }
    let request = wire::ExecuteRequest { operation_id: "1".into(), epoch: 1, command: Some(pause(&vm_id)) };
    assert_eq!(Envelope::try_from(request).unwrap_err().field, "operation_id");
}

#[test]
fn faults_round_trip() {
    for reason in FaultReason::ALL {
        let fault = Fault { reason, message: "no".into(), field: Some("spec.name".into()) };
        assert_eq!(fault_from_status(&status_from_fault(&fault)), Some(fault));
    }
    assert_eq!(fault_from_status(&tonic::Status::unavailable("connection refused")), None);
}

/// As gRPC writes it: `NOT_FOUND`.
fn spelt(code: tonic::Code) -> String {
    let mut text = String::new();
    for letter in format!("{code:?}").chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

#[test]
fn the_manual_tells_each_reason_with_its_code_and_whether_to_try_again() {
    let manual = include_str!("../../../../docs/errors.md");
    let agent = manual.split("\n## ").find(|section| section.starts_with("Agent\n")).unwrap();
    let rows: Vec<&str> = agent.lines().filter(|line| line.starts_with("| `")).collect();
    assert_eq!(rows.len(), FaultReason::ALL.len(), "one row for each: {rows:#?}");
    for reason in FaultReason::ALL {
        let code = spelt(status_from_fault(&Fault::new(reason, "no")).code());
        let again = if reason.is_retryable() { "yes " } else { "" };
        let row = format!("| `{reason}` | {code} | {again}|");
        assert!(rows.iter().any(|shown| shown.starts_with(&row)), "docs/errors.md needs a row {row:?}");
    }
}

/// An older peer does not see a choice that it does not know. It must not look like a fault of the caller.
#[test]
fn what_only_a_newer_version_knows_asks_for_an_upgrade() {
    let request = |command| {
        let operation_id = OperationId::new().to_string();
        wire::ExecuteRequest { operation_id, epoch: 1, command }
    };
    // As it arrives: field 999 with an empty message.
    let mut newer = request(None).encode_to_vec();
    newer.extend([0xba, 0x3e, 0]);
    let newer = wire::ExecuteRequest::decode(newer.as_slice()).unwrap();

    let import = wire::execute_request::Command::Import(wire::ImportCommand { what: None });
    let transfer = wire::execute_request::Command::Transfer(wire::TransferCommand { what: None });
    let arrival = wire::execute_request::Command::Arrival(wire::ArrivalCommand { what: None });
    let sr_id = SrId::new().to_string();
    let sr = wire::AttachSr { sr_id, spec: Some(wire::SrSpec { kind: None }), create: false };
    let sr = wire::execute_request::Command::AttachSr(sr);
    for (field, noun, request) in [
        ("command", "a command", newer),
        ("import.what", "a command", request(Some(import))),
        ("transfer.what", "a command", request(Some(transfer))),
        ("arrival.what", "a command", request(Some(arrival))),
        ("spec.kind", "a kind of SR", request(Some(sr))),
    ] {
        let fault = Fault::from(Envelope::try_from(request).unwrap_err());
        assert_eq!(
            (fault.reason, fault.field.as_deref()),
            (FaultReason::Unsupported, Some(field)),
            "{fault}"
        );
        for part in [noun, "this agent does not know", "upgrade the agent"] {
            assert!(fault.message.contains(part), "{fault}");
        }
        assert!(!fault.is_retryable(), "{fault}");
    }
    let error = CommandResult::try_from(wire::ExecuteReply { result: None }).unwrap_err();
    assert_eq!(error.reason, FaultReason::Unsupported);
    assert!(error.to_string().contains("upgrade the orchestrator"), "{error}");
}
