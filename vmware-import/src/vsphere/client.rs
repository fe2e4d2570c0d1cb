//! The session and the calls.

use std::collections::HashSet;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use xenith_common_text::chain;

use super::pin::{Fingerprint, Pins};
use super::soap::{Body, Flag, MAX_ANSWER, Node, parse};
use crate::error::{ImportError, Result, Retry};

/// Objects per page of the property collector.
const PAGE: u64 = 100;
const NEXT_PAGE: &str = "ContinueRetrievePropertiesEx";
/// The oldest API we speak; newer servers answer it.
const SOAP_ACTION: &str = "urn:vim25/6.5";
/// A server that does not answer a call in this time is treated as gone. Long work is a task.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);

/// A reference to a managed object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct MoRef {
    pub kind: String,
    pub id: String,
}

impl MoRef {
    #[must_use]
    pub fn new(kind: &str, id: &str) -> Self {
        Self { kind: kind.to_owned(), id: id.to_owned() }
    }
}

/// Who we are to the server. `Debug` does not show the password.
#[derive(Clone)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.user)
    }
}

/// What the service instance says is where.
#[derive(Debug, Clone, Default)]
struct Content {
    root_folder: MoRef,
    property_collector: MoRef,
    view_manager: MoRef,
    session_manager: MoRef,
    about: String,
}

/// An object and the properties asked for.
#[derive(Debug, Clone, Default)]
pub struct Object {
    pub reference: MoRef,
    pub properties: Vec<(String, Node)>,
}

impl Object {
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.properties.iter().find(|(found, _)| found == name).map(|(_, value)| value)
    }

    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        self.get(name).map_or("", |node| node.text.as_str())
    }
}

/// A session with an ESXi host or vCenter.
pub struct Vim {
    http: Client,
    /// `https://host:port`.
    base: String,
    credentials: Credentials,
    pub pins: Arc<Pins>,
    cookie: Mutex<String>,
    /// Held by who opens a session.
    signing_in: Mutex<()>,
    content: Content,
}

enum Answer {
    Body(Node),
    /// The fault's type and its message.
    Fault(String, String),
}

impl Vim {
    /// Connects to `host[:port]` and logs in. Without a `pin`, or with another certificate than pinned, the
    /// error shows the fingerprint found.
    pub fn connect(host: &str, credentials: Credentials, pin: Option<Fingerprint>) -> Result<Self> {
        let pins = Pins::new(pin);
        let http = Client::builder()
            .tls_backend_preconfigured(pins.tls_config()?)
            .timeout(CALL_TIMEOUT)
            .connect_timeout(Duration::from_secs(20))
            .pool_max_idle_per_host(16)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| ImportError::Usage(format!("no HTTPS client: {error}")))?;
        let base = format!("https://{host}");
        let (cookie, signing_in, content) = (Mutex::default(), Mutex::default(), Content::default());
        let mut vim = Self { http, base, credentials, pins, cookie, signing_in, content };
        let instance = MoRef::new("ServiceInstance", "ServiceInstance");
        let answer = vim.exchange("RetrieveServiceContent", &instance, &Body::new())?;
        let content = vim.expect("RetrieveServiceContent", answer)?;
        let reference = |name: &str| content.child(name).map(Node::moref).unwrap_or_default();
        vim.content = Content {
            root_folder: reference("rootFolder"),
            property_collector: reference("propertyCollector"),
            view_manager: reference("viewManager"),
            session_manager: reference("sessionManager"),
            about: content.text_at("about.fullName").to_owned(),
        };
        vim.login()?;
        Ok(vim)
    }

    /// The server's own description.
    #[must_use]
    pub fn about(&self) -> &str {
        &self.content.about
    }

    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    #[must_use]
    pub fn http(&self) -> &Client {
        &self.http
    }

    /// The session's cookie, for the data paths.
    #[must_use]
    pub fn cookie(&self) -> String {
        self.cookie.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Opens a new session after the one with the cookie `expired` did, unless somebody else has meanwhile: several
    /// readers meet the end of a session at once, and a server takes only so many new ones.
    pub fn login_after(&self, expired: &str) -> Result<()> {
        let _turn = self.signing_in.lock().unwrap_or_else(PoisonError::into_inner);
        if self.cookie() != expired {
            return Ok(());
        }
        self.login()
    }

    /// Opens a new session.
    fn login(&self) -> Result<()> {
        self.cookie.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let body =
            Body::new().text("userName", &self.credentials.user).text("password", &self.credentials.password);
        match self.exchange("Login", &self.content.session_manager, &body)? {
            // A password that ran out is renewed, an account that was locked is opened again.
            Answer::Fault(kind, message) if kind == "InvalidLogin" || kind == "NoPermission" => {
                Err(self.error("Login", format!("{kind}: {message}"), Retry::Mended))
            }
            answer => self.expect("Login", answer).map(drop),
        }
    }

    /// Ends the session; nothing is done when there is none.
    pub fn logout(&self) -> Result<()> {
        let manager = &self.content.session_manager;
        if self.cookie().is_empty() || manager.id.is_empty() {
            return Ok(());
        }
        // Not through `call`: a session that has expired is not opened again to be ended.
        let ended = self.exchange("Logout", manager, &Body::new());
        self.cookie.lock().unwrap_or_else(PoisonError::into_inner).clear();
        ended.map(drop)
    }

    /// Calls `method` on `this`; opens a new session and repeats the call when the old one expired.
    pub fn call(&self, method: &'static str, this: &MoRef, body: &Body) -> Result<Node> {
        let cookie = self.cookie();
        let answer = self.exchange(method, this, body)?;
        if let Answer::Fault(kind, _) = &answer
            && kind == "NotAuthenticated"
        {
            self.login_after(&cookie)?;
            let again = self.exchange(method, this, body)?;
            return self.expect(method, again);
        }
        self.expect(method, answer)
    }

    fn expect(&self, method: &'static str, answer: Answer) -> Result<Node> {
        match answer {
            Answer::Body(node) => Ok(node),
            Answer::Fault(kind, message) => {
                Err(self.error(method, format!("{kind}: {message}"), retry_of(&kind)))
            }
        }
    }

    pub(super) fn error(&self, call: &'static str, detail: String, retry: Retry) -> ImportError {
        ImportError::Server { server: self.base.clone(), call, detail, retry }
    }

    pub(super) fn transport(&self, call: &'static str, error: &reqwest::Error) -> ImportError {
        if let Some(seen) = self.pins.refused() {
            let detail = format!(
                "its certificate is not the one you trust; if {seen} is its SHA-256 fingerprint, give it with --fingerprint"
            );
            return self.error(call, detail, Retry::Mended);
        }
        self.error(call, chain(error), Retry::Later)
    }

    fn exchange(&self, method: &'static str, this: &MoRef, body: &Body) -> Result<Answer> {
        let mut request = self
            .http
            .post(format!("{}/sdk", self.base))
            .header("Content-Type", "text/xml; charset=utf-8")
            .header("SOAPAction", SOAP_ACTION)
            .body(body.envelope(method, this));
        let cookie = self.cookie();
        if !cookie.is_empty() {
            request = request.header("Cookie", cookie);
        }
        let response = request.send().map_err(|error| self.transport(method, &error))?;
        self.keep_cookie(&response);
        let status = response.status();
        let mut text = String::new();
        let read = response.take(MAX_ANSWER + 1).read_to_string(&mut text);
        read.map_err(|error| self.error(method, format!("an answer that broke off: {error}"), Retry::Later))?;
        if text.len() as u64 > MAX_ANSWER {
            return Err(self.error(method, "an answer of more than 64 MiB".to_owned(), Retry::Never));
        }
        let bad = |detail: String| {
            let retry = if status.is_server_error() { Retry::Later } else { Retry::Never };
            self.error(method, format!("{status}: {detail}"), retry)
        };
        let root = parse(&text).map_err(bad)?;
        let body = root.child("Body").ok_or_else(|| bad("no SOAP body".to_owned()))?;
        if let Some(fault) = body.child("Fault") {
            let detail = fault.child("detail").and_then(|detail| detail.children.first());
            let kind = detail.map_or("", |d| if d.kind.is_empty() { &d.name } else { &d.kind });
            let kind = kind.strip_suffix("Fault").filter(|k| !k.is_empty()).unwrap_or(kind).to_owned();
            return Ok(Answer::Fault(kind, fault.text_at("faultstring").to_owned()));
        }
        let answer = body.children.first().ok_or_else(|| bad("an empty body".to_owned()))?;
        Ok(Answer::Body(match answer.children.len() {
            // Most calls answer with one value; a list of them is kept as the parent.
            1 => answer.children[0].clone(),
            _ => answer.clone(),
        }))
    }

    fn keep_cookie(&self, response: &Response) {
        for value in response.headers().get_all("set-cookie") {
            let pair = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
            if pair.starts_with("vmware_soap_session=") {
                *self.cookie.lock().unwrap_or_else(PoisonError::into_inner) = pair.to_owned();
            }
        }
    }

    /// The `paths` of all objects of `kind`, a page at a time. Views and pages die with their session: when it
    /// expires in between, the list is begun again and objects that were given already are left out.
    pub fn list(&self, kind: &str, paths: &[&str], mut each: impl FnMut(Object)) -> Result<()> {
        let mut given = HashSet::new();
        let mut tries = 0;
        loop {
            let result = self.list_once(kind, paths, &mut |object| {
                if given.insert(object.reference.id.clone()) {
                    each(object);
                }
            });
            tries += 1;
            match result {
                // The view is gone, or the page is: its token is nothing to a new session, and the server says so in more than
                // one way.
                Err(ImportError::Server { call, detail, retry: Retry::Never, .. })
                    if (detail.contains("ManagedObjectNotFound") || call == NEXT_PAGE) && tries < 5 => {}
                other => return other,
            }
        }
    }

    fn list_once(&self, kind: &str, paths: &[&str], each: &mut impl FnMut(Object)) -> Result<()> {
        let body = Body::new()
            .reference("container", &self.content.root_folder)
            .text("type", kind)
            .flag("recursive", Flag::True);
        let view = self.call("CreateContainerView", &self.content.view_manager, &body)?.moref();
        let traversal = Body::new()
            .text("name", "view")
            .text("type", "ContainerView")
            .text("path", "view")
            .flag("skip", Flag::False);
        let objects = Body::new().reference("obj", &view).flag("skip", Flag::True).nested(
            "selectSet",
            "TraversalSpec",
            traversal,
        );
        let result = self.pages(kind, paths, objects, each);
        // A view that cannot be destroyed ends with the session.
        let _ = self.call("DestroyView", &view, &Body::new());
        result
    }

    fn pages(&self, kind: &str, paths: &[&str], objects: Body, each: &mut impl FnMut(Object)) -> Result<()> {
        let mut properties = Body::new().text("type", kind);
        for path in paths {
            properties = properties.text("pathSet", path);
        }
        let spec = Body::new().nested("propSet", "", properties).nested("objectSet", "", objects);
        let options = Body::new().number("maxObjects", PAGE);
        let body = Body::new().nested("specSet", "", spec).nested("options", "", options);
        let collector = &self.content.property_collector;
        let mut page = self.call("RetrievePropertiesEx", collector, &body)?;
        loop {
            page.all("objects").map(object).for_each(&mut *each);
            let token = page.text_at("token").to_owned();
            if token.is_empty() {
                return Ok(());
            }
            page = self.call(NEXT_PAGE, collector, &Body::new().text("token", &token))?;
        }
    }

    /// The `paths` of one object.
    pub fn properties(&self, reference: &MoRef, paths: &[&str]) -> Result<Object> {
        let mut found = None;
        let objects = Body::new().reference("obj", reference).flag("skip", Flag::False);
        self.pages(&reference.kind, paths, objects, &mut |object| found = Some(object))?;
        found.ok_or_else(|| {
            self.error(
                "RetrievePropertiesEx",
                format!("{} {} is gone", reference.kind, reference.id),
                Retry::Never,
            )
        })
    }

    /// Waits for a task; `deadline` bounds how long. Returns its result.
    pub fn wait_for_task(&self, task: &MoRef, deadline: Duration) -> Result<Node> {
        let end = Instant::now() + deadline;
        let mut pause = Duration::from_millis(50);
        loop {
            let info = self.properties(task, &["info"]).map_err(forgotten)?;
            let info = info.get("info").cloned().unwrap_or_default();
            match info.text_at("state") {
                "success" => return Ok(info.child("result").cloned().unwrap_or_default()),
                "error" => {
                    let kind = info.at("error.fault").map_or("", |fault| fault.kind.as_str()).to_owned();
                    let message = info.text_at("error.localizedMessage").to_owned();
                    return Err(self.error("a task", format!("{kind}: {message}"), retry_of(&kind)));
                }
                _ if Instant::now() >= end => {
                    return Err(self.error("a task", format!("no end after {deadline:?}"), Retry::Later));
                }
                _ => std::thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Calls a method that answers with a task and waits for it.
    pub fn run(&self, method: &'static str, this: &MoRef, body: &Body, deadline: Duration) -> Result<Node> {
        let task = self.call(method, this, body)?.moref();
        self.wait_for_task(&task, deadline)
    }
}

impl Drop for Vim {
    /// A server takes only so many sessions, and keeps one that was left for half an hour.
    fn drop(&mut self) {
        let _left_open = self.logout();
    }
}

/// Faults that pass by themselves: somebody else has the VM in hand, or a host is on its way back.
const PASSING: &[&str] = &[
    "TaskInProgress",
    "ConcurrentAccess",
    "ResourceInUse",
    "HostCommunication",
    "HostNotConnected",
    "HostNotReachable",
    "NoHost",
    "Timedout",
    "RequestCanceled",
    "NotAuthenticated",
];

fn retry_of(kind: &str) -> Retry {
    if PASSING.contains(&kind) { Retry::Later } else { Retry::Never }
}

/// A server that was started again knows nothing of its tasks: what asked for one finds out by itself how far it came.
fn forgotten(error: ImportError) -> ImportError {
    match error {
        ImportError::Server { server, detail, retry: Retry::Never, .. } => {
            let detail = format!("the task cannot be followed any more: {detail}");
            ImportError::Server { server, call: "a task", detail, retry: Retry::Later }
        }
        other => other,
    }
}

fn object(node: &Node) -> Object {
    let properties = node
        .all("propSet")
        .filter_map(|set| Some((set.text_at("name").to_owned(), set.child("val")?.clone())));
    Object {
        reference: node.child("obj").map(Node::moref).unwrap_or_default(),
        properties: properties.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_told_from_what_does_not() {
        for (kind, expected) in [
            ("TaskInProgress", Retry::Later),
            ("HostNotConnected", Retry::Later),
            ("NoPermission", Retry::Never),
            ("InvalidState", Retry::Never),
            ("FileFault", Retry::Never),
            ("", Retry::Never),
        ] {
            assert_eq!(retry_of(kind), expected, "{kind}");
        }
        let gone =
            |retry| ImportError::Server { server: "vc".into(), call: "x", detail: "gone".into(), retry };
        for retry in [Retry::Never, Retry::Later] {
            let told = forgotten(gone(retry));
            assert!(matches!(&told, ImportError::Server { retry: Retry::Later, .. }), "{told}");
        }
        assert!(matches!(forgotten(ImportError::Cancelled), ImportError::Cancelled));
    }
}
