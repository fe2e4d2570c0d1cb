//! Consoles: this terminal, or a viewer's socket, on one side and a console's WebSocket on the other.
//!
//! A connection that breaks is opened again, with a new ticket, for as long as the VM has a console; what was
//! written meanwhile is lost here, not in the guest.

mod terminal;
mod vnc;

use std::time::Duration;

use xenith_common_tasks::Backoff;
use xenith_hypervisor_agent_types::TerminalSize;
use xenith_orchestrator_api::console;
use xenith_orchestrator_client::{ClientError, Console};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::console::{
    ConsoleControl, ConsoleKind, ConsoleTicket, OpenHostConsole, OpenVmConsole, close,
};

use crate::app::App;
use crate::cli::ConsoleCommand;
use crate::error::CliError;
use terminal::{Event, Terminal};

/// How long a broken console is tried again: a host's agent or the orchestrator restarts within it.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn run(app: &App, command: ConsoleCommand) -> Result<(), CliError> {
    match command {
        ConsoleCommand::Vm { vm, vnc, ticket: true, .. } => {
            let kind = if vnc.is_some() { ConsoleKind::Vnc } else { ConsoleKind::Serial };
            let ticket = app.call::<console::Vm>(&OpenVmConsole { vm, kind, history: None }).await?;
            print(app, &ticket)
        }
        ConsoleCommand::Vm { vm, vnc: Some(listen), .. } => vnc::pass_on(app, vm, listen).await,
        ConsoleCommand::Vm { vm, no_history, .. } => {
            let what = What::Vm { vm, history: no_history.then_some(0) };
            show(app, what).await
        }
        ConsoleCommand::Host { host, ticket: true } => {
            let size = terminal::size();
            print(app, &app.call::<console::Host>(&OpenHostConsole { host, size }).await?)
        }
        ConsoleCommand::Host { host, .. } => show(app, What::Host { host }).await,
    }
}

fn print(app: &App, ticket: &ConsoleTicket) -> Result<(), CliError> {
    app.out.value(ticket, || format!("{}\n", ticket.path))
}

enum What {
    Vm { vm: String, history: Option<u32> },
    Host { host: String },
}

impl What {
    async fn open(&self, app: &App) -> Result<Console, CliError> {
        let ticket = match self {
            Self::Vm { vm, history } => {
                let (vm, history) = (vm.clone(), *history);
                let kind = ConsoleKind::Serial;
                app.call::<console::Vm>(&OpenVmConsole { vm, kind, history }).await?
            }
            Self::Host { host } => {
                let size = terminal::size();
                app.call::<console::Host>(&OpenHostConsole { host: host.clone(), size }).await?
            }
        };
        Ok(app.client().await?.console(&ticket).await?)
    }

    /// For a connection that broke: what was shown is not shown again.
    fn again(self) -> Self {
        match self {
            Self::Vm { vm, .. } => Self::Vm { vm, history: Some(0) },
            host @ Self::Host { .. } => host,
        }
    }
}

/// How a connection ended.
enum Ended {
    Left,
    Console,
    Broken(CliError),
}

async fn show(app: &App, mut what: What) -> Result<(), CliError> {
    let mut console = what.open(app).await?;
    let mut terminal = Terminal::take().map_err(CliError::Output)?;
    if terminal.is_for_people() {
        app.note("connected; Ctrl-] leaves");
    }
    terminal.raw().map_err(CliError::Output)?;
    loop {
        match attend(&mut terminal, &mut console).await {
            Ended::Left => break Ok(()),
            Ended::Console => {
                terminal.restore();
                app.note("\nthe console has ended");
                break Ok(());
            }
            // A shell does not come back; a new one would be another.
            Ended::Broken(error) if !is_passing(&error) || matches!(what, What::Host { .. }) => {
                break Err(error);
            }
            Ended::Broken(_) => {
                terminal.say("\r\n[the connection broke; opening it again]\r\n").map_err(CliError::Output)?;
                what = what.again();
                match reopen(app, &what, &mut terminal).await? {
                    Some(again) => console = again,
                    None => break Ok(()),
                }
            }
        }
    }
}

fn is_passing(error: &CliError) -> bool {
    match error {
        CliError::Client(ClientError::ConsoleClosed { code, .. }) => *code == close::LOST,
        CliError::Client(ClientError::Api(error)) => error.reason() == Reason::HostUnreachable,
        CliError::Client(error) => error.is_passing(),
        _ => false,
    }
}

/// `None`: the user has left meanwhile.
async fn reopen(app: &App, what: &What, terminal: &mut Terminal) -> Result<Option<Console>, CliError> {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(3), 0);
    let given_up = tokio::time::Instant::now() + PATIENCE;
    loop {
        match what.open(app).await {
            Ok(console) => return Ok(Some(console)),
            Err(error) if !is_passing(&error) || tokio::time::Instant::now() > given_up => return Err(error),
            Err(_) => {}
        }
        let pause = tokio::time::sleep(backoff.next_delay());
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                event = terminal.next() => if matches!(event, Event::Leave | Event::End) {
                    return Ok(None);
                },
            }
        }
    }
}

async fn attend(terminal: &mut Terminal, console: &mut Console) -> Ended {
    let Console { reader, writer } = console;
    let mut typing = true;
    if let Some(size) = terminal::size()
        && let Err(error) = writer.control(ConsoleControl::Resize(size)).await
    {
        return Ended::Broken(error.into());
    }
    loop {
        tokio::select! {
            output = reader.next() => match output {
                Ok(Some(data)) => if let Err(error) = terminal.write(&data) {
                    return Ended::Broken(CliError::Output(error));
                },
                Ok(None) => return Ended::Console,
                Err(error) => return Ended::Broken(error.into()),
            },
            event = terminal.next(), if typing => {
                let sent = match event {
                    Event::Typed(data) => writer.send(data.into()).await,
                    Event::Resized(size) => writer.control(ConsoleControl::Resize(size)).await,
                    Event::Leave => {
                        writer.close().await;
                        return Ended::Left;
                    }
                    // A script's input is over; what it started is still to be seen.
                    Event::End => {
                        typing = false;
                        Ok(())
                    }
                };
                if let Err(error) = sent {
                    return Ended::Broken(error.into());
                }
            }
        }
    }
}

/// So that a size without a row or column is nobody's.
fn sized(columns: u16, rows: u16) -> Option<TerminalSize> {
    (columns > 0 && rows > 0).then_some(TerminalSize { columns, rows })
}
