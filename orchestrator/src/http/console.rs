//! A console's WebSocket: bytes between a viewer and an agent.
//!
//! What always holds: nothing is kept. What the viewer has not taken holds up the agent's stream for this viewer
//! alone, which has a connection of its own. A viewer that takes nothing for [`STUCK`], is not heard for
//! [`SILENT`], or may not look any more is sent away.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use xenith_hypervisor_agent_api::{ConsoleInput, ConsoleOutput, OpenConsole};
use xenith_hypervisor_agent_client::{AgentClientError, Console};
use xenith_orchestrator_types::Reason;
use xenith_orchestrator_types::console::{ConsoleControl, close};

use super::origin::{Sender, sender};
use super::paced::Pace;
use super::session;
use crate::app::App;
use crate::console::Admission;

/// Keys and pastes are small; who pastes more sends more messages.
const MAX_MESSAGE: usize = 64 * 1024;
/// How often the viewer is pinged and its rights are looked at.
const LOOK: Duration = Duration::from_secs(5);
const SILENT: Duration = Duration::from_secs(60);
const STUCK: Duration = Duration::from_secs(60);

/// Why a console is over: the code and the words of the close frame.
type End = (u16, String);

const NO_TICKET: &str =
    "This console ticket does not work: it was used, it has expired, or it never was. Ask for a new one.\n";

pub async fn connect(
    State(app): State<Arc<App>>,
    Path(ticket): Path<String>,
    (uri, headers): (Uri, HeaderMap),
    pace: Option<Extension<Pace>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let secret = match sender(&uri, &headers) {
        Sender::Foreign => return session::foreign(),
        Sender::Nobody => None,
        Sender::Bearer(secret) => Some(secret),
        Sender::Page(secret) => secret,
    };
    let Some(admission) = app.tickets.redeem(&ticket) else {
        return (StatusCode::NOT_FOUND, NO_TICKET).into_response();
    };
    // The ticket is enough. But who says who he is must be who got it.
    if let Some(secret) = secret {
        let presented = app.authn.caller(&secret, admission.caller.from).await;
        if !presented.is_ok_and(|caller| caller.user == admission.caller.user) {
            return (StatusCode::FORBIDDEN, "This console ticket is somebody else's.\n").into_response();
        }
    }
    if let Err(error) = app.still_admits(&admission).await {
        return (StatusCode::FORBIDDEN, format!("{error}\n")).into_response();
    }
    if let Some(Extension(pace)) = pace {
        pace.free();
    }
    // `binary` is what older noVNC asks for; it says nothing.
    upgrade
        .protocols(["binary"])
        .max_message_size(MAX_MESSAGE)
        .on_upgrade(move |socket| serve(app, admission, socket))
}

async fn serve(app: Arc<App>, admission: Arc<Admission>, mut socket: WebSocket) {
    let (code, reason) = match open(&app, &admission).await {
        Err(end) => end,
        Ok(console) => {
            let (mut sink, stream) = socket.split();
            let end = pass(&app, &admission, console, (&mut sink, stream)).await;
            return say_bye(sink, end).await;
        }
    };
    let _gone = socket.send(bye(code, reason)).await;
}

async fn say_bye(mut sink: SplitSink<WebSocket, Message>, (code, reason): End) {
    // One that is stuck does not hear it.
    let _gone = timeout(Duration::from_secs(1), sink.send(bye(code, reason))).await;
}

/// A close frame's reason is at most 123 bytes.
fn bye(code: u16, reason: String) -> Message {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    Message::Close(Some(CloseFrame { code, reason: reason[..end].into() }))
}

async fn open(app: &App, admission: &Admission) -> Result<Console, End> {
    let gone = || (close::LOST, "the host is not known any more".to_owned());
    let client = app.fleet.client(admission.host).ok_or_else(gone)?;
    let open = OpenConsole { epoch: app.fleet.epoch(), target: admission.target };
    client.console(open).await.map_err(|error| end_of(&error))
}

fn end_of(error: &AgentClientError) -> End {
    let code =
        if matches!(error, AgentClientError::Unreachable { .. }) { close::LOST } else { close::FAILED };
    (code, error.to_string())
}

/// Until one of the three ends it: the console, the viewer, the look at its rights.
async fn pass(
    app: &App,
    admission: &Admission,
    console: Console,
    (sink, stream): (&mut SplitSink<WebSocket, Message>, SplitStream<WebSocket>),
) -> End {
    let Console { input, mut output } = console;
    let (heard, last_heard) = tokio::sync::watch::channel(Instant::now());
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let down = async {
        loop {
            let message = tokio::select! {
                output = output.next() => match output {
                    Some(Ok(ConsoleOutput::Data(data))) => Message::Binary(data.into()),
                    Some(Ok(ConsoleOutput::Ended(why))) => return (1000, why),
                    Some(Err(error)) => return end_of(&error),
                    None => return (close::LOST, "the connection to the host broke".to_owned()),
                },
                _ = look.tick() => {
                    if last_heard.borrow().elapsed() > SILENT {
                        return (close::LOST, "the viewer is silent".to_owned());
                    }
                    Message::Ping(Default::default())
                }
            };
            match timeout(STUCK, sink.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return (close::LOST, "the viewer has gone".to_owned()),
                Err(_) => return (close::LOST, "the viewer takes nothing".to_owned()),
            }
        }
    };
    let watch = async {
        loop {
            tokio::time::sleep(LOOK).await;
            if let Err(error) = app.still_admits(admission).await
                && matches!(error.reason(), Reason::Unauthenticated | Reason::Forbidden | Reason::NotFound)
            {
                return (close::NOT_ALLOWED, error.to_string());
            }
        }
    };
    tokio::select! {
        end = down => end,
        end = up(stream, input, heard) => end,
        end = watch => end,
    }
}

async fn up(
    mut stream: SplitStream<WebSocket>,
    input: mpsc::Sender<ConsoleInput>,
    heard: tokio::sync::watch::Sender<Instant>,
) -> End {
    while let Some(Ok(message)) = stream.next().await {
        heard.send_replace(Instant::now());
        let input_message = match message {
            Message::Binary(data) => ConsoleInput::Data(data.into()),
            Message::Text(text) => match serde_json::from_str(&text) {
                Ok(ConsoleControl::Resize(size)) => ConsoleInput::Resize(size),
                Err(error) => return (close::FAILED, format!("a text message is a control: {error}")),
            },
            Message::Close(_) => break,
            Message::Ping(_) | Message::Pong(_) => continue,
        };
        // Waits for a guest that does not read what is typed; then the viewer's TCP waits, and nobody else.
        if input.send(input_message).await.is_err() {
            // The other half says why.
            std::future::pending::<()>().await;
        }
    }
    (1000, "closed by the viewer".to_owned())
}
