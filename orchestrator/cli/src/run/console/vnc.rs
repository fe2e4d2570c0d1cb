//! A VM's screen for a VNC viewer on this machine: a port that any viewer can open, each connection with a
//! ticket of its own.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use xenith_orchestrator_api::console;
use xenith_orchestrator_client::Console;
use xenith_orchestrator_types::console::{ConsoleKind, OpenVmConsole};

use crate::app::App;
use crate::error::CliError;

pub async fn pass_on(app: &App, vm: String, listen: SocketAddr) -> Result<(), CliError> {
    let client = app.client().await?;
    let request = OpenVmConsole { vm, kind: ConsoleKind::Vnc, history: None };
    // Asked now, too: a wrong name or a VM without a screen is a wrong command. This ticket expires unused.
    app.call::<console::Vm>(&request).await?;
    let listener = TcpListener::bind(listen).await.map_err(CliError::Output)?;
    let address = listener.local_addr().map_err(CliError::Output)?;
    app.out.line(&address.to_string())?;
    app.note("point a VNC viewer there; Ctrl-C ends");
    let mut viewers = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (viewer, _) = accepted.map_err(CliError::Output)?;
                let opened = async {
                    let ticket = app.call::<console::Vm>(&request).await?;
                    Ok::<_, CliError>(client.console(&ticket).await?)
                };
                match opened.await {
                    Ok(console) => drop(viewers.spawn(serve(viewer, console))),
                    // The next viewer may be luckier: the VM may be off just now.
                    Err(error) => app.report(&error),
                }
            }
            Some(_) = viewers.join_next() => {}
        }
    }
}

async fn serve(viewer: TcpStream, console: Console) {
    let Console { mut reader, mut writer } = console;
    let (mut from, mut to) = viewer.into_split();
    let down = async {
        while let Ok(Some(data)) = reader.next().await {
            if to.write_all(&data).await.is_err() {
                return;
            }
        }
    };
    let up = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if writer.send(buffer[..count].to_vec().into()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = down => {}
        () = up => {}
    }
    writer.close().await;
}
