//! Memory of the host and of guests. These cases want the host for themselves.

use xenith_common_units::MemoryMiB;
use xenith_hypervisor_agent_types::{DomainSpec, MemorySpec};

use super::promises;
use super::scene::{During, Halt, Outcome, Scene, ensure};
use crate::{HypervisorError, Start};

promises! {
    no_memory: "a create that does not fit says how much is needed and how much is free, and leaves nothing";
    two_creates_race: "of two creates that do not both fit, one succeeds and the other gets NoMemory";
    memory_comes_back: "a destroyed domain's memory is free again";
    balloon_within_the_maximum: "a running guest's memory can be set below and up to its maximum";
    balloon_over_the_maximum: "memory over the maximum is refused and changes nothing";
}

async fn free(scene: &Scene<'_>) -> Outcome<MemoryMiB> {
    Ok(scene.hv.host().await.during("asking for the host")?.memory_free)
}

fn mib(mib: u64) -> Outcome<MemoryMiB> {
    MemoryMiB::new(mib).map_err(|error| Halt::Skip(format!("the host is too large for this case: {error}")))
}

fn sized(scene: &Scene<'_>, target: MemoryMiB) -> DomainSpec {
    DomainSpec { memory: MemorySpec { target, max: target }, ..scene.spec() }
}

async fn no_memory(scene: &Scene<'_>) -> Outcome {
    let before = free(scene).await?;
    let target = mib(before.mib() + 64)?;
    let spec = sized(scene, target);
    match scene.hv.create(&spec, Start::Paused).await {
        Err(HypervisorError::NoMemory { needed, free }) => {
            ensure!(needed >= target, "{needed} are said to be needed for {target}");
            ensure!(free < needed, "{free} are said to be free, which is enough for {needed}");
        }
        other => return Err(Halt::Broken(format!("expected NoMemory, got {other:?}"))),
    }
    scene.left_nothing(&spec, "a create without memory").await
}

async fn two_creates_race(scene: &Scene<'_>) -> Outcome {
    let target = mib(free(scene).await?.mib() / 10 * 6)?;
    let (one, two) = (sized(scene, target), sized(scene, target));
    let (first, second) =
        tokio::join!(scene.hv.create(&one, Start::Paused), scene.hv.create(&two, Start::Paused));
    let loser = match (first, second) {
        (Ok(_), Err(HypervisorError::NoMemory { .. })) => &two,
        (Err(HypervisorError::NoMemory { .. }), Ok(_)) => &one,
        other => return Err(Halt::Broken(format!("expected one domain and one NoMemory, got {other:?}"))),
    };
    scene.left_nothing(loser, "the create that lost").await
}

async fn memory_comes_back(scene: &Scene<'_>) -> Outcome {
    let before = free(scene).await?;
    let (domid, spec) = scene.domain(Start::Paused).await?;
    let during = free(scene).await?;
    let taken = before.saturating_sub(during);
    ensure!(taken >= spec.memory.target, "a domain of {} took {taken}", spec.memory.target);
    scene.hv.destroy(domid).await.during("destroying")?;
    // Xen scrubs freed memory before it counts it as free; its own bookkeeping may keep a little.
    let slack = mib(16)?;
    let mut wait = scene.wait(format!("{before} to be free again"));
    while free(scene).await?.saturating_add(slack) < before {
        wait.tick().await?;
    }
    Ok(())
}

async fn balloon_within_the_maximum(scene: &Scene<'_>) -> Outcome {
    let (domid, spec) = scene.booted().await?;
    let MemorySpec { target, max } = spec.memory;
    if max <= target {
        return Err(Halt::Skip(format!("the fixture's {} guest has no room to balloon", spec.kind)));
    }
    // A guest keeps a few MiB for itself (video memory, the shared page), so it is the change that counts.
    let slack = mib(16)?;
    for goal in [max, target] {
        scene.hv.set_memory(domid, goal).await.during(&format!("setting memory to {goal}"))?;
        let mut wait = scene.wait(format!("domain {domid} to have {goal}"));
        loop {
            let now = scene.info(domid).await?.memory;
            if now.saturating_sub(goal) <= slack && goal.saturating_sub(now) <= slack {
                break;
            }
            wait.tick().await?;
        }
    }
    Ok(())
}

async fn balloon_over_the_maximum(scene: &Scene<'_>) -> Outcome {
    let (domid, spec) = scene.booted().await?;
    let before = scene.info(domid).await?.memory;
    let over = mib(spec.memory.max.mib() + 1)?;
    let set = scene.hv.set_memory(domid, over).await;
    set.refused("setting memory over the maximum", "InvalidSpec", |error| {
        matches!(error, HypervisorError::InvalidSpec { .. })
    })?;
    let after = scene.info(domid).await?.memory;
    ensure!(after == before, "memory changed from {before} to {after}");
    Ok(())
}
