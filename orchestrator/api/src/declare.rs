//! What one declaration becomes.

use std::future::Future;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use xenith_orchestrator_types::{ApiError, Permission};

use crate::Call;

/// Whether a method changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Read,
    Mutation,
    /// A mutation that can be planned with `dry_run`.
    Plannable,
}

impl Kind {
    #[must_use]
    pub const fn is_mutation(self) -> bool {
        matches!(self, Self::Mutation | Self::Plannable)
    }
}

/// A method as a type: `client.call::<vm::Start>(params)`.
pub trait Method: Send + Sync + 'static {
    const NAME: &'static str;
    const SUMMARY: &'static str;
    const PERMISSION: Permission;
    const KIND: Kind;
    type Params: Serialize + DeserializeOwned + JsonSchema + Send + 'static;
    type Result: Serialize + DeserializeOwned + JsonSchema + Send + 'static;
}

/// A method as a value, for tables and documents.
#[derive(Clone, Copy)]
pub struct MethodInfo {
    pub name: &'static str,
    pub summary: &'static str,
    pub permission: Permission,
    pub kind: Kind,
    pub params: fn(&mut SchemaGenerator) -> Schema,
    pub result: fn(&mut SchemaGenerator) -> Schema,
    /// Whether parameters are what the method takes.
    pub takes: fn(&Value) -> Result<(), serde_json::Error>,
}

impl MethodInfo {
    #[must_use]
    pub fn of<M: Method>() -> Self {
        Self {
            name: M::NAME,
            summary: M::SUMMARY.trim_ascii(),
            permission: M::PERMISSION,
            kind: M::KIND,
            params: |generator| generator.subschema_for::<M::Params>(),
            result: |generator| generator.subschema_for::<M::Result>(),
            takes: |params| M::Params::deserialize(params).map(drop),
        }
    }
}

/// Takes the methods of a service: the orchestrator's RPC server.
pub trait Registrar {
    fn method<M, F, Fut>(&mut self, handler: F)
    where
        M: Method,
        F: Fn(Arc<Call>, M::Params) -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = Result<M::Result, ApiError>> + Send + 'static;
}

macro_rules! noun {
    (
        $(#[$noun_doc:meta])*
        $noun:ident: $trait:ident {
            $(
                #[doc = $summary:literal]
                $(#[doc = $more:literal])*
                $marker:ident = fn $method:ident($params:ty) -> $result:ty, $permission:ident, $kind:ident;
            )*
        }
    ) => {
        $(#[$noun_doc])*
        pub mod $noun {
            use std::sync::Arc;

            use async_trait::async_trait;
            #[allow(unused_imports, reason = "not every noun uses all of them")]
            use xenith_orchestrator_types::{alarm::*, audit::*, auth::*, backup::*, balance::*, console::*, event::*, filter::*, fragment::*, ha::*, host::*, import::*, mail::*, metrics::*, network::*, orphan::*, pool::*, power::*, security_group::*, snapshot::*, sr::*, standby::*, system::*, task::*, template::*, token::*, user::*, vdi::*, vm::*, wave::*, ApiError, Empty, ListRequest, Page, Permission};

            use crate::{Call, Kind, Method, MethodInfo, Registrar};

            $(
                #[doc = $summary]
                $(#[doc = $more])*
                #[derive(Debug, Clone, Copy)]
                pub struct $marker;

                impl Method for $marker {
                    const NAME: &'static str = concat!(stringify!($noun), ".", stringify!($method));
                    const SUMMARY: &'static str = concat!($summary $(, $more)*);
                    const PERMISSION: Permission = Permission::$permission;
                    const KIND: Kind = Kind::$kind;
                    type Params = $params;
                    type Result = $result;
                }
            )*

            $(#[$noun_doc])*
            #[async_trait]
            pub trait $trait: Send + Sync + 'static {
                $(
                    #[doc = $summary]
                    $(#[doc = $more])*
                    async fn $method(&self, call: &Call, params: $params) -> Result<$result, ApiError>;
                )*
            }

            /// Hands all methods to `registrar`.
            pub fn register<T: $trait>(service: &Arc<T>, registrar: &mut impl Registrar) {
                $({
                    let service = Arc::clone(service);
                    registrar.method::<$marker, _, _>(move |call, params| {
                        let service = Arc::clone(&service);
                        async move { <T as $trait>::$method(&service, &call, params).await }
                    });
                })*
            }

            pub(crate) fn methods() -> Vec<MethodInfo> {
                vec![$(MethodInfo::of::<$marker>()),*]
            }
        }
    };
}
