//! What a back-end tells without being asked, and where consoles are.

use std::net::Ipv4Addr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use xenith_hypervisor_agent_types::Graphics;

use super::scene::{During, Halt, Outcome, Scene, ensure};
use super::{Backend, promises};
use crate::{DomainEventKind, Start};

promises! {
    made_and_gone_are_told: "every subscriber is told that a domain appeared and that it is gone";
    foreign_end_is_told: "the end of a foreign domain is told too";
    late_subscriber_lists_again: "a subscriber that lags is told to list again, and then hears new events";
    serial_console: "a domain's serial console is a terminal on the host";
    vnc_console: "a domain with graphics has a VNC server on the host's loopback";
}

async fn made_and_gone_are_told(scene: &Scene<'_>) -> Outcome {
    let (mut one, mut two) = (scene.hv.events(), scene.hv.events());
    let (domid, _) = scene.domain(Start::Paused).await?;
    scene.event(&mut one, domid, DomainEventKind::Appeared).await?;
    scene.hv.destroy(domid).await.during("destroying")?;
    scene.event(&mut one, domid, DomainEventKind::Gone).await?;
    scene.event(&mut two, domid, DomainEventKind::Appeared).await?;
    scene.event(&mut two, domid, DomainEventKind::Gone).await
}

async fn foreign_end_is_told(scene: &Scene<'_>) -> Outcome {
    let mut events = scene.hv.events();
    let (domid, _) = scene.foreign().await?;
    scene.event(&mut events, domid, DomainEventKind::Appeared).await?;
    scene.hv.destroy(domid).await.during("destroying a foreign domain on request")?;
    scene.event(&mut events, domid, DomainEventKind::Gone).await
}

/// More creates and destroys than any back-end keeps events for.
const FLOOD: usize = 600;

async fn late_subscriber_lists_again(scene: &Scene<'_>) -> Outcome {
    if scene.fixture.backend() == Backend::Real {
        return Err(Halt::Skip(format!("{FLOOD} domains take too long on a real host")));
    }
    let mut late = scene.hv.events();
    for _ in 0..FLOOD {
        let (domid, _) = scene.domain(Start::Paused).await?;
        scene.hv.destroy(domid).await.during("destroying")?;
    }
    let first = late.next().await;
    ensure!(
        first.is_some_and(|event| event.kind == DomainEventKind::Resync),
        "after {FLOOD} domains the next event of a late subscriber is {first:?}"
    );
    let (domid, _) = scene.domain(Start::Paused).await?;
    scene.event(&mut late, domid, DomainEventKind::Appeared).await
}

async fn serial_console(scene: &Scene<'_>) -> Outcome {
    let (domid, _) = scene.domain(Start::Running).await?;
    let mut wait = scene.wait(format!("domain {domid} to have a serial console"));
    let path = loop {
        if let Some(path) = scene.hv.consoles(domid).await.during("asking for consoles")?.serial {
            break path;
        }
        wait.tick().await?;
    };
    ensure!(path.is_absolute() && path.exists(), "{} is not there", path.display());
    let again = scene.hv.consoles(domid).await.during("asking again")?;
    ensure!(again.serial.as_ref() == Some(&path), "it moved to {:?}", again.serial);
    Ok(())
}

async fn vnc_console(scene: &Scene<'_>) -> Outcome {
    let spec = scene.spec();
    if spec.graphics == Graphics::None {
        return Err(Halt::Skip(format!("the fixture's {} guest has no graphics", spec.kind)));
    }
    let domid = scene.create(&spec, Start::Running).await?;
    let mut wait = scene.wait(format!("domain {domid} to have a VNC port"));
    let port = loop {
        if let Some(port) = scene.hv.consoles(domid).await.during("asking for consoles")?.vnc_port {
            break port;
        }
        wait.tick().await?;
    };
    let mut greeting = [0; 4];
    let greeted = async {
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        client.read_exact(&mut greeting).await
    };
    let greeted = greeted.await.map_err(|error| Halt::Broken(format!("port {port}: {error}")))?;
    ensure!(&greeting == b"RFB ", "port {port} greets with {greeted} bytes {greeting:?}");
    Ok(())
}
