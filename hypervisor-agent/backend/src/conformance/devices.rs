//! What can be plugged into a running guest, and taken out.

use std::path::Path;

use xenith_common_ids::DomId;
use xenith_common_units::{MacAddr, VcpuCount};
use xenith_hypervisor_agent_types::{
    CpuFeatures, CpuLevel, CpuShare, DiskAccess, DiskDevice, DomainCd, DomainDisk, DomainNic, PlatformKind,
};

use super::promises;
use super::scene::{During, Halt, Outcome, Scene, ensure};
use crate::{HypervisorError, Start};

promises! {
    vcpus_within_the_maximum: "a running guest's virtual CPUs can be set up to its maximum and back";
    vcpus_over_the_maximum: "virtual CPUs over the maximum are refused";
    cpu_share: "a domain's share of the CPUs is the one it was made with, then each that it is set to";
    cpu_share_of_absent_cpus: "a domain cannot be bound to CPUs that the host does not have";
    cpu_level: "a guest that is given fewer CPU features than its host has boots";
    cd_in_and_out: "a CD drive has the medium it began with, then another and none while its guest runs";
    cd_without_drive: "a domain without a CD drive takes no medium";
    host_hardware: "the host's NUMA nodes have its CPUs";
    disk_in_and_out: "a disk can be attached to a running guest, detached and attached again";
    disk_twice: "a device name that is in use is refused";
    disk_not_there: "detaching a disk that is not attached says so";
    disk_without_image: "attaching an image that does not exist is refused and attaches nothing";
    nic_in_and_out: "a NIC can be attached to a running guest, detached and attached again";
    nic_twice: "an address that is in use is refused";
    nic_not_there: "detaching a NIC that is not attached says so";
    nic_without_bridge: "attaching to a bridge that does not exist is refused";
}

fn no_such_device(error: &HypervisorError) -> bool {
    matches!(error, HypervisorError::NoSuchDevice { .. })
}

fn already_attached(error: &HypervisorError) -> bool {
    matches!(error, HypervisorError::AlreadyAttached { .. })
}

fn refused_device(error: &HypervisorError) -> bool {
    matches!(error, HypervisorError::InvalidSpec { .. } | HypervisorError::Device { .. })
}

async fn vcpus_within_the_maximum(scene: &Scene<'_>) -> Outcome {
    let (domid, spec) = scene.booted().await?;
    if spec.vcpus.max <= spec.vcpus.online {
        return Err(Halt::Skip(format!("the fixture's {} guest has no more virtual CPUs", spec.kind)));
    }
    for goal in [spec.vcpus.max, spec.vcpus.online] {
        scene.hv.set_vcpus(domid, goal).await.during(&format!("setting {goal} virtual CPUs"))?;
        let mut wait = scene.wait(format!("domain {domid} to have {goal} virtual CPUs online"));
        while scene.info(domid).await?.vcpus_online != goal.get() {
            wait.tick().await?;
        }
    }
    Ok(())
}

async fn vcpus_over_the_maximum(scene: &Scene<'_>) -> Outcome {
    let (domid, spec) = scene.booted().await?;
    let over = VcpuCount::new(spec.vcpus.max.get() + 1)
        .map_err(|error| Halt::Skip(format!("the guest has as many as there can be: {error}")))?;
    let set = scene.hv.set_vcpus(domid, over).await;
    set.refused("setting virtual CPUs over the maximum", "InvalidSpec", |error| {
        matches!(error, HypervisorError::InvalidSpec { .. })
    })?;
    Ok(())
}

fn share(weight: u16, cap: Option<u16>, pin: Option<&str>) -> CpuShare {
    let pin = pin.map(|cpus| cpus.parse().expect("a number"));
    CpuShare { weight: Some(weight), cap, pin }
}

async fn cpu_share(scene: &Scene<'_>) -> Outcome {
    let mut spec = scene.spec();
    spec.hardware.cpu = share(512, Some(50), Some("0"));
    let domid = scene.create(&spec, Start::Running).await?;
    has_share(scene, domid, &spec.hardware.cpu).await?;
    for share in [share(1024, None, None), share(128, Some(100), Some("0")), CpuShare::default()] {
        scene.hv.set_cpu_share(domid, &share).await.during(&format!("setting {share:?}"))?;
        has_share(scene, domid, &share).await?;
    }
    Ok(())
}

/// What it is bound to is not compared: on a host with few CPUs one of them may be all.
async fn has_share(scene: &Scene<'_>, domid: DomId, share: &CpuShare) -> Outcome {
    let expected = (share.weight.unwrap_or(CpuShare::WEIGHT), share.cap.unwrap_or(0));
    let (weight, cap) = scene.fixture.scheduling(domid).await?;
    ensure!((weight, cap) == expected, "its weight is {weight}, its cap {cap}, of {share:?}");
    Ok(())
}

async fn cpu_share_of_absent_cpus(scene: &Scene<'_>) -> Outcome {
    let (domid, _) = scene.domain(Start::Paused).await?;
    let set = scene.hv.set_cpu_share(domid, &share(256, None, Some("4095"))).await;
    set.refused("binding a domain to CPU 4095", "InvalidSpec", |error| {
        matches!(error, HypervisorError::InvalidSpec { .. })
    })?;
    Ok(())
}

async fn cpu_level(scene: &Scene<'_>) -> Outcome {
    let host = scene.hv.host().await.during("looking at the host")?;
    let Some(features) = host.cpu_features else {
        return Err(Halt::Skip("the host does not tell what its processors can do".to_owned()));
    };
    let mut words = *features.words();
    // Without AVX2 and all of AVX-512 that is told in the same word.
    words[5] &= !((1 << 5) | (1 << 16) | (1 << 17) | (1 << 21) | (1 << 28) | (1 << 30) | (1 << 31));
    let mut spec = scene.spec();
    spec.hardware.cpu_level =
        CpuFeatures::new(features.maker(), words).and_then(|level| CpuLevel::on(features, &level));
    ensure!(spec.hardware.cpu_level.is_some(), "the host's own features are no level: {features}");
    let domid = scene.create(&spec, Start::Running).await?;
    scene.fixture.booted(domid).await?;
    Ok(())
}

async fn cd_in_and_out(scene: &Scene<'_>) -> Outcome {
    let mut spec = scene.spec();
    if spec.kind != PlatformKind::Hvm {
        return Err(Halt::Skip(format!("a {} guest has no CD drive", spec.kind)));
    }
    let (first, second) = (scene.fixture.disk(1 << 20).await?, scene.fixture.disk(2 << 20).await?);
    spec.hardware.cd = Some(DomainCd { path: Some(first.clone()) });
    let domid = scene.create(&spec, Start::Running).await?;
    has_medium(scene, domid, Some(&first)).await?;
    for (what, image) in [
        ("changing the medium", Some(second.as_path())),
        ("taking it out", None),
        ("taking out what is not in it", None),
        ("putting it in again", Some(second.as_path())),
    ] {
        scene.hv.change_cd(domid, image).await.during(what)?;
        has_medium(scene, domid, image).await?;
    }
    let missing = scene.hv.change_cd(domid, Some("/nonexistent/image".as_ref())).await;
    missing.refused("putting in a missing image", "InvalidSpec or Device", refused_device)?;
    has_medium(scene, domid, Some(&second)).await
}

async fn has_medium(scene: &Scene<'_>, domid: DomId, image: Option<&Path>) -> Outcome {
    let medium = scene.fixture.medium(domid).await?;
    ensure!(medium.as_deref() == image, "in the drive is {medium:?}, not {image:?}");
    Ok(())
}

async fn cd_without_drive(scene: &Scene<'_>) -> Outcome {
    let (domid, _) = scene.domain(Start::Paused).await?;
    let image = scene.fixture.disk(1 << 20).await?;
    let changed = scene.hv.change_cd(domid, Some(&image)).await;
    changed.refused("putting in a medium", "NoSuchDevice", no_such_device)?;
    Ok(())
}

async fn host_hardware(scene: &Scene<'_>) -> Outcome {
    let hardware = scene.hv.hardware().await.during("asking for the hardware")?;
    let facts = scene.hv.host().await.during("asking for the host")?;
    let cpus: usize = hardware.numa.iter().flat_map(|node| &node.cpus).map(|cpus| cpus.iter().count()).sum();
    let expected = facts.topology.cpus as usize;
    ensure!(cpus == expected, "the nodes have {cpus} CPUs, the host {expected}: {hardware:?}");
    Ok(())
}

/// The last device: no fixture boots from it.
fn device() -> DiskDevice {
    DiskDevice::nth(DiskDevice::COUNT - 1).expect("one less than there are")
}

async fn disk(scene: &Scene<'_>) -> Outcome<DomainDisk> {
    let path = scene.fixture.disk(16 << 20).await?;
    Ok(DomainDisk { device: device(), path, access: DiskAccess::ReadWrite })
}

async fn disk_in_and_out(scene: &Scene<'_>) -> Outcome {
    let disk = disk(scene).await?;
    let (domid, _) = scene.booted().await?;
    for round in ["first", "second"] {
        scene.hv.attach_disk(domid, &disk).await.during(&format!("the {round} attach"))?;
        scene.hv.detach_disk(domid, disk.device).await.during(&format!("the {round} detach"))?;
    }
    let again = scene.hv.detach_disk(domid, disk.device).await;
    again.refused("detaching it once more", "NoSuchDevice", no_such_device)?;
    Ok(())
}

async fn disk_twice(scene: &Scene<'_>) -> Outcome {
    let (first, second) = (disk(scene).await?, disk(scene).await?);
    let (domid, _) = scene.booted().await?;
    scene.hv.attach_disk(domid, &first).await.during("attaching")?;
    let again = scene.hv.attach_disk(domid, &second).await;
    again.refused("attaching another disk under that name", "AlreadyAttached", already_attached)?;
    scene.hv.detach_disk(domid, first.device).await.during("detaching the first")?;
    Ok(())
}

async fn disk_not_there(scene: &Scene<'_>) -> Outcome {
    let (domid, _) = scene.booted().await?;
    let detached = scene.hv.detach_disk(domid, device()).await;
    detached.refused("detaching a disk that is not there", "NoSuchDevice", no_such_device)?;
    Ok(())
}

async fn disk_without_image(scene: &Scene<'_>) -> Outcome {
    let (domid, _) = scene.booted().await?;
    let disk =
        DomainDisk { device: device(), path: "/nonexistent/image".into(), access: DiskAccess::ReadWrite };
    let attached = scene.hv.attach_disk(domid, &disk).await;
    attached.refused("attaching a missing image", "InvalidSpec or Device", refused_device)?;
    let detached = scene.hv.detach_disk(domid, disk.device).await;
    detached.refused("detaching what was never attached", "NoSuchDevice", no_such_device)?;
    Ok(())
}

const MAC: MacAddr = MacAddr::from_xen_block([0x5e, 0xed, 0x01]);

async fn nic_in_and_out(scene: &Scene<'_>) -> Outcome {
    let nic = DomainNic { mac: MAC, bridge: scene.fixture.bridge()? };
    let (domid, _) = scene.booted().await?;
    for round in ["first", "second"] {
        scene.hv.attach_nic(domid, &nic).await.during(&format!("the {round} attach"))?;
        scene.hv.detach_nic(domid, nic.mac).await.during(&format!("the {round} detach"))?;
    }
    let again = scene.hv.detach_nic(domid, nic.mac).await;
    again.refused("detaching it once more", "NoSuchDevice", no_such_device)?;
    Ok(())
}

async fn nic_twice(scene: &Scene<'_>) -> Outcome {
    let nic = DomainNic { mac: MAC, bridge: scene.fixture.bridge()? };
    let (domid, _) = scene.booted().await?;
    scene.hv.attach_nic(domid, &nic).await.during("attaching")?;
    let again = scene.hv.attach_nic(domid, &nic).await;
    again.refused("attaching it once more", "AlreadyAttached", already_attached)?;
    scene.hv.detach_nic(domid, nic.mac).await.during("detaching it")?;
    let again = scene.hv.detach_nic(domid, nic.mac).await;
    again.refused("detaching it once more", "NoSuchDevice", no_such_device)?;
    Ok(())
}

async fn nic_not_there(scene: &Scene<'_>) -> Outcome {
    let (domid, _) = scene.booted().await?;
    let detached = scene.hv.detach_nic(domid, MAC).await;
    detached.refused("detaching a NIC that is not there", "NoSuchDevice", no_such_device)?;
    Ok(())
}

async fn nic_without_bridge(scene: &Scene<'_>) -> Outcome {
    let (domid, _) = scene.booted().await?;
    let nic = DomainNic { mac: MAC, bridge: "no-such-bridge".to_owned() };
    let attached = scene.hv.attach_nic(domid, &nic).await;
    attached.refused("attaching to an unknown bridge", "InvalidSpec or Device", refused_device)?;
    let info = scene.info(domid).await?;
    ensure!(info.domid == domid, "the domain is another one after that: {info:?}");
    Ok(())
}
