//! Two orchestrators that both believe to be in charge.

use xenith_common_ids::Epoch;
use xenith_hypervisor_agent_api::VmAction;
use xenith_hypervisor_agent_client::AgentClientError;
use xenith_hypervisor_agent_types::{FaultReason, Power};

use crate::harness::{Lab, start};

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
        let renewal = lab.client().request_certificate(Epoch(4)).await;
        assert!(matches!(renewal, Err(AgentClientError::Refused(_))));
        assert_eq!(lab.look(vm).await.unwrap().power, Power::Running);
    }
    lab.epoch = Epoch(5);
    lab.done(vm, VmAction::Destroy).await;
    lab.done(vm, start()).await;
}
