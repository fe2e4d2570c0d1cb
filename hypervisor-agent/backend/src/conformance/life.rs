//! How domains live and end.

use xenith_common_ids::DomId;
use xenith_hypervisor_agent_types::{DeathReason, DomainStatus};

use super::promises;
use super::scene::{During, Halt, Outcome, Scene, ensure};
use crate::{AskedBy, DomainEventKind, HypervisorError, ShutdownRequest, Start};

promises! {
    pause_is_idempotent: "pausing a paused domain is fine";
    unpause_is_idempotent: "unpausing a running domain is fine";
    power_off: "a guest that is asked to power off dies with that reason, told by an event and by the list";
    reboot: "a guest that is asked to reboot dies with that reason";
    takes_up: "a guest takes up what it is asked for";
    dead_until_destroyed: "a dead domain keeps its id and its place in the list until it is destroyed";
    dead_cannot_be_run: "a dead domain cannot be paused, unpaused or asked for anything";
    crash_is_noticed: "a crash is told by an event and by the list";
    destroy_running: "a destroyed domain is no longer listed when the call returns";
    destroy_paused: "a paused domain can be destroyed";
    destroy_twice: "a domain that was destroyed does not exist";
    destroy_twice_at_once: "of two destroys at the same time at least one succeeds and none leaves the domain";
}

async fn pause_is_idempotent(scene: &Scene<'_>) -> Outcome {
    let (domid, _) = scene.domain(Start::Running).await?;
    for round in ["first", "second"] {
        scene.hv.pause(domid).await.during(&format!("the {round} pause"))?;
        let status = scene.status(domid).await?;
        ensure!(status == DomainStatus::Paused, "after the {round} pause it is {status:?}");
    }
    Ok(())
}

async fn unpause_is_idempotent(scene: &Scene<'_>) -> Outcome {
    let (domid, _) = scene.domain(Start::Paused).await?;
    for round in ["first", "second"] {
        scene.hv.unpause(domid).await.during(&format!("the {round} unpause"))?;
        let status = scene.status(domid).await?;
        ensure!(status == DomainStatus::Running, "after the {round} unpause it is {status:?}");
    }
    Ok(())
}

async fn asked(scene: &Scene<'_>, request: ShutdownRequest, reason: DeathReason) -> Outcome<DomId> {
    let (domid, _) = scene.booted().await?;
    let mut events = scene.hv.events();
    scene.hv.shutdown(domid, request).await.during("asking the guest")?;
    scene.event(&mut events, domid, DomainEventKind::Died(reason)).await?;
    scene.reaches(domid, DomainStatus::Dead(reason)).await?;
    Ok(domid)
}

async fn power_off(scene: &Scene<'_>) -> Outcome {
    asked(scene, ShutdownRequest::PowerOff, DeathReason::PowerOff).await.map(drop)
}

async fn reboot(scene: &Scene<'_>) -> Outcome {
    asked(scene, ShutdownRequest::Reboot, DeathReason::Reboot).await.map(drop)
}

async fn takes_up(scene: &Scene<'_>) -> Outcome {
    let (domid, _) = scene.booted().await?;
    let asked = scene.hv.shutdown(domid, ShutdownRequest::PowerOff).await.during("asking the guest")?;
    if asked == AskedBy::PowerButton {
        return Err(Halt::Skip("the fixture's guest has no PV drivers".to_owned()));
    }
    let mut wait = scene.wait(format!("the guest of domain {domid} to take the request up"));
    while !scene.hv.has_taken_up(domid).await.during("looking whether it did")? {
        wait.tick().await?;
    }
    Ok(())
}

async fn dead_until_destroyed(scene: &Scene<'_>) -> Outcome {
    let domid = asked(scene, ShutdownRequest::PowerOff, DeathReason::PowerOff).await?;
    let (other, _) = scene.domain(Start::Paused).await?;
    ensure!(other != domid, "the id {domid} was given out again while its domain was listed");
    let listed = scene.listed(domid).await?;
    ensure!(listed.is_some(), "a dead domain is not listed");
    let mut events = scene.hv.events();
    scene.hv.destroy(domid).await.during("destroying a dead domain")?;
    scene.event(&mut events, domid, DomainEventKind::Gone).await?;
    ensure!(scene.listed(domid).await?.is_none(), "it is listed after its destroy");
    Ok(())
}

fn wrong_status(error: &HypervisorError) -> bool {
    matches!(error, HypervisorError::WrongStatus { .. })
}

async fn dead_cannot_be_run(scene: &Scene<'_>) -> Outcome {
    let domid = asked(scene, ShutdownRequest::PowerOff, DeathReason::PowerOff).await?;
    let hv = &scene.hv;
    hv.pause(domid).await.refused("pausing a dead domain", "WrongStatus", wrong_status)?;
    hv.unpause(domid).await.refused("unpausing a dead domain", "WrongStatus", wrong_status)?;
    let again = hv.shutdown(domid, ShutdownRequest::Reboot).await;
    again.refused("asking a dead domain", "WrongStatus", wrong_status)?;
    let status = scene.status(domid).await?;
    ensure!(status == DomainStatus::Dead(DeathReason::PowerOff), "it is {status:?} after that");
    Ok(())
}

async fn crash_is_noticed(scene: &Scene<'_>) -> Outcome {
    let (domid, _) = scene.booted().await?;
    let mut events = scene.hv.events();
    scene.fixture.crash_guest(domid).await?;
    scene.event(&mut events, domid, DomainEventKind::Died(DeathReason::Crash)).await?;
    scene.reaches(domid, DomainStatus::Dead(DeathReason::Crash)).await
}

async fn destroyed(scene: &Scene<'_>, start: Start) -> Outcome<DomId> {
    let (domid, _) = scene.domain(start).await?;
    let mut events = scene.hv.events();
    scene.hv.destroy(domid).await.during("destroying")?;
    ensure!(scene.listed(domid).await?.is_none(), "it is listed after its destroy");
    scene.event(&mut events, domid, DomainEventKind::Gone).await?;
    Ok(domid)
}

async fn destroy_running(scene: &Scene<'_>) -> Outcome {
    destroyed(scene, Start::Running).await.map(drop)
}

async fn destroy_paused(scene: &Scene<'_>) -> Outcome {
    destroyed(scene, Start::Paused).await.map(drop)
}

async fn destroy_twice(scene: &Scene<'_>) -> Outcome {
    let domid = destroyed(scene, Start::Paused).await?;
    scene.hv.destroy(domid).await.refused_no_such_domain("the second destroy")?;
    Ok(())
}

async fn destroy_twice_at_once(scene: &Scene<'_>) -> Outcome {
    let (domid, _) = scene.domain(Start::Paused).await?;
    let (first, second) = tokio::join!(scene.hv.destroy(domid), scene.hv.destroy(domid));
    ensure!(first.is_ok() || second.is_ok(), "both failed: {first:?}, {second:?}");
    for result in [first, second] {
        let fine = matches!(result, Ok(()) | Err(HypervisorError::NoSuchDomain(_)));
        ensure!(fine, "one of them failed with {result:?}");
    }
    ensure!(scene.listed(domid).await?.is_none(), "it is listed after two destroys");
    Ok(())
}
