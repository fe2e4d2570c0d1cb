//! The same call twice, whatever came between.

use std::time::Duration;

use xenith_hypervisor_agent_api::{Command, VmAction};
use xenith_hypervisor_agent_sim::{Failure, FaultRule, Operation};
use xenith_hypervisor_agent_types::Power;

use crate::harness::{Lab, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_operation_id_is_done_once_and_answered_twice() {
    let lab = Lab::new().await;
    let vm = lab.define("v").await;
    let envelope = lab.envelope(Command::Vm { vm, action: start() });
    let first = lab.client().execute(&envelope).await.unwrap();
    let second = lab.client().execute(&envelope).await.unwrap();
    assert_eq!(first, second);
    assert_eq!(lab.sim.calls(Operation::Create), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_outlives_its_connection_and_the_repeat_joins_it() {
    let lab = Lab::new().await;
    let vm = lab.define("v").await;
    lab.sim.inject(FaultRule::hang(Operation::Create, Duration::from_millis(700)));
    let envelope = lab.envelope(Command::Vm { vm, action: start() });
    let client = lab.client();
    let broken = tokio::time::timeout(Duration::from_millis(200), client.execute(&envelope)).await;
    assert!(broken.is_err());
    drop(client);
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Starting);
    lab.client().execute(&envelope).await.unwrap();
    assert_eq!((lab.sim.calls(Operation::Create), lab.look(vm).await.unwrap().power), (1, Power::Running));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_after_a_restart_of_the_agent_changes_nothing() {
    let mut lab = Lab::new().await;
    let vm = lab.define("v").await;
    let start = lab.envelope(Command::Vm { vm, action: start() });
    lab.client().execute(&start).await.unwrap();
    lab.restart().await;
    lab.client().execute(&start).await.unwrap();
    let suspend = lab.envelope(Command::Vm { vm, action: VmAction::Suspend });
    lab.client().execute(&suspend).await.unwrap();
    lab.restart().await;
    lab.client().execute(&suspend).await.unwrap();
    assert_eq!((lab.sim.calls(Operation::Create), lab.sim.calls(Operation::Suspend)), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_pass_is_tried_again_under_the_same_id() {
    let lab = Lab::new().await;
    let vm = lab.define("v").await;
    lab.sim.inject(FaultRule::fail(Operation::Create, Failure::NoMemory));
    let envelope = lab.envelope(Command::Vm { vm, action: start() });
    let refused = lab.client().execute(&envelope).await.unwrap_err();
    assert!(refused.is_retryable(), "{refused}");
    lab.client().execute(&envelope).await.unwrap();
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Running);
}
