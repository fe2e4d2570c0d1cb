//! The smallest VNC server that a viewer is content with (RFC 6143, version 3.8, no authentication: it listens
//! on loopback only, as QEMU's does). The picture is one colour; each key that is pressed changes it, so that
//! a test sees its input arrive.

use std::io;
use std::net::{Ipv4Addr, TcpListener as StdListener};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::{TcpListener, TcpStream};
use xenith_common_tasks::TaskSet;

const WIDTH: u16 = 320;
const HEIGHT: u16 = 200;
const COLOURS: [u32; 4] = [0x0020_4080, 0x0040_8020, 0x0080_2040, 0x0080_8080];

/// Starts to listen and returns the port.
pub(super) fn listen(name: &str, tasks: &TaskSet) -> io::Result<u16> {
    let listener = StdListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let listener = TcpListener::from_std(listener)?;
    let name = name.to_owned();
    let clients = tasks.clone();
    let cancelled = tasks.token();
    tasks.spawn("sim-vnc", async move {
        loop {
            let accepted = tokio::select! {
                () = cancelled.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let Ok((client, _)) = accepted else { return };
            let (name, ended) = (name.clone(), cancelled.clone());
            clients.spawn("sim-vnc-client", async move {
                tokio::select! {
                    () = ended.cancelled() => {}
                    served = serve(client, &name) => {
                        tracing::debug!(?served, name, "a simulated VNC client left");
                    }
                }
            });
        }
    });
    Ok(port)
}

async fn serve(mut client: TcpStream, name: &str) -> io::Result<()> {
    client.write_all(b"RFB 003.008\n").await?;
    client.read_exact(&mut [0; 12]).await?;
    // One security type: none. The client's choice and its wish to share change nothing.
    client.write_all(&[1, 1]).await?;
    client.read_u8().await?;
    client.write_u32(0).await?;
    client.read_u8().await?;
    client.write_all(&greeting(name)).await?;
    let mut pixel_bytes = 4;
    let mut colour = 0;
    // Whether a client that asked for changes waits for one.
    let mut waiting = false;
    loop {
        match client.read_u8().await? {
            0 => {
                let mut format = [0; 19];
                client.read_exact(&mut format).await?;
                pixel_bytes = usize::from((format[3] / 8).clamp(1, 4));
            }
            2 => {
                client.read_u8().await?;
                let count = client.read_u16().await?;
                skip(&mut client, u64::from(count) * 4).await?;
            }
            3 => {
                let incremental = client.read_u8().await? != 0;
                skip(&mut client, 8).await?;
                waiting = incremental;
                if !incremental {
                    client.write_all(&picture(COLOURS[colour], pixel_bytes)).await?;
                }
            }
            4 => {
                let pressed = client.read_u8().await? != 0;
                skip(&mut client, 6).await?;
                colour = (colour + usize::from(pressed)) % COLOURS.len();
                if pressed && std::mem::take(&mut waiting) {
                    client.write_all(&picture(COLOURS[colour], pixel_bytes)).await?;
                }
            }
            5 => skip(&mut client, 5).await?,
            6 => {
                skip(&mut client, 3).await?;
                let length = client.read_u32().await?;
                skip(&mut client, u64::from(length)).await?;
            }
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "an unknown message")),
        }
    }
}

async fn skip(client: &mut TcpStream, bytes: u64) -> io::Result<()> {
    copy(&mut client.take(bytes), &mut sink()).await.map(drop)
}

/// ServerInit: size, 32 bits a pixel in true colour, name.
fn greeting(name: &str) -> Vec<u8> {
    let mut message = Vec::with_capacity(24 + name.len());
    message.extend_from_slice(&WIDTH.to_be_bytes());
    message.extend_from_slice(&HEIGHT.to_be_bytes());
    message.extend_from_slice(&[32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]);
    // A domain's name is at most a few dozen bytes.
    message.extend_from_slice(&u32::try_from(name.len()).unwrap_or_default().to_be_bytes());
    message.extend_from_slice(name.as_bytes());
    message
}

/// FramebufferUpdate with one raw rectangle: the whole screen.
fn picture(colour: u32, pixel_bytes: usize) -> Vec<u8> {
    let mut message = vec![0, 0, 0, 1, 0, 0, 0, 0];
    message.extend_from_slice(&WIDTH.to_be_bytes());
    message.extend_from_slice(&HEIGHT.to_be_bytes());
    message.extend_from_slice(&[0; 4]);
    let pixel = &colour.to_le_bytes()[..pixel_bytes];
    message.extend(pixel.iter().cycle().take(usize::from(WIDTH) * usize::from(HEIGHT) * pixel_bytes));
    message
}
