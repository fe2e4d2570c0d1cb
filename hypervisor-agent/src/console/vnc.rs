//! A guest's screen: QEMU's VNC server on the loopback, passed through as it is.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use xenith_hypervisor_agent_api::ConsoleInput;
use xenith_hypervisor_agent_types::{ConsolePaths, Fault, FaultReason};

use super::{Viewer, show};

/// On the loopback, with a QEMU that is busy.
const CONNECT: Duration = Duration::from_secs(5);

pub(super) async fn connect(paths: &ConsolePaths) -> Result<TcpStream, Fault> {
    let port = paths.vnc_port.ok_or_else(|| {
        Fault::new(
            FaultReason::WrongState,
            "the VM has no screen; give it one (xenith vm update VM --graphics vnc) and start it again",
        )
    })?;
    let failed = |detail: &dyn std::fmt::Display| {
        Fault::new(FaultReason::Hypervisor, format_args!("the VM's screen does not answer: {detail}"))
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = timeout(CONNECT, TcpStream::connect(address)).await;
    let stream = stream.map_err(|late| failed(&late))?.map_err(|error| failed(&error))?;
    // Keys and pointer movements are small, and late ones are felt.
    stream.set_nodelay(true).map_err(|error| failed(&error))?;
    Ok(stream)
}

pub(super) async fn serve(stream: TcpStream, mut viewer: Viewer) {
    let (mut from, mut to) = stream.into_split();
    // A slow viewer is waited for; QEMU then skips pictures for this one alone.
    let output = show(&mut from, &viewer.output);
    let input = async {
        while let Some(input) = viewer.input.recv().await {
            if let ConsoleInput::Data(data) = input
                && to.write_all(&data).await.is_err()
            {
                return true;
            }
        }
        false
    };
    let closed = tokio::select! {
        closed = output => closed,
        closed = input => closed,
    };
    if closed {
        viewer.end("the VM's screen was closed").await;
    }
}
