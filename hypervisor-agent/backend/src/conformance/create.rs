//! How domains begin.

use std::path::PathBuf;

use xenith_common_units::MacAddr;
use xenith_hypervisor_agent_types::{
    DiskAccess, DiskDevice, DomainDisk, DomainIdentity, DomainNic, DomainSpec, DomainStatus,
};

use super::promises;
use super::scene::{During, Halt, Outcome, Scene, ensure};
use crate::{HypervisorError, Start};

promises! {
    created_paused_waits: "a domain that is created paused uses no CPU until it is unpaused";
    created_running_runs: "a domain that is created running uses CPU without being unpaused";
    vm_taken: "a VM whose domain has run is not built a second time, whatever its name, and the error says which";
    name_taken: "a name is taken while a domain of that name is listed, and the error says which";
    unknown_bridge_is_refused: "a create with a bridge that does not exist fails and leaves nothing";
    missing_image_is_refused: "a create with an image that does not exist fails and leaves nothing";
    missing_kernel_is_refused: "a create with a kernel that does not exist fails and leaves nothing";
    create_delays_nobody: "a long create does not delay another domain's pause";
    creates_side_by_side: "creates of different domains may be made at the same time";
}

async fn created_paused_waits(scene: &Scene<'_>) -> Outcome {
    let (domid, _) = scene.domain(Start::Paused).await?;
    let before = scene.info(domid).await?;
    ensure!(before.status == DomainStatus::Paused, "it is {:?}", before.status);
    // By this the agent tells a domain that is half built from one that has run.
    ensure!(before.cpu_time_ns == 0, "before it ran it has used {} ns", before.cpu_time_ns);
    tokio::time::sleep(scene.fixture.pace()).await;
    let after = scene.info(domid).await?;
    ensure!(after.cpu_time_ns == before.cpu_time_ns, "a paused domain used CPU time");
    scene.hv.unpause(domid).await.during("unpausing")?;
    uses_cpu(scene, domid).await
}

async fn created_running_runs(scene: &Scene<'_>) -> Outcome {
    let (domid, _) = scene.domain(Start::Running).await?;
    ensure!(scene.status(domid).await? == DomainStatus::Running, "it does not run");
    uses_cpu(scene, domid).await
}

async fn uses_cpu(scene: &Scene<'_>, domid: xenith_common_ids::DomId) -> Outcome {
    let before = scene.info(domid).await?.cpu_time_ns;
    let mut wait = scene.wait(format!("domain {domid} to use CPU time"));
    while scene.info(domid).await?.cpu_time_ns <= before {
        wait.tick().await?;
    }
    Ok(())
}

async fn vm_taken(scene: &Scene<'_>) -> Outcome {
    let (domid, first) = scene.domain(Start::Running).await?;
    uses_cpu(scene, domid).await?;
    for status in [DomainStatus::Running, DomainStatus::Paused] {
        if status == DomainStatus::Paused {
            scene.hv.pause(domid).await.during("pausing the first")?;
        }
        let fresh = scene.spec();
        for name in [first.name.clone(), fresh.name.clone()] {
            let identity = DomainIdentity { vm: first.identity.vm, incarnation: fresh.identity.incarnation };
            let second = DomainSpec { identity, name, ..fresh.clone() };
            match scene.hv.create(&second, Start::Paused).await {
                Err(HypervisorError::VmTaken { domid: holder }) => {
                    ensure!(holder == domid, "it names domain {holder}, not {domid}");
                }
                other => {
                    let name = &second.name;
                    let problem =
                        format!("expected VmTaken of {name} beside one that is {status:?}, got {other:?}");
                    return Err(Halt::Broken(problem));
                }
            }
        }
    }
    Ok(())
}

async fn name_taken(scene: &Scene<'_>) -> Outcome {
    let (domid, first) = scene.domain(Start::Paused).await?;
    let second = DomainSpec { name: first.name.clone(), ..scene.spec() };
    match scene.hv.create(&second, Start::Paused).await {
        Err(HypervisorError::NameTaken { name, domid: holder }) => {
            ensure!(name == first.name.as_str() && holder == domid, "it names {name:?}, domain {holder}");
        }
        other => return Err(Halt::Broken(format!("expected NameTaken, got {other:?}"))),
    }
    scene.hv.destroy(domid).await.during("destroying the first")?;
    scene.create(&second, Start::Paused).await?;
    Ok(())
}

fn refused_spec(error: &HypervisorError) -> bool {
    matches!(error, HypervisorError::InvalidSpec { .. } | HypervisorError::Device { .. })
}

async fn refused(scene: &Scene<'_>, spec: &DomainSpec, what: &str) -> Outcome {
    scene.hv.create(spec, Start::Paused).await.refused(what, "InvalidSpec or Device", refused_spec)?;
    scene.left_nothing(spec, what).await
}

async fn unknown_bridge_is_refused(scene: &Scene<'_>) -> Outcome {
    let mut spec = scene.spec();
    let mac = MacAddr::from_xen_block([0xc0, 0xff, 0xee]);
    spec.nics.push(DomainNic { mac, bridge: "no-such-bridge".to_owned() });
    refused(scene, &spec, "a create with an unknown bridge").await
}

async fn missing_image_is_refused(scene: &Scene<'_>) -> Outcome {
    let mut spec = scene.spec();
    let device = DiskDevice::nth(25).expect("there are 26");
    let path = PathBuf::from("/nonexistent/image");
    spec.disks.push(DomainDisk { device, path, access: DiskAccess::ReadWrite });
    refused(scene, &spec, "a create with a missing image").await
}

async fn missing_kernel_is_refused(scene: &Scene<'_>) -> Outcome {
    let mut spec = scene.spec();
    let Some(boot) = &mut spec.direct_boot else {
        return Err(Halt::Skip(format!("{} guests have no kernel of their own", spec.kind)));
    };
    boot.kernel = "/nonexistent/vmlinuz".to_owned();
    refused(scene, &spec, "a create with a missing kernel").await
}

async fn create_delays_nobody(scene: &Scene<'_>) -> Outcome {
    let (other, _) = scene.domain(Start::Running).await?;
    let spec = scene.spec();
    let create = scene.hv.create(&spec, Start::Paused);
    let pause = async {
        // The create must be under way; one look at the host is enough for that.
        scene.hv.domains().await?;
        scene.hv.pause(other).await
    };
    tokio::pin!(create, pause);
    tokio::select! {
        biased;
        created = &mut create => {
            created.during("creating")?;
            pause.await.during("pausing")?;
            Err(Halt::Skip("creates are too quick here to tell".to_owned()))
        }
        paused = &mut pause => {
            paused.during("pausing beside a create")?;
            create.await.during("creating beside a pause")?;
            Ok(())
        }
    }
}

async fn creates_side_by_side(scene: &Scene<'_>) -> Outcome {
    let specs = [scene.spec(), scene.spec(), scene.spec()];
    let [a, b, c] = &specs;
    let (a, b, c) = tokio::join!(
        scene.create(a, Start::Paused),
        scene.create(b, Start::Paused),
        scene.create(c, Start::Paused)
    );
    for (domid, spec) in [a?, b?, c?].into_iter().zip(&specs) {
        let info = scene.info(domid).await?;
        ensure!(info.identity == Some(spec.identity), "domain {domid} is {:?}, not {}", info.name, spec.name);
    }
    Ok(())
}
