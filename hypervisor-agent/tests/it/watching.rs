//! The stream of what is observed.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use tokio::time::timeout;
use xenith_common_ids::Generation;
use xenith_hypervisor_agent_api::{Changes, VmAction};
use xenith_hypervisor_agent_types::{FaultReason, Power};

use crate::harness::{Lab, define, spec, start, until};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_everything_then_changes_then_heartbeats() {
    let lab = Lab::new().await;
    let (a, b) = (lab.define("a").await, lab.define("b").await);
    let stream = lab.client().watch("", Generation(0)).await.unwrap();
    let mut stream = pin!(stream);
    let first = stream.next().await.unwrap().unwrap();
    assert!(first.full && first.host.is_some());
    assert_eq!(first.vms.len(), 2);

    lab.done(a, start()).await;
    lab.vm(b, VmAction::Forget).await.unwrap();
    let (mut last, mut powers, mut gone) = (first.generation, Vec::new(), Vec::new());
    while !gone.contains(&b) || powers.last() != Some(&Power::Running) {
        let changes = timeout(SOON, stream.next()).await.unwrap().unwrap().unwrap();
        assert!(!changes.full && changes.generation >= last && changes.instance == first.instance);
        last = changes.generation;
        powers.extend(changes.vms.iter().filter(|vm| vm.vm == a).map(|vm| vm.power));
        gone.extend(changes.gone);
    }

    let mut heartbeats = 0;
    while heartbeats < 2 {
        let changes = timeout(SOON, stream.next()).await.unwrap().unwrap().unwrap();
        heartbeats += usize::from(changes.vms.is_empty() && changes.host.is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reconnects_gets_what_it_missed_and_after_a_restart_everything() {
    let mut lab = Lab::new().await;
    let vm = lab.define("v").await;
    let before: Changes = lab.list().await;
    lab.done(vm, start()).await;
    let missed = lab.client().watch(&before.instance, before.generation).await.unwrap();
    let missed = pin!(missed).next().await.unwrap().unwrap();
    assert!(!missed.full);
    assert_eq!(missed.vms.iter().map(|vm| vm.power).collect::<Vec<_>>(), [Power::Running]);

    lab.restart().await;
    let anew = lab.client().watch(&missed.instance, missed.generation).await.unwrap();
    let anew = pin!(anew).next().await.unwrap().unwrap();
    assert!(anew.full && anew.instance != before.instance);
    assert_eq!(anew.vms.len(), 1);
}

/// As the orchestrator does, in the same connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_goes_on_behind_the_list_in_another_stream_misses_nothing() {
    let lab = Lab::new().await;
    let vm = lab.define("v").await;
    let client = lab.client();
    let mut stream = Box::pin(client.watch("", Generation(0)).await.unwrap());
    let list = stream.next().await.unwrap().unwrap();
    lab.done(vm, start()).await;
    stream.set(client.watch(&list.instance, list.generation).await.unwrap());
    let next = timeout(SOON, stream.next()).await.unwrap().unwrap().unwrap();
    assert!(list.full && !next.full);
    assert_eq!(next.vms.iter().map(|vm| vm.power).collect::<Vec<_>>(), [Power::Running]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_sleeps_misses_nothing_and_holds_up_nobody() {
    let lab = Lab::new().await;
    let client = lab.client();
    let stream = client.watch("", Generation(0)).await.unwrap();
    let mut stream = pin!(stream);
    stream.next().await.unwrap().unwrap();
    let vm = lab.define("v").await;
    let other = lab.client();
    for definition in 2..600 {
        let action = define(definition, spec("v"));
        let envelope = lab.envelope(xenith_hypervisor_agent_api::Command::Vm { vm, action });
        other.execute(&envelope).await.unwrap();
    }
    let mut messages = 0;
    loop {
        let changes = timeout(SOON, stream.next()).await.unwrap().unwrap().unwrap();
        messages += 1;
        if changes.vms.iter().any(|vm| vm.definition == 599) {
            break;
        }
    }
    // What fits into the connection's buffers is told one by one, the rest merged.
    assert!(messages < 600, "{messages}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_of_the_agent_ends_the_stream_and_waits_for_nobody() {
    let mut lab = Lab::new().await;
    lab.running("v").await;
    let stream = lab.client().watch("", Generation(0)).await.unwrap();
    let mut stream = pin!(stream);
    stream.next().await.unwrap().unwrap();
    lab.stop().await;
    until("the end of the stream", async || match timeout(SOON, stream.next()).await.unwrap() {
        Some(Ok(_)) => false,
        None | Some(Err(_)) => true,
    })
    .await;
    lab.start().await;
    assert_eq!(lab.list().await.vms[0].power, Power::Running);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_host_and_its_guests_are_told() {
    let lab = Lab::new().await;
    let up = lab.running("v").await;
    let told = lab.list().await.host.unwrap();
    assert!(told.memory_total > told.memory_free);
    until("the guest's facts", async || lab.look(up.vm).await.is_some_and(|vm| vm.guest.os.is_some())).await;
    assert_eq!(lab.refused(up.vm, VmAction::Forget).await, FaultReason::WrongState);
}
