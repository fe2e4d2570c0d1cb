//! Suspending to a stream and resuming from it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread::JoinHandle;

use xenith_common_ids::DomId;
use xenith_common_units::MemoryMiB;
use xenith_hypervisor_agent_types::{DeathReason, DomainSpec, DomainStatus, MemorySpec};

use super::promises;
use super::scene::{During, Halt, Outcome, Scene, ensure, from_file, to_file};
use crate::{DomainEventKind, HypervisorError, ShutdownRequest, Start};

promises! {
    suspended_is_dead: "a suspended domain is Dead(Suspend), told by an event, and listed until it is destroyed";
    suspend_and_resume: "a resumed guest has its identity, runs, and answers requests";
    suspend_live_and_resume: "a guest whose memory is written while it runs ends Dead(Suspend) and runs on from the stream";
    live_stream_through_a_pipe: "a stream is written and read at once, through a pipe, as between two hosts";
    broken_pipe_leaves_the_guest_running: "when nobody reads a live stream any more the guest runs on";
    resume_without_memory: "a resume that does not fit says so, leaves nothing, and the stream is as good as before";
    resume_paused: "a guest that is resumed paused waits for unpause";
    cancelled_suspend_runs_on: "a suspended domain can run on in place as if it had never been suspended";
    written_and_runs_on: "a guest that was written and runs on in place leaves a stream that it can go back to later";
    cancel_needs_a_suspended_domain: "a domain that is not suspended has nothing to cancel";
    full_disk_leaves_the_guest_running: "when the stream cannot be written the guest runs on";
    empty_stream: "resuming from nothing fails and leaves nothing";
    cut_stream: "resuming from half a stream fails and leaves nothing";
    changed_stream: "resuming from a stream with a changed head fails and leaves nothing";
}

async fn suspended(scene: &Scene<'_>) -> Outcome<(DomId, DomainSpec, PathBuf)> {
    let (domid, spec) = scene.booted().await?;
    let mut events = scene.hv.events();
    let stream = scene.file("stream");
    scene.hv.suspend(domid, to_file(&stream)?).await.during("suspending")?;
    scene.event(&mut events, domid, DomainEventKind::Died(DeathReason::Suspend)).await?;
    scene.reaches(domid, DomainStatus::Dead(DeathReason::Suspend)).await?;
    Ok((domid, spec, stream))
}

async fn saved(scene: &Scene<'_>) -> Outcome<(DomainSpec, PathBuf)> {
    let (domid, spec, stream) = suspended(scene).await?;
    scene.hv.destroy(domid).await.during("destroying a suspended domain")?;
    Ok((spec, stream))
}

async fn suspended_is_dead(scene: &Scene<'_>) -> Outcome {
    let (domid, _, stream) = suspended(scene).await?;
    let listed = scene.listed(domid).await?.map(|info| info.status);
    ensure!(listed == Some(DomainStatus::Dead(DeathReason::Suspend)), "it is listed as {listed:?}");
    let length = std::fs::metadata(&stream).map(|found| found.len()).unwrap_or(0);
    ensure!(length > 0, "the stream is empty");
    scene.hv.destroy(domid).await.during("destroying a suspended domain")?;
    ensure!(scene.listed(domid).await?.is_none(), "it is listed after its destroy");
    Ok(())
}

async fn suspend_and_resume(scene: &Scene<'_>) -> Outcome {
    let (spec, stream) = saved(scene).await?;
    let resumed = scene.hv.resume(&spec, from_file(&stream)?, Start::Running).await;
    let domid = resumed.during("resuming")?;
    let info = scene.info(domid).await?;
    ensure!(info.identity == Some(spec.identity), "the identity is {:?}", info.identity);
    ensure!(info.status == DomainStatus::Running, "it is {:?}", info.status);
    scene.fixture.booted(domid).await?;
    scene.hv.shutdown(domid, ShutdownRequest::PowerOff).await.during("asking the resumed guest")?;
    scene.reaches(domid, DomainStatus::Dead(DeathReason::PowerOff)).await
}

/// Writes the guest live; a back-end that cannot with this kind of guest leaves it running, and the case is skipped.
async fn written_live(scene: &Scene<'_>, domid: DomId, to: OwnedFd) -> Outcome {
    match scene.hv.suspend_live(domid, to).await {
        Err(HypervisorError::Unsupported { why, .. }) => {
            scene.reaches(domid, DomainStatus::Running).await?;
            Err(Halt::Skip(why))
        }
        written => written.during("suspending live"),
    }
}

async fn suspend_live_and_resume(scene: &Scene<'_>) -> Outcome {
    let (domid, spec) = scene.booted().await?;
    let stream = scene.file("stream");
    written_live(scene, domid, to_file(&stream)?).await?;
    scene.reaches(domid, DomainStatus::Dead(DeathReason::Suspend)).await?;
    scene.hv.destroy(domid).await.during("destroying a suspended domain")?;
    let resumed = scene.hv.resume(&spec, from_file(&stream)?, Start::Paused).await;
    let domid = resumed.during("resuming from a live stream")?;
    let status = scene.status(domid).await?;
    ensure!(status == DomainStatus::Paused, "it is {status:?}");
    scene.hv.unpause(domid).await.during("unpausing")?;
    scene.reaches(domid, DomainStatus::Running).await?;
    scene.fixture.booted(domid).await?;
    scene.hv.shutdown(domid, ShutdownRequest::PowerOff).await.during("asking the resumed guest")?;
    scene.reaches(domid, DomainStatus::Dead(DeathReason::PowerOff)).await
}

fn pipe() -> Outcome<(OwnedFd, OwnedFd)> {
    let (reader, writer) =
        io::pipe().map_err(|error| Halt::Broken(format!("no pipe can be made: {error}")))?;
    Ok((reader.into(), writer.into()))
}

/// Copies on a thread of its own: on one of the runtime's, a paused clock would wait for it.
fn copying(from: OwnedFd, to: OwnedFd) -> JoinHandle<io::Result<u64>> {
    std::thread::spawn(move || io::copy(&mut File::from(from), &mut File::from(to)))
}

/// The other end of the pipe is through, or closed: this does not wait for long.
fn copied(copying: JoinHandle<io::Result<u64>>) -> Outcome {
    match copying.join() {
        Ok(Ok(_bytes)) => Ok(()),
        Ok(Err(error)) => Err(Halt::Broken(format!("the other end of the pipe: {error}"))),
        Err(_panicked) => Err(Halt::Broken("the other end of the pipe is gone".to_owned())),
    }
}

/// Within one host the two cannot be there at once, so a file stands for the other host.
async fn live_stream_through_a_pipe(scene: &Scene<'_>) -> Outcome {
    let (domid, spec) = scene.booted().await?;
    let path = scene.file("stream");
    let (reader, writer) = pipe()?;
    let taking = copying(reader, to_file(&path)?);
    written_live(scene, domid, writer).await?;
    copied(taking)?;
    scene.hv.destroy(domid).await.during("destroying a suspended domain")?;
    let (reader, writer) = pipe()?;
    let giving = copying(from_file(&path)?, writer);
    let resumed = scene.hv.resume(&spec, reader, Start::Running).await;
    let domid = resumed.during("resuming from a pipe")?;
    copied(giving)?;
    scene.reaches(domid, DomainStatus::Running).await
}

async fn broken_pipe_leaves_the_guest_running(scene: &Scene<'_>) -> Outcome {
    let (domid, _) = scene.booted().await?;
    let (reader, writer) = pipe()?;
    drop(reader);
    let written = scene.hv.suspend_live(domid, writer).await;
    written.refused("suspending live into a broken pipe", "an error", |_| true)?;
    scene.reaches(domid, DomainStatus::Running).await?;
    scene.hv.shutdown(domid, ShutdownRequest::PowerOff).await.during("asking the guest that runs on")?;
    scene.reaches(domid, DomainStatus::Dead(DeathReason::PowerOff)).await
}

async fn resume_without_memory(scene: &Scene<'_>) -> Outcome {
    let (spec, stream) = saved(scene).await?;
    let free = scene.hv.host().await.during("asking for the host")?.memory_free;
    let target = MemoryMiB::new(free.mib() + 64)
        .map_err(|error| Halt::Skip(format!("the host is too large for this case: {error}")))?;
    let large = DomainSpec { memory: MemorySpec { target, max: target }, ..spec.clone() };
    let resumed = scene.hv.resume(&large, from_file(&stream)?, Start::Running).await;
    resumed.refused("resuming what does not fit", "NoMemory", |error| {
        matches!(error, HypervisorError::NoMemory { .. })
    })?;
    scene.left_nothing(&spec, "a resume without memory").await?;
    let resumed = scene.hv.resume(&spec, from_file(&stream)?, Start::Running).await;
    let domid = resumed.during("resuming what fits from the same stream")?;
    scene.reaches(domid, DomainStatus::Running).await
}

async fn resume_paused(scene: &Scene<'_>) -> Outcome {
    let (spec, stream) = saved(scene).await?;
    let resumed = scene.hv.resume(&spec, from_file(&stream)?, Start::Paused).await;
    let domid = resumed.during("resuming")?;
    let info = scene.info(domid).await?;
    ensure!(info.status == DomainStatus::Paused, "it is {:?}", info.status);
    ensure!(info.cpu_time_ns == 0, "before it ran it has used {} ns", info.cpu_time_ns);
    ensure!(info.is_of(spec.identity.vm), "its UUID is {}", info.uuid);
    scene.hv.unpause(domid).await.during("unpausing")?;
    scene.reaches(domid, DomainStatus::Running).await
}

async fn cancelled_suspend_runs_on(scene: &Scene<'_>) -> Outcome {
    let (domid, _, _) = suspended(scene).await?;
    scene.hv.cancel_suspend(domid).await.during("cancelling the suspend")?;
    scene.reaches(domid, DomainStatus::Running).await?;
    scene.fixture.booted(domid).await?;
    scene.hv.shutdown(domid, ShutdownRequest::PowerOff).await.during("asking the guest that runs on")?;
    scene.reaches(domid, DomainStatus::Dead(DeathReason::PowerOff)).await
}

/// As a snapshot with memory does: live where that is possible.
async fn written_and_runs_on(scene: &Scene<'_>) -> Outcome {
    let (domid, spec) = scene.booted().await?;
    let stream = scene.file("stream");
    match scene.hv.suspend_live(domid, to_file(&stream)?).await {
        Err(HypervisorError::Unsupported { .. }) => {
            scene.hv.suspend(domid, to_file(&stream)?).await.during("suspending")?;
        }
        written => written.during("suspending live")?,
    }
    scene.hv.cancel_suspend(domid).await.during("cancelling the suspend")?;
    scene.reaches(domid, DomainStatus::Running).await?;
    scene.fixture.booted(domid).await?;
    scene.hv.destroy(domid).await.during("destroying the guest that ran on")?;
    let resumed = scene.hv.resume(&spec, from_file(&stream)?, Start::Running).await;
    let domid = resumed.during("going back to the stream")?;
    scene.reaches(domid, DomainStatus::Running).await?;
    scene.fixture.booted(domid).await?;
    Ok(())
}

async fn cancel_needs_a_suspended_domain(scene: &Scene<'_>) -> Outcome {
    let (domid, _) = scene.booted().await?;
    let cancelled = scene.hv.cancel_suspend(domid).await;
    cancelled.refused("cancelling what was not suspended", "WrongStatus", |error| {
        matches!(error, HypervisorError::WrongStatus { .. })
    })?;
    let status = scene.status(domid).await?;
    ensure!(status == DomainStatus::Running, "it is {status:?} after that");
    Ok(())
}

async fn full_disk_leaves_the_guest_running(scene: &Scene<'_>) -> Outcome {
    let (domid, _) = scene.booted().await?;
    // Linux: every write to it fails as on a full disk.
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .map_err(|error| Halt::Skip(format!("/dev/full: {error}")))?;
    let suspended = scene.hv.suspend(domid, full.into()).await;
    suspended.refused("suspending to a full disk", "an error", |_| true)?;
    scene.reaches(domid, DomainStatus::Running).await?;
    scene.hv.shutdown(domid, ShutdownRequest::PowerOff).await.during("asking the guest that runs on")?;
    scene.reaches(domid, DomainStatus::Dead(DeathReason::PowerOff)).await
}

async fn refused_stream(scene: &Scene<'_>, damage: fn(&mut Vec<u8>)) -> Outcome {
    let (spec, path) = saved(scene).await?;
    let io = |error: std::io::Error| Halt::Broken(format!("the stream: {error}"));
    let mut stream = std::fs::read(&path).map_err(io)?;
    damage(&mut stream);
    std::fs::write(&path, stream).map_err(io)?;
    let resumed = scene.hv.resume(&spec, from_file(&path)?, Start::Running).await;
    // The agent must be able to tell damage from a shortage that passes.
    resumed.refused("resuming from a damaged stream", "an error about the stream", |error| {
        !matches!(error, HypervisorError::NoMemory { .. } | HypervisorError::Closed)
    })?;
    scene.left_nothing(&spec, "a resume from a damaged stream").await
}

async fn empty_stream(scene: &Scene<'_>) -> Outcome {
    refused_stream(scene, Vec::clear).await
}

async fn cut_stream(scene: &Scene<'_>) -> Outcome {
    refused_stream(scene, |stream| stream.truncate(stream.len() / 2)).await
}

async fn changed_stream(scene: &Scene<'_>) -> Outcome {
    refused_stream(scene, |stream| stream[..8].fill(0xa5)).await
}
