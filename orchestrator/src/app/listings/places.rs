//! Pools, networks and security groups.

use xenith_orchestrator_inventory::Schema;
use xenith_orchestrator_inventory::listing::{Cells, Listing};
use xenith_orchestrator_types::network::Network;
use xenith_orchestrator_types::pool::Pool;
use xenith_orchestrator_types::security_group::SecurityGroup;

use super::{text, whole};

pub struct PoolRow(pub Pool);

pub static POOL: Schema = Schema {
    noun: "pool",
    default_sort: "name",
    columns: &[text("name", "a part of the name"), text("description", "a part of the description")],
};

impl Listing for PoolRow {
    const SCHEMA: &'static Schema = &POOL;

    fn id(&self) -> [u8; 16] {
        *self.0.id.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        cells.text(&self.0.name).text(&self.0.description);
    }
}

pub struct NetworkRow {
    pub network: Network,
    pub pool: String,
}

pub static NETWORK: Schema = Schema {
    noun: "network",
    default_sort: "name",
    columns: &[
        text("name", "a part of the name"),
        whole("bridge", "the bridge on the hosts, such as xenbr0"),
        whole("pool", "the name of the pool"),
        text("description", "a part of the description"),
    ],
};

impl Listing for NetworkRow {
    const SCHEMA: &'static Schema = &NETWORK;

    fn id(&self) -> [u8; 16] {
        *self.network.id.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let Network { name, bridge, description, .. } = &self.network;
        cells.text(name).text(bridge).text(&self.pool).text(description);
    }
}

pub struct SecurityGroupRow {
    pub group: SecurityGroup,
    pub pool: String,
}

pub static SECURITY_GROUP: Schema = Schema {
    noun: "security_group",
    default_sort: "name",
    columns: &[
        text("name", "a part of the name"),
        whole("tag", "the tag of its VMs"),
        whole("pool", "the name of the pool"),
        text("description", "a part of the description"),
    ],
};

impl Listing for SecurityGroupRow {
    const SCHEMA: &'static Schema = &SECURITY_GROUP;

    fn id(&self) -> [u8; 16] {
        *self.group.id.as_bytes()
    }

    fn cells(&self, cells: &mut Cells<'_>) {
        let SecurityGroup { name, tag, description, .. } = &self.group;
        cells.text(name).text(tag).text(&self.pool).text(description);
    }
}
