//! The seam between the agent and what runs domains.
//!
//! What always holds, for every back-end:
//! * Calls may be made at the same time; the back-end orders what must be ordered. A long call on one domain
//!   does not delay calls on another.
//! * A call that returned an error left nothing behind that [`Hypervisor::domains`] does not list.
//! * A [`DomId`] is valid from the create that returned it to [`DomainEventKind::Gone`]. A dead domain keeps
//!   its id until [`Hypervisor::destroy`].
//! * Events may be late and may be lost when a subscriber lags, which the subscriber is told
//!   ([`DomainEventKind::Resync`]): the list is the truth, events only say when to look.
//! * What a domain is known by ([`DomainInfo::uuid`]) comes from Xen itself and is told whatever becomes of xenstore. Where
//!   xenstore cannot be read the call fails: a domain without [`DomainInfo::identity`] has no mark there.
//! * Memory for a create is reserved before it begins: of two creates that do not both fit, one gets
//!   [`HypervisorError::NoMemory`].

#[cfg(feature = "test-support")]
pub mod conformance;
mod devices;
mod error;
mod event;
mod machine;
mod management;
mod proof;
mod system;
mod watchdog;

use std::os::fd::OwnedFd;
use std::path::Path;

use async_trait::async_trait;
use futures::stream::BoxStream;
use xenith_common_ids::DomId;
use xenith_common_units::{MacAddr, MemoryMiB, VcpuCount};
use xenith_hypervisor_agent_types::metrics::{KernelReadings, MachineUsage};
use xenith_hypervisor_agent_types::{
    ConsolePaths, CpuShare, DiskDevice, DomainDisk, DomainInfo, DomainNic, DomainSpec, GuestFacts, HostFacts,
    HostHardware,
};

pub use devices::{FilterTable, LinkChange, LinkKind, MeshDevice, NetworkDevices, SeenLink};
pub use error::HypervisorError;
pub use event::{DomainEvent, DomainEventKind, DomainEvents, EventSender};
pub use machine::Machine;
pub use management::ManagementInterface;
pub use proof::ProofNetworks;
pub use system::SystemSlots;
pub use watchdog::{OpenWatchdog, Watchdog};

pub type Result<T, E = HypervisorError> = std::result::Result<T, E>;

/// Whether a new domain runs at once or waits for [`Hypervisor::unpause`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Running,
    Paused,
}

/// What a guest is asked for. It may ignore this; whoever asks keeps the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownRequest {
    PowerOff,
    Reboot,
}

/// How a guest was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedBy {
    /// By a node that its PV drivers watch and empty when they take the request up.
    ControlNode,
    /// By ACPI, which acknowledges nothing.
    PowerButton,
}

/// Runs domains. Implemented by libxl on a real host and by the simulator.
#[async_trait]
pub trait Hypervisor: Send + Sync + 'static {
    /// The machine, as it is now.
    async fn host(&self) -> Result<HostFacts>;

    /// What the machine has that domains can be bound to.
    async fn hardware(&self) -> Result<HostHardware>;

    /// All domains but dom0, foreign ones included, in the order of their ids.
    async fn domains(&self) -> Result<Vec<DomainInfo>>;

    /// What the machine and its domains used so far, all of one moment.
    async fn usage(&self) -> Result<MachineUsage>;

    /// One domain, dead or alive.
    async fn domain(&self, domid: DomId) -> Result<DomainInfo>;

    /// Builds a domain. It is listed with its identity from the moment that it is listed at all, and its UUID is the id of its
    /// VM. [`HypervisorError::VmTaken`] while a domain of that VM is there that has run, whatever its name.
    async fn create(&self, spec: &DomainSpec, start: Start) -> Result<DomId>;

    /// Builds a domain from the stream that [`Self::suspend`] or [`Self::suspend_live`] wrote, on this host or another;
    /// `spec` is the one it had. The stream may come while it is read.
    async fn resume(&self, spec: &DomainSpec, from: OwnedFd, start: Start) -> Result<DomId>;

    /// Writes a domain's memory and devices to `to` and leaves it `Dead(Suspend)`. On an error the guest
    /// runs on.
    async fn suspend(&self, domid: DomId, to: OwnedFd) -> Result<()>;

    /// As [`Self::suspend`], but the guest runs on while its memory is written, and stands only for what it changed
    /// last. `to` may be a pipe to another host. [`HypervisorError::Unsupported`] for guests that this back-end can
    /// only suspend.
    async fn suspend_live(&self, domid: DomId, to: OwnedFd) -> Result<()>;

    /// Lets a domain that is `Dead(Suspend)` run on in place, as if it had never been suspended: the way back
    /// when its stream could not be kept (a full disk, an agent that died half way).
    async fn cancel_suspend(&self, domid: DomId) -> Result<()>;

    /// Stops the virtual CPUs. Pausing a paused domain is fine.
    async fn pause(&self, domid: DomId) -> Result<()>;

    /// Lets the virtual CPUs run. Unpausing a running domain is fine.
    async fn unpause(&self, domid: DomId) -> Result<()>;

    /// Asks the guest to shut down, by the PV control node or, for HVM guests without PV drivers, by ACPI.
    /// Returns when the request is made, or when the guest has taken it up; a back-end that has waited long enough
    /// for that says [`HypervisorError::GuestUnresponsive`], and the request stands. So it stands when nobody waits
    /// for the answer any more. The domain's death is an event.
    async fn shutdown(&self, domid: DomId, request: ShutdownRequest) -> Result<AskedBy>;

    /// Whether the guest has taken up what it was asked by [`AskedBy::ControlNode`]. It may take long to go down
    /// after that.
    async fn has_taken_up(&self, domid: DomId) -> Result<bool>;

    /// Ends a domain at once and releases all it holds. Returns when it is no longer listed.
    async fn destroy(&self, domid: DomId) -> Result<()>;

    /// Balloons a running guest to `target`, at most the maximum it was made with.
    async fn set_memory(&self, domid: DomId, target: MemoryMiB) -> Result<()>;

    /// Gives a running guest `online` virtual CPUs, at most the maximum it was made with.
    async fn set_vcpus(&self, domid: DomId, online: VcpuCount) -> Result<()>;

    /// Changes a domain's share of the CPUs; what `share` leaves open is Xen's default.
    async fn set_cpu_share(&self, domid: DomId, share: &CpuShare) -> Result<()>;

    /// Puts an image into the CD drive of a running HVM domain in place of what was in it; `None`: takes it out.
    async fn change_cd(&self, domid: DomId, image: Option<&Path>) -> Result<()>;

    /// [`HypervisorError::AlreadyAttached`] when the domain has a disk of that name, whichever it is.
    async fn attach_disk(&self, domid: DomId, disk: &DomainDisk) -> Result<()>;

    async fn detach_disk(&self, domid: DomId, device: DiskDevice) -> Result<()>;

    /// [`HypervisorError::AlreadyAttached`] when the domain has a NIC of that address, wherever it is plugged in.
    async fn attach_nic(&self, domid: DomId, nic: &DomainNic) -> Result<()>;

    async fn detach_nic(&self, domid: DomId, mac: MacAddr) -> Result<()>;

    async fn consoles(&self, domid: DomId) -> Result<ConsolePaths>;

    /// Events from now on.
    fn events(&self) -> DomainEvents;
}

/// Reads what guests say of themselves (xenstore on a real host).
pub trait GuestFactsSource: Send + Sync + 'static {
    /// The facts of one domain now and whenever they change, until the domain is gone. Bursts are merged.
    fn watch(&self, domid: DomId) -> BoxStream<'static, GuestFacts>;
}

/// Reads what the kernel of the control domain counts (files under `/sys` and `/proc` on a real host).
pub trait Meters: Send + Sync + 'static {
    /// Blocks for as long as some files for each device take. What cannot be read is absent.
    fn read(&self, domids: &[DomId]) -> KernelReadings;
}
