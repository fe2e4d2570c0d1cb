//! A new system for a host: only what is signed, only into the other slot, and only when nobody runs.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

use xenith_hypervisor_agent_api::{Command, CommandResult};
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_sim::{IMAGE, NewSystem};
use xenith_hypervisor_agent_types::system::{
    HostSystem, SystemCommand, SystemReply, SystemSlot, SystemStanding,
};
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use crate::harness::{Lab, power_off};

type Files = Vec<(&'static str, Vec<u8>)>;

fn image() -> Files {
    IMAGE.iter().map(|(name, content)| (*name, content.to_vec())).collect()
}

/// Serves these files, as long as the tests run.
fn serve(files: Files) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/live/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away has its answer, or wants none.
            let _client_gone = answer(stream, &files);
        }
    });
    url
}

fn answer(mut stream: TcpStream, files: &Files) -> std::io::Result<()> {
    let mut head = BufReader::new(stream.try_clone()?).lines();
    let first = head.next().transpose()?.unwrap_or_default();
    while head.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let path = first.split(' ').nth(1).unwrap_or_default();
    let found = files.iter().find(|(name, _)| path == format!("/live/{name}"));
    let (status, content) =
        found.map_or(("404 Not Found", [].as_slice()), |(_, content)| ("200 OK", content.as_slice()));
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len())?;
    stream.write_all(content)
}

async fn system(lab: &Lab, command: SystemCommand) -> Result<SystemReply, Fault> {
    match lab.execute(Command::System(command)).await {
        Ok(CommandResult::System(reply)) => Ok(reply),
        Err(AgentClientError::Refused(fault)) => Err(fault),
        other => panic!("{other:?}"),
    }
}

async fn look(lab: &Lab) -> HostSystem {
    match system(lab, SystemCommand::Look).await {
        Ok(SystemReply::System(system)) => system,
        other => panic!("{other:?}"),
    }
}

async fn fetch(lab: &Lab, files: Files) -> Result<SystemReply, Fault> {
    system(lab, SystemCommand::Fetch { url: serve(files) }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signed_system_is_tried_when_nobody_runs_and_falls_back() {
    let lab = Lab::new().await;
    let before = look(&lab).await;
    assert_eq!((before.slot, before.standing), (SystemSlot::A, SystemStanding::Good));
    let fetched = fetch(&lab, image()).await.unwrap();
    assert_eq!(fetched, SystemReply::Fetched { version: "99.0.0".into() });
    system(&lab, SystemCommand::Fill).await.unwrap();
    assert_eq!(look(&lab).await, before, "the running system is not touched");

    let start = || SystemCommand::Start { slot: SystemSlot::B, boot: before.boot.clone() };
    let guest = lab.running("web-1").await;
    let refused = system(&lab, start()).await.unwrap_err();
    assert_eq!(refused.reason, FaultReason::WrongState);
    assert!(refused.message.contains("web-1"), "{refused}");
    lab.done(guest.vm, power_off()).await;

    lab.sim.set_new_systems(NewSystem::FallsBack);
    system(&lab, start()).await.unwrap();
    let back = look(&lab).await;
    assert_eq!((back.slot, back.standing), (SystemSlot::A, SystemStanding::FellBack));
    assert_ne!(back.boot, before.boot);

    lab.sim.set_new_systems(NewSystem::ComesUp);
    system(&lab, start()).await.unwrap();
    assert_eq!(look(&lab).await, back, "an order that names another boot was carried out already");
    system(&lab, SystemCommand::Start { slot: SystemSlot::B, boot: back.boot }).await.unwrap();
    let new = look(&lab).await;
    assert_eq!((new.slot, new.standing, &*new.version), (SystemSlot::B, SystemStanding::Good, "99.0.0"));
    system(&lab, SystemCommand::Drop).await.unwrap();
    assert!(!lab.config.state.join("system-image").exists());
}

async fn boot(lab: &Lab) -> Result<String, Fault> {
    match system(lab, SystemCommand::Boot).await {
        Ok(SystemReply::Boot { boot }) => Ok(boot),
        Err(fault) => Err(fault),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_boot_ends_once_and_not_under_a_guest() {
    let lab = Lab::new().await;
    let first = boot(&lab).await.unwrap();
    let guest = lab.running("web-1").await;
    for order in
        [SystemCommand::Restart { boot: first.clone() }, SystemCommand::PowerOff { boot: first.clone() }]
    {
        let refused = system(&lab, order).await.unwrap_err();
        assert!(refused.reason == FaultReason::WrongState && refused.message.contains("web-1"), "{refused}");
    }
    lab.done(guest.vm, power_off()).await;

    system(&lab, SystemCommand::UpdatePackages).await.unwrap();
    assert_eq!(lab.sim.packages_updated(), 1);
    let restart = || SystemCommand::Restart { boot: first.clone() };
    system(&lab, restart()).await.unwrap();
    let second = boot(&lab).await.unwrap();
    assert_ne!(second, first);
    system(&lab, restart()).await.unwrap();
    assert_eq!(boot(&lab).await.unwrap(), second, "an order that names another boot was carried out already");

    system(&lab, SystemCommand::PowerOff { boot: second }).await.unwrap();
    assert!(lab.sim.is_off());
    // What a host says of itself while it goes down is over.
    assert_eq!(boot(&lab).await.unwrap_err().reason, FaultReason::NotReady);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_what_was_signed_is_not_put_anywhere() {
    let lab = Lab::new().await;
    type Change = fn(&mut Files);
    let cases: [(&str, &str, Change); 4] = [
        ("another description", "url", |files| files[0].1.push(b' ')),
        ("no signature", "url", |files| drop(files.remove(1))),
        ("another file system of the same length", "sha256", |files| files[2].1[0] ^= 1),
        ("a longer file system", "url", |files| files[2].1.extend([0; 100_000])),
    ];
    for (what, field, change) in cases {
        let mut files = image();
        change(&mut files);
        let fault = fetch(&lab, files).await.unwrap_err();
        assert_eq!(
            (fault.reason, fault.field.as_deref()),
            (FaultReason::Invalid, Some(field)),
            "{what}: {fault}"
        );
        let refused = system(&lab, SystemCommand::Fill).await.unwrap_err();
        assert_eq!(refused.reason, FaultReason::WrongState, "{what}");
    }
    fetch(&lab, image()).await.unwrap();
    system(&lab, SystemCommand::Fill).await.unwrap();
}
