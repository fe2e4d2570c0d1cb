//! JSON-RPC: decode, authenticate, authorise, audit, hand on. No decisions of its own.
//!
//! Every method goes through [`Module::method`]; these, every subscription and `rpc.discover` pass [`Gate::admit`]. There
//! is no other way to a method. The order is: who (the secret is looked up for each call, so that a session that was
//! ended ends open WebSockets too), how often, whether allowed at all, what exactly (typed parameters), for a mutation
//! how often once more, then the audit record, then the effect, then the audit record's completion.
//!
//! What comes too often leaves no audit record, for those are kept for ever: a stranger would fill the disk with them.
//! What is tried leaves two. A password is tried only after the try was counted ([`crate::authn::throttle`]).
//!
//! A mutation is carried to its end when its caller hangs up in the middle: what is behind its commit (a certificate that
//! is revoked, the answer under an idempotency key, the audit record) belongs to it. Only a shutdown ends it, as a crash
//! would.

mod decode;
mod document;
mod idempotency;
mod limit;
mod subscriptions;

pub(crate) use document::document;
pub(crate) use idempotency::prune as prune_idempotency;
pub use limit::RateLimit;

use std::net::IpAddr;
use std::sync::Arc;

use jsonrpsee::types::{ErrorObject, ErrorObjectOwned, Params};
use jsonrpsee::{Extensions, RpcModule};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use xenith_common_tasks::TaskSet;
use xenith_orchestrator_api::{Call, Caller, Method, Registrar, auth, user};
use xenith_orchestrator_types::{ApiError, Permission, Reason};

use crate::app::App;
use crate::authn::verdict;

/// What the HTTP side puts into each request.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    pub secret: Option<String>,
    pub from: Option<IpAddr>,
}

/// What every call passes.
pub struct Gate {
    app: Arc<App>,
    tasks: TaskSet,
}

pub(crate) fn error_object(error: &ApiError) -> ErrorObjectOwned {
    ErrorObject::owned(error.reason().code(), error.message.clone(), Some(&error.data))
}

impl Gate {
    /// Who calls, if their secret is good.
    async fn known(
        &self,
        extensions: &Extensions,
        permission: Permission,
    ) -> Result<Caller, (Caller, ApiError)> {
        let credentials = extensions.get::<Credentials>().cloned().unwrap_or_default();
        let nobody = Caller::anonymous(credentials.from);
        match &credentials.secret {
            Some(secret) => match self.app.authn.caller(secret, credentials.from).await {
                Ok(caller) => Ok(caller),
                // Signing in must work with an old session in hand.
                Err(_) if permission == Permission::Anyone => Ok(nobody),
                Err(error) => Err((nobody, error)),
            },
            None => Ok(nobody),
        }
    }

    /// Who calls, if they may go on at all.
    async fn admit(
        &self,
        extensions: &Extensions,
        permission: Permission,
    ) -> Result<Caller, (Caller, ApiError)> {
        let known = self.known(extensions, permission).await;
        // Who shows a secret that is none pays as a stranger at their address. A good one is let in from there all the
        // same: else a neighbour's flood would lock out who is behind one address with them.
        let (Ok(payer) | Err((payer, _))) = &known;
        if let Err(error) = self.app.rate.check(payer) {
            return Err((payer.clone(), error));
        }
        let caller = known?;
        match caller.check(permission) {
            Ok(()) => Ok(caller),
            Err(error) => Err((caller, error)),
        }
    }

    /// As [`Self::run`], whatever becomes of who waits for this.
    async fn carry_out<M, F, Fut>(
        self: Arc<Self>,
        params: Params<'static>,
        extensions: Extensions,
        handler: F,
    ) -> Result<Box<RawValue>, ErrorObjectOwned>
    where
        M: Method,
        F: FnOnce(Arc<Call>, M::Params) -> Fut + Send + 'static,
        Fut: Future<Output = Result<M::Result, ApiError>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let (gate, token) = (Arc::clone(&self), self.tasks.token());
        self.tasks.spawn(M::NAME, async move {
            tokio::select! {
                biased;
                () = token.cancelled() => {}
                // The caller may have gone.
                done = gate.run::<M, Fut>(params, extensions, handler) => drop(answer.send(done)),
            }
        });
        let stopping =
            |_| Err(error_object(&ApiError::internal("the orchestrator stopped in the middle of this")));
        answered.await.unwrap_or_else(stopping)
    }

    async fn run<M, Fut>(
        &self,
        params: Params<'static>,
        extensions: Extensions,
        handler: impl FnOnce(Arc<Call>, M::Params) -> Fut + Send,
    ) -> Result<Box<RawValue>, ErrorObjectOwned>
    where
        M: Method,
        Fut: Future<Output = Result<M::Result, ApiError>> + Send,
    {
        let parsed = decode::object(&params);
        let result = match self.admit(&extensions, M::PERMISSION).await {
            Ok(caller) => match parsed {
                Ok(fields) => self.admitted::<M, Fut>(caller, fields, handler).await,
                Err(error) => Err(error),
            },
            Err((caller, error)) => {
                // Who is not signed in at all is nobody to note; a refused user is, unless they only called too often.
                let noted = caller.user.is_some() && error.reason() != Reason::Throttled;
                if M::KIND.is_mutation() && noted {
                    let params = parsed.map(Value::Object).unwrap_or(Value::Null);
                    self.app.audit.refused(&caller, M::NAME, &params, &error).await;
                }
                Err(error)
            }
        };
        result.map_err(|error| error_object(&error))
    }

    async fn admitted<M, Fut>(
        &self,
        caller: Caller,
        mut fields: Map<String, Value>,
        handler: impl FnOnce(Arc<Call>, M::Params) -> Fut + Send,
    ) -> Result<Box<RawValue>, ApiError>
    where
        M: Method,
        Fut: Future<Output = Result<M::Result, ApiError>> + Send,
    {
        let (key, dry_run) = if M::KIND.is_mutation() { extras::<M>(&mut fields)? } else { (None, false) };
        let raw = Value::Object(fields);
        let params: M::Params = decode::decode(&raw)?;
        let call = Call::new(caller, key);
        let call = Arc::new(if dry_run { call.planning() } else { call });
        let effect = async {
            match (handler(Arc::clone(&call), params).await, call.plan()) {
                (Ok(result), _) => Ok(Outcome::Done(result)),
                (Err(_), Some(plan)) => Ok(Outcome::Planned { plan }),
                (Err(error), None) => Err(error),
            }
        };
        if !M::KIND.is_mutation() || dry_run {
            return text(&effect.await?);
        }
        // Boxed: it is handed on some times, and each time would make the whole larger.
        let effect = Box::pin(async { serde_json::to_value(effect.await?).map_err(ApiError::internal) });
        text(&self.limited::<M>(&call, &raw, effect).await?)
    }

    /// A mutation, unless it comes too often.
    async fn limited<M: Method>(
        &self,
        call: &Call,
        params: &Value,
        effect: impl Future<Output = Result<Value, ApiError>> + Send,
    ) -> Result<Value, ApiError> {
        self.app.rate.check_change(&call.caller)?;
        let guessed = guessed::<M>(&call.caller, params);
        let tried = guessed.map(|name| self.app.authn.try_password(name, call.caller.from)).transpose();
        let tried = tried.inspect_err(|_| self.app.rate.count_refused())?;
        let result = self.audited::<M>(call, params, effect).await;
        if let Some(tried) = tried {
            tried.end(verdict(result.as_ref().err()));
        }
        result
    }

    /// A mutation, with what is written down before and after it.
    async fn audited<M: Method>(
        &self,
        call: &Call,
        params: &Value,
        effect: impl Future<Output = Result<Value, ApiError>> + Send,
    ) -> Result<Value, ApiError> {
        // Who signs in is not known yet by their session: their name is.
        let mut who = call.caller.clone();
        if who.user.is_none()
            && let Some(name) = params.get("name").and_then(Value::as_str)
        {
            who.name = name.chars().take(64).collect();
        }
        let of = self.app.audit.ask(&who, M::NAME, params).await?;
        call.note_record(of);
        let result = match (&call.idempotency_key, call.caller.user) {
            // Signing in gives each its own session, also who asks with one in hand.
            (Some(key), Some(user)) if M::PERMISSION != Permission::Anyone => {
                let (db, vault) = (&self.app.db, &*self.app.vault);
                idempotency::once((db, vault), (user, key), (M::NAME, params), effect).await
            }
            _ => effect.await,
        };
        self.app.audit.complete(&who, M::NAME, of, &result).await;
        if result.is_ok() {
            self.app.changes.note(M::NAME);
        }
        result
    }
}

/// Whose password a call gives, if it gives one to be verified.
fn guessed<'a, M: Method>(caller: &'a Caller, params: &'a Value) -> Option<&'a str> {
    if M::NAME == auth::Login::NAME {
        return params.get("name").and_then(Value::as_str);
    }
    let own = [auth::ChangePassword::NAME, user::TotpEnrol::NAME, user::TotpDisable::NAME];
    own.contains(&M::NAME).then_some(caller.name.as_str())
}

/// What a call gives, written at once: the tree of a page takes longer to build than its text.
#[derive(Serialize)]
#[serde(untagged)]
enum Outcome<R, P> {
    Done(R),
    Planned { plan: P },
}

fn text(outcome: &impl Serialize) -> Result<Box<RawValue>, ApiError> {
    serde_json::value::to_raw_value(outcome).map_err(ApiError::internal)
}

/// Takes the members that every mutation has.
fn extras<M: Method>(fields: &mut Map<String, Value>) -> Result<(Option<String>, bool), ApiError> {
    let key = match fields.remove("idempotency_key") {
        None | Some(Value::Null) => None,
        Some(Value::String(key)) if (1..=128).contains(&key.len()) => Some(key),
        Some(_) => return Err(ApiError::invalid("idempotency_key", "must be 1 to 128 characters")),
    };
    let dry_run = match fields.remove("dry_run") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::Bool(true)) if M::KIND == xenith_orchestrator_api::Kind::Plannable => true,
        Some(Value::Bool(true)) => {
            return Err(ApiError::invalid("dry_run", format_args!("{} cannot be planned", M::NAME)));
        }
        Some(_) => return Err(ApiError::invalid("dry_run", "must be true or false")),
    };
    Ok((key, dry_run))
}

/// Methods on their way into jsonrpsee.
struct Module {
    inner: RpcModule<Gate>,
}

impl Registrar for Module {
    fn method<M, F, Fut>(&mut self, handler: F)
    where
        M: Method,
        F: Fn(Arc<Call>, M::Params) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<M::Result, ApiError>> + Send + 'static,
    {
        let registered = self.inner.register_async_method(M::NAME, move |params, gate, extensions| {
            let handler = handler.clone();
            async move {
                if M::KIND.is_mutation() {
                    return gate.carry_out::<M, F, Fut>(params, extensions, handler).await;
                }
                gate.run::<M, Fut>(params, extensions, handler).await
            }
        });
        registered.expect("the API's names are unique, which a test of the API checks");
    }
}

/// Everything that can be called.
pub fn module(
    app: &Arc<App>,
    tasks: &TaskSet,
) -> Result<RpcModule<Gate>, jsonrpsee::core::RegisterMethodError> {
    let gate = Gate { app: Arc::clone(app), tasks: tasks.child() };
    let mut module = Module { inner: RpcModule::new(gate) };
    app.register(&mut module);
    let mut inner = module.inner;
    subscriptions::register(&mut inner)?;
    inner.register_async_method("rpc.discover", |_, gate, extensions| async move {
        // Each answer is a copy of most of a MiB: too much for strangers, who find it at `/openrpc.json` without one.
        let admitted = gate.admit(&extensions, Permission::Own).await;
        admitted.map(|_| document()).map_err(|(_, error)| error_object(&error))
    })?;
    Ok(inner)
}
