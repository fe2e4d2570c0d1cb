//! Which run of which VM a domain is, written where it outlives the agent and dies with the domain.
//!
//! `/local/domain/N/xenith/{vm,incarnation}`: owned by the control domain, readable by the guest and nobody
//! else. A guest cannot forge it: its own `/local/domain/N` belongs to the control domain, too. Both ids are
//! written in one transaction with their permissions, so that an agent that dies in between leaves a domain
//! without a mark, never with half of one. Which VM that is, its UUID still says, and which run, the agent's journal.

use xenith_common_ids::{DomId, IncarnationId, VmId};

use crate::connection::Xenstore;
use crate::error::XenstoreError;
use crate::path::domain_path;
use crate::permissions::{Access, Permissions};

/// The mark of a domain that is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Incarnation {
    pub vm: VmId,
    pub incarnation: IncarnationId,
}

impl Xenstore {
    /// Marks `domain`, which must be in the store already ([`XenstoreError::NotFound`] otherwise: a mark must
    /// not create a domain's directory). Safe to repeat.
    pub async fn write_incarnation(&self, domain: DomId, mark: Incarnation) -> Result<(), XenstoreError> {
        let home = &domain_path(domain);
        let directory = &format!("{home}/xenith");
        let permissions = &Permissions::private().and(domain, Access::Read);
        self.transaction(directory, |tx| async move {
            tx.read_bytes(home).await?;
            // Before anything is written below it: children inherit the permissions of their parent.
            tx.mkdir(directory).await?;
            tx.set_permissions(directory, permissions).await?;
            for (name, id) in [("vm", mark.vm.to_string()), ("incarnation", mark.incarnation.to_string())] {
                let path = &format!("{directory}/{name}");
                tx.write(path, &id).await?;
                tx.set_permissions(path, permissions).await?;
            }
            Ok(())
        })
        .await
    }

    /// The mark of `domain`; `None` for a domain that is not ours, or is gone.
    pub async fn read_incarnation(&self, domain: DomId) -> Result<Option<Incarnation>, XenstoreError> {
        let directory = &format!("{}/xenith", domain_path(domain));
        // In a transaction, or a domain id that is reused in between would give the ids of two domains.
        let (vm, incarnation) = self
            .transaction(directory, |tx| async move {
                let vm = tx.read_if_there(&format!("{directory}/vm")).await?;
                Ok((vm, tx.read_if_there(&format!("{directory}/incarnation")).await?))
            })
            .await?;
        let malformed = |expected| XenstoreError::Malformed { path: directory.clone(), expected };
        match (vm, incarnation) {
            (None, None) => Ok(None),
            (Some(vm), Some(incarnation)) => Ok(Some(Incarnation {
                vm: vm.parse().map_err(|_| malformed("the id of a VM"))?,
                incarnation: incarnation.parse().map_err(|_| malformed("the id of an incarnation"))?,
            })),
            _ => Err(malformed("both a vm and an incarnation")),
        }
    }
}
