//! What the host and its list of domains say.

use std::time::Duration;

use xenith_common_ids::{DomId, DomainUuid};
use xenith_common_units::{MacAddr, MemoryMiB, VcpuCount};
use xenith_hypervisor_agent_types::metrics::MachineUsage;
use xenith_hypervisor_agent_types::{
    CpuTopology, DiskAccess, DiskDevice, DomainDisk, DomainNic, MemorySpec, PlatformKind,
};

use super::promises;
use super::scene::{During, Outcome, Scene, ensure, to_file};
use crate::{ShutdownRequest, Start};

promises! {
    host_tells_its_facts: "the host's name, CPUs and memory are told, and free memory is part of the total";
    host_is_plausible: "the host's scheduler, topology and capabilities are such as a machine has";
    usage_is_of_the_same_domains: "what the machine used is told with the list of domains, and only grows while they live";
    list_is_in_order: "domains are listed in the order of their ids, without dom0";
    listed_with_identity: "a domain is listed with the name, identity, kind and sizes it was made with";
    identity_from_the_first_listing: "a domain is listed with its identity from the moment that it is listed";
    uuid_is_the_vms: "a domain's UUID is the id of its VM, in every list and from the first one";
    foreign_domain_has_no_identity: "a domain made by somebody else is listed without identity";
    unknown_domain: "every call on a domain that does not exist says so";
    dom0_is_out_of_reach: "dom0 is no domain of this seam";
}

async fn host_tells_its_facts(scene: &Scene<'_>) -> Outcome {
    let host = scene.hv.host().await.during("asking for the host")?;
    ensure!(!host.hostname.is_empty(), "the host has no name");
    ensure!(host.topology.cpus > 0, "the host has no CPU");
    ensure!(host.xen.major >= 4, "Xen {} is not a version", host.xen.major);
    ensure!(host.memory_total >= host.memory_free, "more memory is free than there is: {host:?}");
    ensure!(host.memory_dom0.mib() > 0, "dom0 has no memory");
    ensure!(!host.capabilities.is_empty(), "the host can run no guest");
    Ok(())
}

async fn host_is_plausible(scene: &Scene<'_>) -> Outcome {
    let host = scene.hv.host().await.during("asking for the host")?;
    // Those that Xen 4.17 can be built with.
    let schedulers = ["credit", "credit2", "rtds", "null", "arinc653"];
    ensure!(schedulers.contains(&host.scheduler.as_str()), "{:?} is no scheduler of Xen's", host.scheduler);
    let CpuTopology { cpus, cores_per_socket, threads_per_core, nodes, khz } = host.topology;
    ensure!((1..=cpus).contains(&cores_per_socket), "{cores_per_socket} cores per socket of {cpus} CPUs");
    ensure!((1..=cpus).contains(&threads_per_core), "{threads_per_core} threads per core of {cpus} CPUs");
    ensure!(nodes >= 1, "the host has no NUMA node");
    ensure!((100_000..100_000_000).contains(&khz), "its CPUs run at {khz} kHz");
    ensure!(host.memory_dom0 <= host.memory_total, "dom0 has more memory than there is: {host:?}");
    let needed = if scene.spec().kind == PlatformKind::Pv { "pv" } else { "hvm" };
    ensure!(host.capabilities.iter().any(|word| word == needed), "no {needed} among {:?}", host.capabilities);
    let usage = scene.hv.usage().await.during("asking for the usage")?;
    ensure!(usage.cpus == cpus, "the host has {cpus} CPUs, in its usage {}", usage.cpus);
    Ok(())
}

/// What a toolstack may add to the memory of a guest, or keep of it, for itself.
const SLACK: MemoryMiB = MemoryMiB::from_bytes_floor(16 << 20);

async fn usage_is_of_the_same_domains(scene: &Scene<'_>) -> Outcome {
    let (domid, spec) = scene.domain(Start::Running).await?;
    let first = scene.hv.usage().await.during("asking for the usage")?;
    ensure!(first.cpus > 0, "the machine has no CPU");
    ensure!(first.memory_total >= first.memory_free, "more memory is free than there is: {first:?}");
    ensure!(first.dom0_memory.mib() > 0, "dom0 has no memory");
    ensure!(first.domains.is_sorted_by_key(|info| info.domid), "the list is not in order");
    let of = |usage: &MachineUsage| usage.domains.iter().find(|info| info.domid == domid).cloned();
    let Some(before) = of(&first) else {
        ensure!(false, "domain {domid} is not among them");
        return Ok(());
    };
    ensure!(before.identity == Some(spec.identity), "its identity is {:?}", before.identity);
    let mut wait = scene.wait("the domain to use a CPU");
    loop {
        let now = scene.hv.usage().await.during("asking for the usage")?;
        ensure!(now.dom0_cpu_time_ns >= first.dom0_cpu_time_ns, "dom0's CPU time went back");
        let Some(info) = of(&now) else { break };
        ensure!(info.cpu_time_ns >= before.cpu_time_ns, "its CPU time went back");
        if info.cpu_time_ns > before.cpu_time_ns {
            break;
        }
        wait.tick().await?;
    }
    Ok(())
}

async fn list_is_in_order(scene: &Scene<'_>) -> Outcome {
    let (first, _) = scene.domain(Start::Paused).await?;
    let (second, _) = scene.domain(Start::Paused).await?;
    ensure!(first != second, "two domains have the id {first}");
    let ids: Vec<DomId> =
        scene.hv.domains().await.during("listing")?.into_iter().map(|info| info.domid).collect();
    ensure!(ids.is_sorted(), "the list is not in order: {ids:?}");
    ensure!(!ids.contains(&DomId::DOM0), "dom0 is listed");
    ensure!(ids.contains(&first) && ids.contains(&second), "{first} or {second} is not in {ids:?}");
    Ok(())
}

async fn listed_with_identity(scene: &Scene<'_>) -> Outcome {
    let (domid, spec) = scene.domain(Start::Paused).await?;
    let Some(info) = scene.listed(domid).await? else {
        ensure!(false, "domain {domid} is not listed after its create");
        return Ok(());
    };
    ensure!(info.identity == Some(spec.identity), "the identity is {:?}", info.identity);
    ensure!(info.name == spec.name.as_str(), "the name is {:?}", info.name);
    ensure!(info.kind == spec.kind, "the kind is {}", info.kind);
    let MemorySpec { target, max } = spec.memory;
    let apart = info.memory.saturating_sub(target).max(target.saturating_sub(info.memory));
    ensure!(apart <= SLACK, "the memory is {}, not {target}", info.memory);
    ensure!(info.memory_max == max, "the maximum of memory is {}, not {max}", info.memory_max);
    // The guest brings its others up itself, as it boots.
    let online = info.vcpus_online;
    ensure!((1..=spec.vcpus.online.get()).contains(&online), "{online} virtual CPUs are online");
    let alone = scene.info(domid).await?;
    let same = alone.identity == info.identity && alone.name == info.name;
    ensure!(same && alone.memory_max == info.memory_max, "{alone:?} is listed as {info:?}");
    Ok(())
}

async fn identity_from_the_first_listing(scene: &Scene<'_>) -> Outcome {
    let spec = scene.spec();
    let create = scene.hv.create(&spec, Start::Paused);
    tokio::pin!(create);
    let pace = scene.fixture.pace().min(Duration::from_millis(50));
    loop {
        let done = tokio::select! {
            created = &mut create => { created.during("creating")?; true }
            () = tokio::time::sleep(pace) => false,
        };
        let domains = scene.hv.domains().await.during("listing")?;
        for info in domains.iter().filter(|info| info.name == spec.name.as_str()) {
            ensure!(info.identity == Some(spec.identity), "it was listed with {:?}", info.identity);
        }
        if done {
            return Ok(());
        }
    }
}

/// What the agent has left of a domain's identity when xenstore has lost its data.
async fn uuid_is_the_vms(scene: &Scene<'_>) -> Outcome {
    let spec = scene.spec();
    let uuid = DomainUuid::from(spec.identity.vm);
    let create = scene.hv.create(&spec, Start::Paused);
    tokio::pin!(create);
    let pace = scene.fixture.pace().min(Duration::from_millis(50));
    let domid = loop {
        let created = tokio::select! {
            created = &mut create => Some(created.during("creating")?),
            () = tokio::time::sleep(pace) => None,
        };
        let domains = scene.hv.domains().await.during("listing")?;
        for info in domains.iter().filter(|info| info.name == spec.name.as_str()) {
            ensure!(info.uuid == uuid, "it was listed with the UUID {}, not {uuid}", info.uuid);
        }
        if let Some(domid) = created {
            let listed = domains.iter().any(|info| info.domid == domid && info.is_of(spec.identity.vm));
            ensure!(listed, "domain {domid} is not listed as the VM's");
            break domid;
        }
    };
    let alone = scene.info(domid).await?.uuid;
    ensure!(alone == uuid, "by itself it has the UUID {alone}, not {uuid}");
    let usage = scene.hv.usage().await.during("asking for the usage")?;
    let counted = usage.domains.iter().find(|info| info.domid == domid).map(|info| info.uuid);
    ensure!(counted == Some(uuid), "in the usage its UUID is {counted:?}, not {uuid}");
    Ok(())
}

async fn foreign_domain_has_no_identity(scene: &Scene<'_>) -> Outcome {
    let (domid, name) = scene.foreign().await?;
    let mut wait = scene.wait("the foreign domain to be listed");
    let info = loop {
        if let Some(info) = scene.listed(domid).await? {
            break info;
        }
        wait.tick().await?;
    };
    ensure!(info.identity.is_none(), "a foreign domain has the identity {:?}", info.identity);
    ensure!(info.name == name, "the foreign domain's name is {:?}, not {name:?}", info.name);
    Ok(())
}

async fn unknown_domain(scene: &Scene<'_>) -> Outcome {
    // Xen's ids end at 0x7ff0 (DOMID_FIRST_RESERVED), and this one was never given out.
    let nobody = DomId(0x7fee);
    let hv = &scene.hv;
    let memory = scene.spec().memory.target;
    let device = DiskDevice::nth(25).expect("there are 26");
    let mac = MacAddr::from_xen_block([0, 0, 1]);
    hv.domain(nobody).await.refused_no_such_domain("looking")?;
    hv.pause(nobody).await.refused_no_such_domain("pausing")?;
    hv.unpause(nobody).await.refused_no_such_domain("unpausing")?;
    hv.destroy(nobody).await.refused_no_such_domain("destroying")?;
    hv.shutdown(nobody, ShutdownRequest::PowerOff).await.refused_no_such_domain("shutting down")?;
    hv.has_taken_up(nobody).await.refused_no_such_domain("asking whether it took that up")?;
    let stream = to_file(&scene.file("stream"))?;
    hv.suspend(nobody, stream).await.refused_no_such_domain("suspending")?;
    hv.set_memory(nobody, memory).await.refused_no_such_domain("ballooning")?;
    hv.set_vcpus(nobody, VcpuCount::ONE).await.refused_no_such_domain("setting virtual CPUs")?;
    hv.set_cpu_share(nobody, &Default::default()).await.refused_no_such_domain("setting the CPU share")?;
    hv.change_cd(nobody, None).await.refused_no_such_domain("changing the CD")?;
    hv.detach_disk(nobody, device).await.refused_no_such_domain("detaching a disk")?;
    hv.detach_nic(nobody, mac).await.refused_no_such_domain("detaching a NIC")?;
    hv.consoles(nobody).await.refused_no_such_domain("asking for consoles")?;
    hv.cancel_suspend(nobody).await.refused_no_such_domain("cancelling a suspend")?;
    if let Ok(bridge) = scene.fixture.bridge() {
        let nic = DomainNic { mac, bridge };
        hv.attach_nic(nobody, &nic).await.refused_no_such_domain("attaching a NIC")?;
    }
    let path = scene.fixture.disk(1 << 20).await?;
    let disk = DomainDisk { device, path, access: DiskAccess::ReadOnly };
    hv.attach_disk(nobody, &disk).await.refused_no_such_domain("attaching a disk")?;
    Ok(())
}

async fn dom0_is_out_of_reach(scene: &Scene<'_>) -> Outcome {
    let hv = &scene.hv;
    let memory = scene.spec().memory.target;
    // The look first, which does no harm: a back-end that lets it through gets no further.
    hv.domain(DomId::DOM0).await.refused_no_such_domain("looking at dom0")?;
    hv.pause(DomId::DOM0).await.refused_no_such_domain("pausing dom0")?;
    hv.set_memory(DomId::DOM0, memory).await.refused_no_such_domain("ballooning dom0")?;
    let asked = hv.shutdown(DomId::DOM0, ShutdownRequest::PowerOff).await;
    asked.refused_no_such_domain("shutting dom0 down")?;
    hv.destroy(DomId::DOM0).await.refused_no_such_domain("destroying dom0")?;
    Ok(())
}
