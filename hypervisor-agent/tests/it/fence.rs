//! Two orchestrators that both believe to be in charge.

use std::time::Duration;

use xenith_common_ids::{Epoch, OperationId};
use xenith_hypervisor_agent_api::{Command, VmAction};
use xenith_hypervisor_agent_client::{AgentClientError, Wish};
use xenith_hypervisor_agent_sim::{FaultRule, Operation};
use xenith_hypervisor_agent_types::ha::HaRequest;
use xenith_hypervisor_agent_types::{FaultReason, Power};

use crate::harness::{Lab, start, until};

/// A sign of life, which any host answers.
const BEAT: HaRequest = HaRequest::Beat { challenge: None, allow_autostart: None };

/// What can be commanded beside `Execute`, `Hello` and `Console`, each under an epoch, and why it was refused. That no other
/// call is without an epoch is shown where the wire is.
async fn commands_of(
    lab: &Lab,
    operation: OperationId,
    epoch: Epoch,
) -> [(&'static str, Option<FaultReason>); 6] {
    fn reason<T>(outcome: Result<T, AgentClientError>) -> Option<FaultReason> {
        match outcome {
            Ok(_) => None,
            Err(AgentClientError::Refused(fault)) => Some(fault.reason),
            Err(other) => panic!("{other}"),
        }
    }
    let client = lab.client();
    [
        ("request_certificate", reason(client.request_certificate(epoch).await)),
        ("install_certificate", reason(client.install_certificate(epoch, "none".to_owned()).await)),
        ("progress", reason(client.progress(operation, epoch, Wish::Stop).await)),
        ("backup_cancel", reason(client.backup_cancel(operation, epoch).await)),
        ("backup_pace", reason(client.backup_pace(operation, epoch, 1).await)),
        ("ha", reason(client.ha(epoch, &BEAT).await)),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_epoch_is_refused_also_after_a_restart() {
    let mut lab = Lab::new().await;
    let vm = lab.running("v").await.vm;
    lab.client().hello(Epoch(5), "new").await.unwrap();
    for restarted in [false, true] {
        if restarted {
            lab.restart().await;
        }
        lab.epoch = Epoch(4);
        assert_eq!(lab.refused(vm, VmAction::Destroy).await, FaultReason::StaleEpoch, "{restarted}");
        let hello = lab.client().hello(Epoch(4), "old").await.unwrap_err();
        assert!(
            matches!(&hello, AgentClientError::Refused(fault) if fault.reason == FaultReason::StaleEpoch)
        );
        assert!(hello.to_string().contains("epoch 5"), "{hello}");
        for (call, outcome) in commands_of(&lab, OperationId::new(), Epoch(4)).await {
            assert_eq!(outcome, Some(FaultReason::StaleEpoch), "{call}, restarted: {restarted}");
        }
        assert_eq!(lab.look(vm).await.unwrap().power, Power::Running);
    }
    lab.epoch = Epoch(5);
    lab.done(vm, VmAction::Destroy).await;
    lab.done(vm, start()).await;
}

/// Not only is the old one told so: what it asked for is not done either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_epoch_stops_nothing_of_the_newer_one() {
    let mut lab = Lab::new().await;
    let vm = lab.define("v").await;
    lab.client().hello(Epoch(5), "new").await.unwrap();
    lab.epoch = Epoch(5);
    lab.sim.inject(FaultRule::hang(Operation::Create, Duration::from_secs(600)));
    let envelope = lab.envelope(Command::Vm { vm, action: start() });
    let (client, sent) = (lab.client(), envelope.clone());
    let starting = tokio::spawn(async move { client.execute(&sent).await });
    until("the start to be under way", async || lab.sim.calls(Operation::Create) > 0).await;
    for (call, outcome) in commands_of(&lab, envelope.operation, Epoch(4)).await {
        assert_eq!(outcome, Some(FaultReason::StaleEpoch), "{call}");
    }
    lab.sim.hurry();
    starting.await.unwrap().unwrap();
    // The same calls of who is in charge get past the fence: what is wrong with them is something else.
    for (call, outcome) in commands_of(&lab, envelope.operation, Epoch(5)).await {
        let expected = (call == "install_certificate").then_some(FaultReason::Invalid);
        assert_eq!(outcome, expected, "{call}");
    }
    assert_eq!(lab.look(vm).await.unwrap().power, Power::Running);
}
