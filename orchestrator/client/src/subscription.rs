//! Subscriptions that outlive their connection.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;
use jsonrpsee_core::client::{
    Error as RpcError, Subscription as RpcSubscription, SubscriptionClientT, SubscriptionCloseReason,
};
use jsonrpsee_ws_client::WsClient;
use jsonrpsee_ws_client::types::ErrorObjectOwned;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use xenith_orchestrator_api::{
    HostChange, InventoryChange, NounChange, VdiChange, VmChange, WatchEvents, WatchRows, WatchTasks,
};
use xenith_orchestrator_types::event::Event;
use xenith_orchestrator_types::task::Task;
use xenith_orchestrator_types::{Empty, Reason};

use crate::call::{PATIENCE, Params, new_backoff, refused, to_object};
use crate::{Client, ClientError};

/// A subscription as a type: `client.watch::<TaskChanges>(params)`.
pub trait Subscription: Send + 'static {
    const NAME: &'static str;
    const UNSUBSCRIBE: &'static str;
    type Params: Serialize + Send;
    type Item: DeserializeOwned + Send;

    /// What `since` has to be for the subscription to go on behind this item, if it says so.
    fn since(item: &Self::Item) -> Option<String>;
}

macro_rules! subscriptions {
    ($($(#[$doc:meta])* $name:ident = $wire:literal / $end:literal ($params:ty) -> $item:ty, $since:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl Subscription for $name {
            const NAME: &'static str = $wire;
            const UNSUBSCRIBE: &'static str = $end;
            type Params = $params;
            type Item = $item;

            fn since(item: &$item) -> Option<String> {
                let since: fn(&$item) -> Option<String> = $since;
                since(item)
            }
        }
    )*

        #[cfg(test)]
        const DECLARED: &[(&str, &str)] = &[$(($wire, $end)),*];
    };
}

subscriptions! {
    /// The VMs that a filter lets through.
    VmChanges = "vm.subscribe" / "vm.unsubscribe" (WatchRows) -> VmChange, revision;
    /// One task, or all.
    TaskChanges = "task.subscribe" / "task.unsubscribe" (WatchTasks) -> Task, |_| None;
    /// Events, from now on or from a given one.
    EventChanges = "event.subscribe" / "event.unsubscribe" (WatchEvents) -> Event, |event| Some(event.id.to_string());
    /// The hosts that a filter lets through.
    HostChanges = "host.subscribe" / "host.unsubscribe" (WatchRows) -> HostChange, revision;
    /// The VDIs that a filter lets through.
    VdiChanges = "vdi.subscribe" / "vdi.unsubscribe" (WatchRows) -> VdiChange, revision;
    /// Nouns of which a call has changed something.
    NounChanges = "change.subscribe" / "change.unsubscribe" (Empty) -> NounChange, |_| None;
}

fn revision<Row, Id>(change: &InventoryChange<Row, Id>) -> Option<String> {
    change.revision().map(str::to_owned)
}

/// What a subscription tells.
#[derive(Debug)]
pub enum Update<T> {
    Item(T),
    /// The connection broke; it is being opened again.
    Interrupted,
    /// It is back, and goes on where it broke: what was told still holds, and what happened meanwhile follows. Of rows
    /// that may be [`InventoryChange::Resync`], where too much has happened or the orchestrator has started again.
    Continued,
    /// It is back. Forget what was told: what is there follows again, as at the beginning.
    Resumed,
}

type Feed = (Arc<WsClient>, RpcSubscription<Box<RawValue>>);

/// A running subscription. Dropping it ends it.
pub struct Watch<S: Subscription> {
    client: Client,
    params: Map<String, Value>,
    /// How far it was told, where that is known.
    since: Option<String>,
    feed: Option<Feed>,
    /// The way back after a broken connection. Kept here so that a caller who stops waiting in [`Watch::next`], to draw
    /// something, does not make it begin anew each time.
    returning: Option<BoxFuture<'static, Result<Feed, ClientError>>>,
    of: PhantomData<fn() -> S>,
}

impl Client {
    /// Subscribes; fails at once when the orchestrator refuses. A connection that breaks meanwhile is tried again,
    /// as with calls.
    pub async fn watch<S: Subscription>(&self, params: &S::Params) -> Result<Watch<S>, ClientError> {
        let params = to_object(S::NAME, params)?;
        let given_up = Instant::now() + PATIENCE;
        let feed = subscribe::<S>(self.clone(), with(S::NAME, &params, None)?, Some(given_up)).await?;
        let client = self.clone();
        Ok(Watch { client, params, since: None, feed: Some(feed), returning: None, of: PhantomData })
    }
}

impl<S: Subscription> Watch<S> {
    /// The next update; `None` when the orchestrator ended the subscription because there is nothing more to tell.
    /// Fails when the orchestrator refuses to begin again: the session is over, rights are gone.
    ///
    /// Nothing is lost when the future is dropped before it is done.
    pub async fn next(&mut self) -> Result<Option<Update<S::Item>>, ClientError> {
        let Some((connection, feed)) = self.feed.as_mut() else { return self.resume().await };
        match feed.next().await {
            Some(Ok(raw)) => match parse::<S>(&raw) {
                // Too much was missed: begin again, as after a broken connection.
                Err(ClientError::Api(error)) if error.reason() == Reason::Throttled => {
                    self.feed = None;
                    Ok(Some(Update::Interrupted))
                }
                Err(error) => {
                    self.feed = None;
                    Err(error)
                }
                Ok(item) => {
                    self.since = S::since(&item).or(self.since.take());
                    Ok(Some(Update::Item(item)))
                }
            },
            Some(Err(source)) => Err(ClientError::Unexpected { method: S::NAME.to_owned(), source }),
            None => {
                // Read too slowly, so messages are missing: as good as a broken connection.
                let lagged = matches!(feed.close_reason(), Some(SubscriptionCloseReason::Lagged));
                let ended = connection.is_connected() && !lagged;
                self.feed = None;
                Ok((!ended).then_some(Update::Interrupted))
            }
        }
    }

    async fn resume(&mut self) -> Result<Option<Update<S::Item>>, ClientError> {
        let returning = match &mut self.returning {
            Some(returning) => returning,
            None => {
                let params = with(S::NAME, &self.params, self.since.as_deref())?;
                self.returning.insert(Box::pin(subscribe::<S>(self.client.clone(), params, None)))
            }
        };
        let result = returning.await;
        self.returning = None;
        self.feed = Some(result?);
        Ok(Some(if self.since.is_some() { Update::Continued } else { Update::Resumed }))
    }
}

/// The parameters to begin with, or to go on with.
fn with(method: &str, params: &Map<String, Value>, since: Option<&str>) -> Result<Params, ClientError> {
    let mut params = params.clone();
    if let Some(since) = since {
        params.insert("since".to_owned(), since.into());
    }
    Params::new(&params).map_err(|source| ClientError::Unexpected { method: method.to_owned(), source })
}

/// Tries until it works, is refused, or `given_up` has come.
async fn subscribe<S: Subscription>(
    client: Client,
    params: Params,
    given_up: Option<Instant>,
) -> Result<Feed, ClientError> {
    let mut backoff = new_backoff();
    loop {
        let error = match client.connection().await {
            Ok(connection) => match connection.subscribe(S::NAME, params.clone(), S::UNSUBSCRIBE).await {
                Ok(feed) => return Ok((connection, feed)),
                Err(RpcError::Call(refusal)) => return Err(refused(S::NAME, refusal)),
                Err(error) => {
                    tracing::debug!(subscription = S::NAME, %error, "the connection broke");
                    client.forget(&connection).await;
                    ClientError::Lost { url: client.endpoint().to_string(), key: None }
                }
            },
            Err(error) => error,
        };
        let delay = backoff.next_delay();
        if !error.is_passing() || given_up.is_some_and(|given_up| Instant::now() + delay > given_up) {
            return Err(error);
        }
        tokio::time::sleep(delay).await;
    }
}

/// An item, or why the orchestrator ends the subscription: the last message is `{"error": …}` then.
fn parse<S: Subscription>(raw: &RawValue) -> Result<S::Item, ClientError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Ended {
        error: ErrorObjectOwned,
    }
    // First: an item whose fields may all be missing would take it for one of its own.
    if let Ok(ended) = serde_json::from_str::<Ended>(raw.get()) {
        return Err(refused(S::NAME, ended.error));
    }
    serde_json::from_str(raw.get())
        .map_err(|source| ClientError::Unexpected { method: S::NAME.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subscription_of_the_api_is_here() {
        let declared: Vec<_> =
            xenith_orchestrator_api::SUBSCRIPTIONS.iter().map(|info| (info.name, info.unsubscribe)).collect();
        assert_eq!(declared, DECLARED);
    }

    #[test]
    fn an_end_is_no_item() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let ended =
            parse::<NounChanges>(&raw(r#"{"error":{"code":-32001,"message":"the session is over"}}"#));
        assert!(ended.is_err_and(|error| error.to_string().contains("the session is over")));
        assert!(parse::<NounChanges>(&raw("{}")).is_ok());
    }
}
