//! A console of an agent's host.

use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use xenith_hypervisor_agent_api::{ConsoleInput, ConsoleOutput, OpenConsole};

use crate::{AgentClient, AgentClientError};

/// Messages of a viewer on their way to the host.
const INPUT: usize = 8;

/// Both ends of an open console. Dropping `input` closes it.
pub struct Console {
    pub input: mpsc::Sender<ConsoleInput>,
    pub output: BoxStream<'static, Result<ConsoleOutput, AgentClientError>>,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Console")
    }
}

impl AgentClient {
    /// Opens a console over a connection of its own: a viewer that stands still must hold up nothing else.
    pub async fn console(&self, open: OpenConsole) -> Result<Console, AgentClientError> {
        let (input, from_viewer) = mpsc::channel(INPUT);
        // There is room: the channel is new.
        let _room = input.try_send(ConsoleInput::Open(open));
        let messages = futures::stream::unfold(from_viewer, |mut messages| async move {
            let message: ConsoleInput = messages.recv().await?;
            Some((message.into(), messages))
        });
        let client = self.apart();
        let replies = client.wire.clone().console(messages).await.map_err(|status| client.error(&status))?;
        let output = replies.into_inner().map(move |reply| match reply {
            Ok(reply) => ConsoleOutput::try_from(reply).map_err(AgentClientError::from),
            Err(status) => Err(client.error(&status)),
        });
        Ok(Console { input, output: output.boxed() })
    }
}
