//! A file of a whole VM that a browser has: OVA, VMDK, qcow2, VHD, raw (ADR 79).
//!
//! ```text
//! page    open                  send
//! we            read* found           read* progress* whole
//! ```
//!
//! The page keeps the file and gives the pieces of it that it is asked for; who reads it is the same code that reads files
//! for the command line. The socket is one conversation: a file, what it describes, and its disks on their way to their
//! host. What always holds: who may send is who gets a ticket of the import, which is asked of the API like any other call;
//! nothing is made before that and nothing is kept but some MiB that are under way; a page that does not answer is taken
//! for gone, and who waited for its bytes is told. After a crash of ours, or a broken connection, the page opens the file
//! again, and the sending goes on where the host is.

mod file;
mod send;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use futures::stream::SplitSink;
use futures::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use xenith_orchestrator_types::import::{ImportPhase, UploadTicket};
use xenith_orchestrator_types::{ApiError, Binding, Permission, Reason};

use self::file::{Ask, MOST, PageFile};
use self::send::{Known, Order, work};
use super::Rpc;
use super::origin::{Sender, sender};
use super::session::{ask, failed, foreign};
use super::upload::Problem;
use crate::enrol::CallerAddress;

/// Files at a time: each holds two threads, and some MiB.
const FILES: usize = 8;
/// A page that owes an answer for so long is gone; one that takes no message, too.
const SILENCE: Duration = Duration::from_secs(60);
/// Time to fill in what the VM is to be here.
const DECIDING: Duration = Duration::from_secs(1800);
const PING: Duration = Duration::from_secs(20);
/// Until the host has its VDIs and says where it takes them, and between two looks.
const READY: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(200);
const MAX_NAME: usize = 255;

/// What a page says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Said {
    Open(Open),
    Send(SendDisks),
}

/// The file, and how it is read.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    file: String,
    size: u64,
    /// Which VM of a package with several.
    #[serde(default)]
    vm: Option<String>,
    #[serde(default)]
    raw: bool,
    #[serde(default)]
    manifest: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SendDisks {
    import: String,
    #[serde(default)]
    again: bool,
}

/// What a page is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Read { from: u64, length: usize },
    Found(Found),
    Progress { done: u64, total: u64 },
    Whole(bool),
    Error(Value),
}

/// What a file describes.
#[derive(Debug, Serialize)]
struct Found {
    name: String,
    os: String,
    vcpus: Option<u32>,
    memory_mib: Option<u64>,
    efi: bool,
    nics: Vec<FoundNic>,
    disks: Vec<FoundDisk>,
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct FoundNic {
    network: String,
    mac: Option<String>,
}

#[derive(Debug, Serialize)]
struct FoundDisk {
    name: String,
    capacity: u64,
}

#[derive(Clone)]
pub struct Pages {
    rpc: Rpc,
    places: Arc<Semaphore>,
}

impl Pages {
    pub fn new(rpc: Rpc) -> Self {
        Self { rpc, places: Arc::new(Semaphore::new(FILES)) }
    }
}

/// Who has opened a socket, as the API is told with each call for him.
type Who = (Option<String>, Option<IpAddr>);

pub async fn connect(
    State(pages): State<Pages>,
    caller: Option<Extension<CallerAddress>>,
    (uri, headers): (Uri, HeaderMap),
    upgrade: WebSocketUpgrade,
) -> Response {
    let secret = match sender(&uri, &headers) {
        Sender::Foreign => return foreign(),
        Sender::Nobody => None,
        Sender::Bearer(secret) => Some(secret),
        Sender::Page(secret) => secret,
    };
    let who: Who = (secret, caller.map(|Extension(caller)| caller.0.ip()));
    match ask(&pages.rpc, "auth.whoami", json!({}), who.clone()).await {
        Ok(user) if may_provision(&user) => {}
        Ok(_) => {
            let text = "whoever may make no VM has no file to send here";
            return failed(StatusCode::FORBIDDEN, &ApiError::new(Reason::Forbidden, text));
        }
        Err(response) => return response,
    }
    let Ok(place) = Arc::clone(&pages.places).try_acquire_owned() else {
        let text = "as many files as can be are open; this one can be opened when one of them is done";
        let error = ApiError::new(Reason::HostUnreachable, text);
        return failed(StatusCode::SERVICE_UNAVAILABLE, &error);
    };
    // A message of the page is a range of its file, or short.
    let upgrade = upgrade.max_message_size(MOST).max_frame_size(MOST);
    upgrade.on_upgrade(move |socket| serve(pages.rpc, who, socket, place))
}

/// Somewhere: where just this VM may be made is decided when that is asked for.
fn may_provision(user: &Value) -> bool {
    let bindings = serde_json::from_value::<Vec<Binding>>(user["bindings"].clone()).unwrap_or_default();
    bindings.iter().any(|binding| binding.role.allows(Permission::Provision))
}

/// Why a conversation ends before its disks are whole.
enum End {
    /// There is nobody to be told.
    Gone,
    Told(Value),
}

fn wrong(text: &str) -> End {
    End::Told(of_problem(Problem::File(text.to_owned())))
}

fn of_problem(problem: Problem) -> Value {
    let passing = problem.is_passing();
    let (_, error) = problem.told();
    let code = error.reason().code();
    json!({ "code": code, "message": error.message, "data": error.data, "passing": passing })
}

async fn serve(rpc: Rpc, who: Who, socket: WebSocket, _place: OwnedSemaphorePermit) {
    let (sink, stream) = socket.split();
    let mut page = Page { sink, pending: VecDeque::new() };
    let mut stream = stream.boxed();
    let (code, last) = match converse(&rpc, &who, &mut page, &mut stream).await {
        Ok(()) => (1000, Told::Whole(true)),
        Err(End::Told(error)) => (1011, Told::Error(error)),
        Err(End::Gone) => return,
    };
    let bye = Message::Close(Some(CloseFrame { code, reason: "".into() }));
    // A page that has gone hears neither.
    if page.tell(&last).await.is_ok() {
        let _gone = timeout(Duration::from_secs(1), page.sink.send(bye)).await;
    }
}

/// The page's end of the conversation.
struct Page {
    sink: SplitSink<WebSocket, Message>,
    /// What it was asked for and has not given, the oldest first, and since when.
    pending: VecDeque<(Ask, Instant)>,
}

impl Page {
    async fn tell(&mut self, told: &Told) -> Result<(), End> {
        let text = serde_json::to_string(told).map_err(|_| End::Gone)?;
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(SILENCE, self.sink.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }

    async fn read(&mut self, asked: Ask) -> Result<(), End> {
        let told = Told::Read { from: asked.from, length: asked.length };
        self.pending.push_back((asked, Instant::now()));
        self.tell(&told).await
    }

    fn answered(&mut self, bytes: bytes::Bytes) -> Result<(), End> {
        let Some((asked, _)) = self.pending.pop_front() else {
            return Err(wrong("bytes came that nobody has asked for"));
        };
        if asked.length != bytes.len() {
            let text = format!("{} bytes came, asked for were {}", bytes.len(), asked.length);
            return Err(wrong(&text));
        }
        // Who asked may have ended meanwhile.
        let _nobody_waits = asked.answer.try_send(bytes);
        Ok(())
    }

    fn is_silent(&self) -> bool {
        self.pending.front().is_some_and(|(_, since)| since.elapsed() > SILENCE)
    }
}

type Stream = futures::stream::BoxStream<'static, Result<Message, axum::Error>>;

fn said(message: Option<Result<Message, axum::Error>>) -> Result<Option<Message>, End> {
    match message {
        Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End::Gone),
        Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(None),
        Some(Ok(message)) => Ok(Some(message)),
    }
}

async fn opened(stream: &mut Stream) -> Result<Open, End> {
    loop {
        let message = timeout(SILENCE, stream.next()).await.map_err(|_| End::Gone)?;
        match said(message)? {
            None => {}
            Some(Message::Text(text)) => match serde_json::from_str(&text) {
                Ok(Said::Open(open))
                    if open.file.chars().any(char::is_control) || open.file.len() > MAX_NAME =>
                {
                    return Err(wrong("the file's name makes no sense"));
                }
                Ok(Said::Open(open)) => return Ok(open),
                Ok(Said::Send(_)) => return Err(wrong("a file is opened first")),
                Err(error) => return Err(wrong(&error.to_string())),
            },
            Some(_) => return Err(wrong("a file is opened first")),
        }
    }
}

async fn converse(rpc: &Rpc, who: &Who, page: &mut Page, stream: &mut Stream) -> Result<(), End> {
    let open = opened(stream).await?;
    // One read at a time is under way; what it was told waits for nothing else.
    let (asks, mut asked) = mpsc::channel(1);
    let (tell, mut told) = mpsc::channel(4);
    let (order, mut orders) = mpsc::channel(1);
    let file = PageFile::new(open.file.clone(), open.size, asks);
    let mut working = tokio::task::spawn_blocking(move || work(file, &open, &mut orders, &tell));
    let mut order = Some(order);
    // Since when the page knows what is in its file. How long that takes to find out is the file's affair.
    let mut found: Option<Instant> = None;
    let mut look = interval(PING);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // However this ends, what the work waits for is dropped, and it ends too.
    loop {
        tokio::select! {
            // First what was told before the work ended.
            biased;
            Some(told) = told.recv() => {
                if matches!(told, Told::Found(_)) {
                    found = Some(Instant::now());
                }
                page.tell(&told).await?;
            }
            Some(ask) = asked.recv() => page.read(ask).await?,
            ended = &mut working => {
                let ended = ended.unwrap_or_else(|error| Err(Problem::Broken(error.to_string())));
                return ended.map_err(|problem| End::Told(of_problem(problem)));
            }
            message = stream.next() => match said(message)? {
                None => {}
                Some(Message::Binary(bytes)) => page.answered(bytes)?,
                Some(message) => {
                    let wanted = to_send(&message)?;
                    let order = order.take().ok_or_else(|| wrong("the disks are sent once"))?;
                    let ticket = ticket(rpc, who, &wanted.import).await?;
                    let known = if wanted.again { Known::OfThisFile } else { Known::Nothing };
                    let _ended = order.try_send(Order { ticket, known });
                }
            },
            _ = look.tick() => {
                let decides = found.is_some_and(|since| since.elapsed() > DECIDING);
                if page.is_silent() || (order.is_some() && decides) {
                    return Err(End::Gone);
                }
                page.send(Message::Ping(bytes::Bytes::new())).await?;
            }
        }
    }
}

fn to_send(message: &Message) -> Result<SendDisks, End> {
    let Message::Text(text) = message else { return Err(wrong("this message makes no sense")) };
    match serde_json::from_str(text) {
        Ok(Said::Send(wanted)) => Ok(wanted),
        Ok(Said::Open(_)) => Err(wrong("a file is open already")),
        Err(error) => Err(wrong(&error.to_string())),
    }
}

/// As who opened the socket; waits until the host takes the disks.
async fn ticket(rpc: &Rpc, who: &Who, import: &str) -> Result<UploadTicket, End> {
    let params = json!({ "import": import });
    let deadline = Instant::now() + READY;
    loop {
        let import = asked(rpc, "import.get", &params, who).await?;
        let phase = serde_json::from_value::<ImportPhase>(import["phase"].clone()).ok();
        let waits = phase == Some(ImportPhase::Preparing);
        if !waits || Instant::now() > deadline {
            match asked(rpc, "import.ticket", &params, who).await {
                Ok(ticket) => return serde_json::from_value(ticket).map_err(|_| End::Gone),
                // The host has not said yet where it takes them.
                Err(_) if phase == Some(ImportPhase::Uploading) && Instant::now() <= deadline => {}
                Err(end) => return Err(end),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// One call of the API; its refusal as the page is told it.
async fn asked(rpc: &Rpc, method: &str, params: &Value, who: &Who) -> Result<Value, End> {
    let response = match ask(rpc, method, params.clone(), who.clone()).await {
        Ok(answer) => return Ok(answer),
        Err(response) => response,
    };
    let passing = response.status().is_server_error() || response.status() == StatusCode::TOO_MANY_REQUESTS;
    let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap_or_default();
    let mut told = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    Err(End::Told(match told.get_mut("error").map(Value::take) {
        Some(Value::Object(mut error)) => {
            error.insert("passing".to_owned(), Value::Bool(passing));
            Value::Object(error)
        }
        _ => of_problem(Problem::Passing(format!("{method} could not be asked"))),
    }))
}
