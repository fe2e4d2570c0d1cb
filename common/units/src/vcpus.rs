//! The number of virtual CPUs of a guest.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// 1 to 512 virtual CPUs (Xen's limit for PV and PVH; HVM guests get at most 128, checked with the spec).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct VcpuCount(u16);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} virtual CPUs are not possible; give 1 to 512")]
pub struct VcpuCountError(u32);

impl VcpuCount {
    pub const ONE: Self = Self(1);
    pub const MAX: Self = Self(512);

    pub const fn new(count: u32) -> Result<Self, VcpuCountError> {
        if count == 0 || count > Self::MAX.0 as u32 {
            return Err(VcpuCountError(count));
        }
        Ok(Self(count as u16))
    }

    #[must_use]
    pub const fn get(self) -> u32 {
        self.0 as u32
    }
}

impl TryFrom<u32> for VcpuCount {
    type Error = VcpuCountError;

    fn try_from(count: u32) -> Result<Self, VcpuCountError> {
        Self::new(count)
    }
}

impl From<VcpuCount> for u32 {
    fn from(count: VcpuCount) -> Self {
        count.get()
    }
}

impl JsonSchema for VcpuCount {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("VcpuCount")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": 512 })
    }
}

impl fmt::Display for VcpuCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds() {
        for (count, valid) in [(0, false), (1, true), (512, true), (513, false), (70_000, false)] {
            assert_eq!(VcpuCount::new(count).is_ok(), valid, "{count}");
        }
    }
}
