//! A new host joins: the one call that agents make to us.
//!
//! A join token is spent in the same transaction that records the host: of two hosts with one token, one gets
//! in. So is its record in the audit log: in the name of who issued the token, from the address of the host. Refusals
//! say the same whether a token never was, was spent or has expired.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde_json::json;
use time::OffsetDateTime;
use tonic::{Request, Response, Status};
use xenith_common_ids::HostId;
use xenith_hypervisor_agent_api::wire::enrolment_server::{Enrolment, EnrolmentServer};
use xenith_hypervisor_agent_api::{PROTOCOL, status_from_fault, wire};
use xenith_hypervisor_agent_types::{Fault, FaultReason};
use xenith_orchestrator_api::Caller;
use xenith_orchestrator_store::{Expect, StoreError, Transaction};

use crate::audit::Audit;
use crate::authn::secret_hash;
use crate::authority::Certificates;
use crate::db::Db;
use crate::events::{Events, Happened};
use crate::fleet::Fleet;
use crate::model::{HostRecord, JoinRecord};
use xenith_orchestrator_types::event::Severity;

/// Who called, put into the request by the listener.
#[derive(Debug, Clone, Copy)]
pub struct CallerAddress(pub SocketAddr);

pub struct Enrol {
    pub db: Db,
    pub certificates: Arc<Certificates>,
    pub fleet: Arc<Fleet>,
    pub events: Events,
    pub audit: Arc<Audit>,
}

fn refuse(reason: FaultReason, message: impl std::fmt::Display) -> Status {
    status_from_fault(&Fault::new(reason, message))
}

fn wrong(field: &str, problem: impl std::fmt::Display) -> Status {
    status_from_fault(&Fault::invalid(field, problem))
}

fn broken(error: &StoreError) -> Status {
    refuse(FaultReason::Internal, error)
}

fn bad_token() -> Status {
    refuse(
        FaultReason::Forbidden,
        "this join token is not valid: it was used, has expired or was never issued; make a new one with \
         `xenith host add`",
    )
}

impl Enrol {
    #[must_use]
    pub fn into_server(self) -> EnrolmentServer<Self> {
        EnrolmentServer::new(self).max_decoding_message_size(64 * 1024)
    }

    /// The commit that makes it one of ours, with its record in the audit log.
    async fn admit(
        &self,
        commit: Transaction,
        (from, join): (Option<IpAddr>, &JoinRecord),
        (host, record): (HostId, &HostRecord),
    ) -> Result<(), StoreError> {
        let issuer = Some(&join.user_name).filter(|name| !name.is_empty()).unwrap_or(&record.name);
        let who = Caller { user: join.user, name: issuer.clone(), ..Caller::anonymous(from) };
        let params =
            json!({ "host": host, "name": record.name, "address": record.address, "pool": record.pool });
        self.audit.done_in(commit, &who, ("host.join", params)).await.map(drop)
    }

    /// A name that is free: the wanted one, or with a number behind it.
    async fn free_name(&self, wanted: &str) -> Result<String, StoreError> {
        let cleaned: String =
            wanted.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect();
        let base = cleaned.split('.').next().filter(|name| !name.is_empty()).unwrap_or("host");
        let base = &base[..base.len().min(56)];
        let mut name = base.to_owned();
        let mut number = 1;
        while self.db.host_names.get(&name).await?.is_some() {
            number += 1;
            name = format!("{base}-{number}");
        }
        Ok(name)
    }
}

fn reachable(advertised: &str, from: Option<IpAddr>) -> Result<String, Status> {
    let invalid = || wrong("address", format_args!("{advertised:?} is not host:port"));
    let (host, port) = advertised.rsplit_once(':').ok_or_else(invalid)?;
    let port: u16 = port.parse().map_err(|_| invalid())?;
    match (host, from) {
        ("", Some(IpAddr::V6(ip))) => Ok(format!("[{ip}]:{port}")),
        ("", Some(ip)) => Ok(format!("{ip}:{port}")),
        ("", None) => Err(invalid()),
        _ => Ok(advertised.to_owned()),
    }
}

#[tonic::async_trait]
impl Enrolment for Enrol {
    async fn join(&self, request: Request<wire::JoinRequest>) -> Result<Response<wire::JoinReply>, Status> {
        let from = request.extensions().get::<CallerAddress>().map(|caller| caller.0.ip());
        let request = request.into_inner();
        if request.protocol != PROTOCOL {
            let (theirs, version) = (request.protocol, request.agent_version);
            return Err(refuse(
                FaultReason::Unsupported,
                format_args!(
                    "this agent (version {version}) speaks protocol {theirs}, the orchestrator {PROTOCOL}; \
                     upgrade the older of the two"
                ),
            ));
        }
        let key = secret_hash(&request.secret);
        let join = self.db.joins.get(&key).await.map_err(|error| broken(&error))?.ok_or_else(bad_token)?;
        if join.value.expires < OffsetDateTime::now_utc() {
            return Err(bad_token());
        }
        let host = HostId::new();
        let address = reachable(&request.address, from)?;
        let issued = self
            .certificates
            .issue_for_host(&request.certificate_request_pem, host)
            .map_err(|error| wrong("certificate_request_pem", error))?;
        let wanted = join.value.name.as_deref().unwrap_or(&request.hostname);
        let name = self.free_name(wanted).await.map_err(|error| broken(&error))?;
        let record = HostRecord {
            name: name.clone(),
            pool: join.value.pool,
            address,
            peer_address: None,
            maintenance: false,
            joined: OffsetDateTime::now_utc(),
            local_sr: None,
            certificate_serial: issued.details.serial,
            certificate_expires: issued.details.not_after,
            issued: vec![],
            previous_serial: None,
            any_certificate: false,
            held_by: None,
            disarmed: false,
            power: None,
        };
        let spend = self.db.joins.require_in(Transaction::new(), &key, Expect::At(join.revision));
        let spend = self.db.joins.delete_in(spend, &key);
        // A pool that is being deleted is not, for it was written meanwhile; one that was takes nobody in.
        let pool =
            self.db.pools.get(&record.pool).await.map_err(|error| broken(&error))?.ok_or_else(bad_token)?;
        let spend = self.db.pools.require_in(spend, &pool.key, Expect::Present);
        let spend = self.db.pools.put_in(spend, &pool.key, &pool.value);
        let commit =
            self.db.host_names.insert_in(self.db.hosts.insert_in(spend, &host, &record), &name, &host);
        match self.admit(commit, (from, &join.value), (host, &record)).await {
            Ok(()) => {}
            Err(error) if error.is_conflict() => return Err(bad_token()),
            Err(error) => return Err(broken(&error)),
        }
        self.certificates.admit(host, &record);
        self.fleet.watch(host, &record);
        self.events
            .note(Happened {
                severity: Severity::Info,
                kind: "host.joined",
                subject: format!("host/{host}"),
                message: format!("{name} joined from {}", record.address),
                pool: Some(record.pool),
            })
            .await;
        Ok(Response::new(wire::JoinReply {
            host_id: host.to_string(),
            certificate_pem: issued.certificate_pem,
            authority_pem: self.certificates.authority().certificate_pem().to_owned(),
        }))
    }
}
