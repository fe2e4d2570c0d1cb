//! Consoles: bytes both ways over a WebSocket that a ticket opened.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use xenith_orchestrator_types::console::{ConsoleControl, ConsoleTicket, close};
use xenith_orchestrator_types::{ApiError, Reason};

use crate::connection::{headers, open_tls};
use crate::{Client, ClientError};

type Socket = WebSocketStream<TlsStream<TcpStream>>;

/// As the orchestrator's limit.
const MAX_MESSAGE: usize = 64 * 1024;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The orchestrator pings every five seconds.
const SILENT: Duration = Duration::from_secs(30);

/// An open console.
pub struct Console {
    pub reader: ConsoleReader,
    pub writer: ConsoleWriter,
}

pub struct ConsoleReader {
    stream: SplitStream<Socket>,
    url: String,
}

pub struct ConsoleWriter {
    sink: SplitSink<Socket, Message>,
    url: String,
}

impl Client {
    /// Opens the console that a ticket stands for. The ticket is spent, whatever comes of it.
    pub async fn console(&self, ticket: &ConsoleTicket) -> Result<Console, ClientError> {
        let (endpoint, tls, credential) = self.parts();
        let url = endpoint.to_string();
        let stream = open_tls(endpoint, tls).await?;
        let mut request = endpoint
            .web_socket_at(&ticket.path)
            .into_client_request()
            .map_err(|error| ClientError::NotOrchestrator { url: url.clone(), problem: error.to_string() })?;
        request.headers_mut().extend(headers(credential)?);
        let config =
            WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
        let handshake = client_async_with_config(request, stream, Some(config));
        let (socket, _) = timeout(HANDSHAKE, handshake)
            .await
            .map_err(|_| unreachable(&url, io::ErrorKind::TimedOut.into()))?
            .map_err(|error| refused(&url, error))?;
        let (sink, stream) = socket.split();
        Ok(Console {
            reader: ConsoleReader { stream, url: url.clone() },
            writer: ConsoleWriter { sink, url },
        })
    }
}

impl ConsoleReader {
    /// The next bytes; `None` at the console's end. May be dropped and called again at any time.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let message = timeout(SILENT, self.stream.next()).await.unwrap_or(None);
            match message {
                Some(Ok(Message::Binary(data))) => return Ok(Some(data)),
                Some(Ok(Message::Close(frame))) => match frame {
                    Some(frame) if u16::from(frame.code) == 1000 => return Ok(None),
                    Some(frame) => {
                        let (code, reason) = (frame.code.into(), frame.reason.to_string());
                        return Err(ClientError::ConsoleClosed { code, reason });
                    }
                    None => return Err(self.lost()),
                },
                // tungstenite answers pings by itself.
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(self.lost()),
            }
        }
    }

    fn lost(&self) -> ClientError {
        let reason = format!("the connection to {} broke", self.url);
        ClientError::ConsoleClosed { code: close::LOST, reason }
    }
}

impl ConsoleWriter {
    pub async fn send(&mut self, data: Bytes) -> Result<(), ClientError> {
        let mut data = data;
        while !data.is_empty() {
            let part = data.split_to(data.len().min(MAX_MESSAGE));
            self.sink.send(Message::Binary(part)).await.map_err(|error| gone(&self.url, error))?;
        }
        Ok(())
    }

    pub async fn control(&mut self, control: ConsoleControl) -> Result<(), ClientError> {
        let text = serde_json::to_string(&control)
            .map_err(|source| ClientError::Unexpected { method: "a console's control".to_owned(), source })?;
        self.sink.send(Message::Text(text.into())).await.map_err(|error| gone(&self.url, error))
    }

    /// Says that nobody looks any more.
    pub async fn close(&mut self) {
        let _gone_already = self.sink.close().await;
    }
}

fn unreachable(url: &str, source: io::Error) -> ClientError {
    ClientError::Unreachable { url: url.to_owned(), source }
}

fn gone(url: &str, error: WsError) -> ClientError {
    match error {
        WsError::Io(source) => unreachable(url, source),
        other => unreachable(url, io::Error::other(other)),
    }
}

/// The orchestrator's words, where it says no.
fn refused(url: &str, error: WsError) -> ClientError {
    let WsError::Http(response) = error else { return gone(url, error) };
    let said = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
    let said = said.lines().next().unwrap_or_default().to_owned();
    let reason = match response.status().as_u16() {
        403 => Reason::Forbidden,
        404 => Reason::NotFound,
        status => {
            let problem = format!("the console answers with status {status}");
            return ClientError::NotOrchestrator { url: url.to_owned(), problem };
        }
    };
    let said = if said.is_empty() { "the console ticket does not work".to_owned() } else { said };
    ApiError::new(reason, said).into()
}
