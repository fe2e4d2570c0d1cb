//! Calls: typed, and repeated safely when the connection breaks.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonrpsee_core::client::{ClientT, Error as RpcError};
use jsonrpsee_core::traits::ToRpcParams;
use jsonrpsee_ws_client::WsClient;
use jsonrpsee_ws_client::types::ErrorObjectOwned;
use rustls::ClientConfig;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use xenith_common_tasks::Backoff;
use xenith_orchestrator_api::{Kind, Method};
use xenith_orchestrator_types::error::ErrorData;
use xenith_orchestrator_types::{ApiError, ListRequest, Page, Permission, Reason};

use crate::{ClientError, Endpoint, Trust, connection};

/// How long a call tries to get its connection back: an orchestrator that restarts is there again by then.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a caller signs in with.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// Only `auth.login` and `system.info` work.
    None,
    /// A session or an API token.
    Bearer(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Bearer(_) => "Bearer(secret)",
        })
    }
}

/// What goes with a mutation besides its parameters.
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    /// The same key again within a day gets the first answer. Without one, one is made.
    pub idempotency_key: Option<String>,
}

/// Whether a call may go out again when its answer did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    Safe,
    Never,
}

/// A connection that is opened when it is needed, and again when it broke. Clones share it.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    endpoint: Endpoint,
    tls: Arc<ClientConfig>,
    credential: Credential,
    live: Mutex<Option<Arc<WsClient>>>,
}

impl Client {
    /// Connects at once, so that a wrong address or certificate is known before the first call.
    pub async fn connect(
        endpoint: Endpoint,
        trust: Trust,
        credential: Credential,
    ) -> Result<Self, ClientError> {
        let inner = Inner { tls: trust.config()?, endpoint, credential, live: Mutex::default() };
        let client = Self { inner: Arc::new(inner) };
        client.connection().await?;
        Ok(client)
    }

    pub(crate) fn parts(&self) -> (&Endpoint, Arc<ClientConfig>, &Credential) {
        (&self.inner.endpoint, Arc::clone(&self.inner.tls), &self.inner.credential)
    }

    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    pub async fn call<M: Method>(&self, params: &M::Params) -> Result<M::Result, ClientError> {
        self.call_with::<M>(params, &CallOptions::default()).await
    }

    pub async fn call_with<M: Method>(
        &self,
        params: &M::Params,
        options: &CallOptions,
    ) -> Result<M::Result, ClientError> {
        let mut object = to_object(M::NAME, params)?;
        // Nobody has signed in yet: there is no one to keep the key for.
        if M::KIND.is_mutation() && M::PERMISSION != Permission::Anyone {
            let key = options.idempotency_key.clone().unwrap_or_else(new_key);
            object.insert("idempotency_key".into(), key.into());
        }
        let answer = self.call_raw(M::NAME, object, Repeat::Safe).await?;
        serde_json::from_str(answer.get())
            .map_err(|source| ClientError::Unexpected { method: M::NAME.to_owned(), source })
    }

    /// Every item of a list that `filter` lets through, page after page. For lists that are known to be short, or for
    /// who wants all of a long one.
    pub async fn all<M, T>(&self, filter: &str) -> Result<Vec<T>, ClientError>
    where
        M: Method<Params = ListRequest, Result = Page<T>>,
    {
        let limit = ListRequest::MAX_LIMIT;
        let mut request = ListRequest { filter: filter.to_owned(), limit, ..ListRequest::default() };
        let mut items = Vec::new();
        loop {
            let page = self.call::<M>(&request).await?;
            items.extend(page.items);
            match page.next {
                Some(next) => request.cursor = Some(next),
                None => return Ok(items),
            }
        }
    }

    /// What the call would do; nothing changes. Only for methods that can be planned.
    pub async fn plan<M: Method>(&self, params: &M::Params) -> Result<Value, ClientError> {
        const { assert!(matches!(M::KIND, Kind::Plannable), "this method has no dry run") };
        let mut object = to_object(M::NAME, params)?;
        object.insert("dry_run".into(), true.into());
        let answer = self.call_raw(M::NAME, object, Repeat::Safe).await?;
        let unexpected = |source| ClientError::Unexpected { method: M::NAME.to_owned(), source };
        let mut answer: Map<String, Value> = serde_json::from_str(answer.get()).map_err(unexpected)?;
        answer.remove("plan").ok_or_else(|| unexpected(serde::de::Error::missing_field("plan")))
    }

    /// Any method, by name. Give an `idempotency_key` among the parameters to make a mutation safe to repeat.
    pub async fn call_raw(
        &self,
        method: &str,
        params: Map<String, Value>,
        repeat: Repeat,
    ) -> Result<Box<RawValue>, ClientError> {
        let key = params.get("idempotency_key").and_then(Value::as_str).map(str::to_owned);
        let params = Params::new(&params)
            .map_err(|source| ClientError::Unexpected { method: method.to_owned(), source })?;
        let url = self.inner.endpoint.to_string();
        let given_up = Instant::now() + PATIENCE;
        let (mut backoff, mut repeated) = (new_backoff(), false);
        loop {
            let error = match self.connection().await {
                Ok(connection) => match connection.request(method, params.clone()).await {
                    Ok(answer) => return Ok(answer),
                    Err(RpcError::Call(refusal)) => match refused(method, refusal) {
                        // The call that lost its connection is still at work: its answer comes to the key.
                        error if repeated && is_under_way(&error) => error,
                        error => return Err(error),
                    },
                    Err(RpcError::ParseError(source)) => {
                        return Err(ClientError::Unexpected { method: method.to_owned(), source });
                    }
                    Err(RpcError::RequestTimeout) => {
                        let seconds = connection::ANSWER.as_secs();
                        return Err(ClientError::TimedOut { url, seconds, key });
                    }
                    Err(error) => {
                        tracing::debug!(method, %error, "the connection broke");
                        self.forget(&connection).await;
                        ClientError::Lost { url: url.clone(), key: key.clone() }
                    }
                },
                Err(error) => error,
            };
            let delay = backoff.next_delay();
            let passing = error.is_passing() || is_under_way(&error);
            if repeat == Repeat::Never || !passing || Instant::now() + delay > given_up {
                return Err(error);
            }
            repeated = true;
            tokio::time::sleep(delay).await;
        }
    }

    /// The live connection, a new one where there is none.
    pub(crate) async fn connection(&self) -> Result<Arc<WsClient>, ClientError> {
        let mut live = self.inner.live.lock().await;
        if let Some(connection) = live.as_ref().filter(|connection| connection.is_connected()) {
            return Ok(Arc::clone(connection));
        }
        let inner = &self.inner;
        let opened = connection::open(&inner.endpoint, Arc::clone(&inner.tls), &inner.credential).await?;
        let opened = Arc::new(opened);
        *live = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Drops a broken connection, unless another caller did so and opened a new one.
    pub(crate) async fn forget(&self, broken: &Arc<WsClient>) {
        let mut live = self.inner.live.lock().await;
        if live.as_ref().is_some_and(|current| Arc::ptr_eq(current, broken)) {
            *live = None;
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoint", &self.inner.endpoint).finish_non_exhaustive()
    }
}

/// Parameters as they go out, serialised once for all repeats.
#[derive(Clone)]
pub(crate) struct Params(Arc<RawValue>);

impl Params {
    pub(crate) fn new(params: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(params).map(|raw| Self(raw.into()))
    }
}

impl ToRpcParams for Params {
    fn to_rpc_params(self) -> Result<Option<Box<RawValue>>, serde_json::Error> {
        Ok(Some((*self.0).to_owned()))
    }
}

pub(crate) fn new_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(3), fastrand::u64(..))
}

fn is_under_way(error: &ClientError) -> bool {
    matches!(error, ClientError::Api(error)
        if error.reason() == Reason::Conflict && error.data.field.as_deref() == Some("idempotency_key"))
}

fn new_key() -> String {
    uuid::Uuid::new_v4().to_string()
}

pub(crate) fn to_object(method: &str, params: &impl Serialize) -> Result<Map<String, Value>, ClientError> {
    match serde_json::to_value(params) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(serde::ser::Error::custom("parameters are not an object")),
        Err(error) => Err(error),
    }
    .map_err(|source| ClientError::Unexpected { method: method.to_owned(), source })
}

/// `data` decides, not the code: the protocol's own errors use some of the same numbers without it.
pub(crate) fn refused(method: &str, error: ErrorObjectOwned) -> ClientError {
    let message = error.message().to_owned();
    if let Some(data) = error.data().and_then(|data| serde_json::from_str::<ErrorData>(data.get()).ok()) {
        return ApiError { message, data }.into();
    }
    match error.code() {
        -32602 => ApiError::new(Reason::Invalid, detailed(&message, &error)).into(),
        -32603 => ApiError::new(Reason::Internal, detailed(&message, &error)).into(),
        code => ClientError::Refused { method: method.to_owned(), code, message: detailed(&message, &error) },
    }
}

fn detailed(message: &str, error: &ErrorObjectOwned) -> String {
    let more = error.data().and_then(|data| serde_json::from_str::<String>(data.get()).ok());
    more.map_or_else(|| message.to_owned(), |more| format!("{message}: {more}"))
}
