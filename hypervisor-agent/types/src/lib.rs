//! The vocabulary that agent, orchestrator and hypervisor back-ends share.
//!
//! Two levels, never mixed: a [`VmSpec`] is what an administrator asks for (disks are VDIs, NICs plug into
//! networks); a [`DomainSpec`] is what a hypervisor builds (disks are paths, NICs plug into bridges). The
//! agent turns the first into the second on its host.

pub mod backup;
mod console;
mod cpu;
mod device;
mod domain;
mod fault;
pub mod filter;
mod guest_data;
pub mod ha;
mod hardware;
mod host;
mod lease;
pub mod management;
mod memory;
pub mod mesh;
pub mod metrics;
mod name;
pub mod network;
mod platform;
mod proof;
mod quiesce;
mod spec;
mod sr;
pub mod system;
#[cfg(any(test, feature = "test-support"))]
pub mod test_support;
mod text;
mod vdi;
mod vm;

pub use console::TerminalSize;
pub use cpu::{CPU_WORDS, CpuFeatures, CpuLevel, ParseCpuFeaturesError};
pub use device::{DiskAccess, DiskDevice, DiskSpec, NicSpec, ParseDiskDeviceError};
pub use domain::{
    ConsolePaths, DeathReason, DomainCd, DomainDisk, DomainHardware, DomainIdentity, DomainInfo, DomainNic,
    DomainSpec, DomainStatus,
};
pub use fault::{Fault, FaultReason};
pub use guest_data::GuestData;
pub use hardware::{
    CdDrive, CpuSet, CpuShare, Hardware, HostHardware, NumaNode, ParseCpuSetError, ParsePciAddressError,
    PciAddress, PciDevice, Video, VideoAdapter,
};
pub use host::{Bridge, CpuTopology, HostFacts, XenVersion};
pub use lease::{LeasedTo, VdiLease};
pub use memory::{KeptMemory, MemoryOf, WrittenWhile};
pub use name::{ParseNameError, VmName};
pub use platform::{BootDevice, DirectBoot, Firmware, Platform, PlatformKind};
pub use proof::{PortQuestion, ProofBridge, link_local};
pub use quiesce::{Consistency, Quiesce, Quiesced};
pub use spec::{
    Autostart, CrashAction, FieldError, Graphics, MemorySpec, RebootAction, SpecErrors, ValidVmSpec,
    VcpuSpec, VmSpec,
};
pub use sr::{DamagedVdi, LeftOver, SrFacts, SrSpace, SrSpec, SrSpecError};
pub use vdi::{SnapshotOf, VdiFacts, VdiSize, VdiSizeError};
pub use vm::{GuestFacts, ObservedVm, Power, VmFailure};
