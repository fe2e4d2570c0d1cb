//! A console as a stream of messages each way.

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tonic::{Status, Streaming};
use xenith_common_tasks::TaskSet;
use xenith_hypervisor_agent_api::{ConsoleInput, ConsoleOutput, OpenConsole, status_from_fault, wire};
use xenith_hypervisor_agent_types::{Fault, FaultReason};

use crate::console::Attached;

pub type Output = BoxStream<'static, Result<wire::ConsoleOutput, Status>>;

/// The first message: which console.
pub async fn opening(input: &mut Streaming<wire::ConsoleInput>) -> Result<OpenConsole, Status> {
    let first = input.message().await?;
    let first = first.map(ConsoleInput::try_from).transpose().map_err(|error| invalid(&error.into()))?;
    match first {
        Some(ConsoleInput::Open(open)) => Ok(open),
        _ => Err(invalid(&Fault::invalid("input", "the first message says which console"))),
    }
}

fn invalid(fault: &Fault) -> Status {
    status_from_fault(fault)
}

/// Carries what comes in to the console, in a task of its own, and hands out what it says.
pub fn stream(mut input: Streaming<wire::ConsoleInput>, attached: Attached, tasks: &TaskSet) -> Output {
    let Attached { input: to_console, output } = attached;
    let stopping = tasks.token();
    tasks.spawn("console-input", async move {
        let carry = async {
            while let Ok(Some(message)) = input.message().await {
                let Ok(message) = ConsoleInput::try_from(message) else { return };
                if to_console.send(message).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = stopping.cancelled() => {}
            () = carry => {}
            // The console has ended; its viewer may take a while to notice.
            () = to_console.closed() => {}
        }
    });
    let stopping = tasks.token();
    let output = stream::unfold(output, |mut output| async move {
        let message: ConsoleOutput = output.recv().await?;
        Some((Ok(message.into()), output))
    });
    // A console that just breaks off looks like a fault of the network; this one is a word.
    let stopped = stream::once(async move {
        stopping.cancelled().await;
        Err(status_from_fault(&Fault::new(FaultReason::NotReady, "the agent is stopping")))
    });
    stream::select(output.map(Some).chain(stream::once(async { None })), stopped.map(Some))
        .take_while(|message| std::future::ready(message.is_some()))
        .filter_map(std::future::ready)
        .boxed()
}
