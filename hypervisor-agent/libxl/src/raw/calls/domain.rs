//! Domains: list, build, end, and what runs in between.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{null, null_mut};
use std::time::Duration;

use xenith_common_ids::DomId;
use xenith_hypervisor_agent_libxl_sys::{
    LIBXL_SUSPEND_LIVE, libxl_bitmap, libxl_domain_restore_params, libxl_domain_sched_params, libxl_dominfo,
    libxl_error, libxl_evgen_domain_death, libxl_trigger,
};

use crate::raw::context::{Context, Failure};
use crate::raw::opaque::{DomainConfig, take_string};

/// Requests to Xen and to the control node in xenstore.
const QUICK: Duration = Duration::from_secs(60);
/// A build: reading the kernel, populating memory, hotplug scripts, the device model. libxl limits the parts.
const BUILD: Duration = Duration::from_secs(30 * 60);
/// A stream is as slow as what it is written to; the caller who wants to give up closes it.
const STREAM: Duration = Duration::from_secs(24 * 3600);

/// Keeps death events of one domain coming. Belongs to the context that made it.
#[derive(Debug)]
pub struct DeathWatch(*mut libxl_evgen_domain_death);

impl Context {
    /// `libxl_dominfo` of every domain, dom0 included, as JSON.
    pub fn list_domains(&self) -> Result<Vec<String>, Failure> {
        const OPERATION: &str = "listing the domains";
        self.begin();
        let stride = self.new_opaque::<libxl_dominfo>(OPERATION)?.size();
        let mut count = 0;
        // SAFETY: `count` is an out pointer.
        let list = unsafe { self.xl().libxl_list_domain(self.ptr(), &raw mut count) };
        if list.is_null() {
            return Err(self.failure(OPERATION, libxl_error::ERROR_FAIL.0));
        }
        let all = (0..usize::try_from(count).unwrap_or(0))
            .filter_map(|index| {
                // SAFETY: the array has `count` initialised elements of the library's own size.
                let element = unsafe { list.byte_add(index * stride) };
                // SAFETY: an initialised element.
                unsafe { take_string(self.xl().libxl_dominfo_to_json(self.ptr(), element)) }
            })
            .collect();
        // SAFETY: the list and its length as they were returned.
        unsafe { self.xl().libxl_dominfo_list_free(list, count) };
        Ok(all)
    }

    /// `libxl_dominfo` as JSON.
    pub fn domain_info(&self, domid: DomId) -> Result<String, Failure> {
        const OPERATION: &str = "looking at the domain";
        self.begin();
        let mut info = self.new_opaque::<libxl_dominfo>(OPERATION)?;
        // SAFETY: an initialised struct to fill.
        let rc = unsafe { self.xl().libxl_domain_info(self.ptr(), info.as_mut_ptr(), domid.0) };
        self.check(OPERATION, rc)?;
        self.json(OPERATION, &mut info)
    }

    /// The name in xenstore.
    pub fn domain_name(&self, domid: DomId) -> Option<String> {
        self.begin();
        // SAFETY: the string is malloc'ed for us.
        unsafe { take_string(self.xl().libxl_domid_to_name(self.ptr(), domid.0)) }
    }

    /// Seconds since 1970 at which the domain was made; `None` when xenstore does not say.
    pub fn start_time(&self, domid: DomId) -> Option<u32> {
        self.begin();
        // SAFETY: no pointers.
        let time = unsafe { self.xl().libxl_vm_get_start_time(self.ptr(), domid.0) };
        (time != 0 && time != u32::MAX).then_some(time)
    }

    /// KiB that building this domain takes from the host.
    pub fn need_memory(&self, config: &mut DomainConfig) -> Result<u64, Failure> {
        const NO_DOMAIN: u32 = u32::MAX;
        self.begin();
        let mut need = 0;
        // SAFETY: an initialised configuration and an out pointer.
        let rc = unsafe {
            self.xl().libxl_domain_need_memory(self.ptr(), config.as_mut_ptr(), NO_DOMAIN, &raw mut need)
        };
        self.check("working out the memory that the domain needs", rc)?;
        Ok(need)
    }

    /// Builds a domain and leaves it paused. On an error libxl has removed what it had made.
    pub fn create(&self, config: &mut DomainConfig) -> Result<DomId, Failure> {
        self.begin();
        let mut domid = u32::MAX;
        let (pointer, out) = (config.as_mut_ptr(), &raw mut domid);
        self.finish("creating the domain", BUILD, |how| {
            // SAFETY: both outlive the operation, and only libxl uses them meanwhile; a null console `how`
            // asks for no event.
            unsafe { self.xl().libxl_domain_create_new(self.ptr(), pointer, out, how, null()) }
        })?;
        Ok(DomId(domid))
    }

    /// Builds a domain from a stream of [`Self::suspend`] and leaves it paused.
    pub fn restore(&self, config: &mut DomainConfig, stream: BorrowedFd<'_>) -> Result<DomId, Failure> {
        const OPERATION: &str = "resuming the domain from its stream";
        // The only format that Xen has written since 4.6.
        let mut parameters =
            self.parse::<libxl_domain_restore_params>(OPERATION, r#"{"stream_version":2}"#)?;
        let mut domid = u32::MAX;
        let (pointer, out) = (config.as_mut_ptr(), &raw mut domid);
        let parameters = parameters.as_mut_ptr();
        self.finish(OPERATION, STREAM, |how| {
            // SAFETY: all outlive the operation, and only libxl uses them meanwhile; -1: nothing is sent
            // back to the saving side.
            unsafe {
                self.xl().libxl_domain_create_restore(
                    self.ptr(),
                    pointer,
                    out,
                    stream.as_raw_fd(),
                    -1,
                    parameters,
                    how,
                    null(),
                )
            }
        })?;
        Ok(DomId(domid))
    }

    /// Suspends the guest and writes it to `stream`.
    pub fn suspend(&self, domid: DomId, stream: BorrowedFd<'_>) -> Result<(), Failure> {
        self.write_out(domid, stream, 0)
    }

    /// Writes the guest to `stream` while it runs, and suspends it for what it changed last.
    pub fn suspend_live(&self, domid: DomId, stream: BorrowedFd<'_>) -> Result<(), Failure> {
        self.write_out(domid, stream, LIBXL_SUSPEND_LIVE.cast_signed())
    }

    fn write_out(&self, domid: DomId, stream: BorrowedFd<'_>, flags: c_int) -> Result<(), Failure> {
        self.begin();
        self.finish("suspending the domain", STREAM, |how| {
            // SAFETY: the descriptor is open for the whole operation.
            unsafe { self.xl().libxl_domain_suspend(self.ptr(), domid.0, stream.as_raw_fd(), flags, how) }
        })
    }

    /// Lets a suspended domain run on where it is.
    pub fn resume(&self, domid: DomId) -> Result<(), Failure> {
        const GUEST_MAY_NOT_KNOW_IT_WAS_SAVED: c_int = 1;
        self.begin();
        self.finish("letting the suspended domain run on", QUICK, |how| {
            // SAFETY: no memory but the context is involved.
            unsafe {
                self.xl().libxl_domain_resume(self.ptr(), domid.0, GUEST_MAY_NOT_KNOW_IT_WAS_SAVED, how)
            }
        })
    }

    pub fn shutdown(&self, domid: DomId) -> Result<(), Failure> {
        self.begin();
        self.finish("asking the guest to shut down", QUICK, |how| {
            // SAFETY: no memory but the context is involved.
            unsafe { self.xl().libxl_domain_shutdown(self.ptr(), domid.0, how) }
        })
    }

    pub fn reboot(&self, domid: DomId) -> Result<(), Failure> {
        self.begin();
        self.finish("asking the guest to reboot", QUICK, |how| {
            // SAFETY: no memory but the context is involved.
            unsafe { self.xl().libxl_domain_reboot(self.ptr(), domid.0, how) }
        })
    }

    /// Presses the ACPI power button of an HVM guest.
    pub fn press_power(&self, domid: DomId) -> Result<(), Failure> {
        const ANY_VCPU: u32 = 0;
        self.begin();
        self.finish("pressing the power button", QUICK, |how| {
            let trigger = libxl_trigger::LIBXL_TRIGGER_POWER;
            // SAFETY: no memory but the context is involved.
            unsafe { self.xl().libxl_send_trigger(self.ptr(), domid.0, trigger, ANY_VCPU, how) }
        })
    }

    pub fn destroy(&self, domid: DomId) -> Result<(), Failure> {
        self.begin();
        loop {
            let ended = self.ended_children();
            let destroyed = self.finish("destroying the domain", BUILD, |how| {
                // SAFETY: no memory but the context is involved.
                unsafe { self.xl().libxl_domain_destroy(self.ptr(), domid.0, how) }
            });
            // Each time it is as improbable as the first time.
            if destroyed.is_ok() || self.ended_children() == ended {
                return destroyed;
            }
        }
    }

    pub fn pause(&self, domid: DomId) -> Result<(), Failure> {
        self.begin();
        self.finish("pausing the domain", QUICK, |how| {
            // SAFETY: no memory but the context is involved.
            unsafe { self.xl().libxl_domain_pause(self.ptr(), domid.0, how) }
        })
    }

    pub fn unpause(&self, domid: DomId) -> Result<(), Failure> {
        self.begin();
        self.finish("unpausing the domain", QUICK, |how| {
            // SAFETY: no memory but the context is involved.
            unsafe { self.xl().libxl_domain_unpause(self.ptr(), domid.0, how) }
        })
    }

    /// Sets the balloon target in KiB and lets Xen enforce it as the most that the guest can hold.
    pub fn set_memory_target(&self, domid: DomId, kib: u64) -> Result<(), Failure> {
        const ABSOLUTE: c_int = 0;
        const ENFORCE: c_int = 1;
        self.begin();
        let kib = i64::try_from(kib).unwrap_or(i64::MAX);
        // SAFETY: no pointers.
        let rc = unsafe { self.xl().libxl_set_memory_target(self.ptr(), domid.0, kib, ABSOLUTE, ENFORCE) };
        self.check("setting the memory of the domain", rc)
    }

    /// Brings virtual CPUs 0 to `count`-1 online and the others offline.
    pub fn set_vcpus_online(&self, domid: DomId, count: u32) -> Result<(), Failure> {
        const OPERATION: &str = "setting the virtual CPUs of the domain";
        self.with_bitmap(OPERATION, count, 0..count, |map| {
            self.finish(OPERATION, QUICK, |how| {
                // SAFETY: the bitmap outlives the operation.
                unsafe { self.xl().libxl_set_vcpuonline(self.ptr(), domid.0, map, how) }
            })
        })
    }

    /// Lets the first `vcpus` virtual CPUs of a domain run on these of the host's `cpus` only.
    pub fn set_affinity(
        &self,
        (domid, vcpus): (DomId, u32),
        cpus: u32,
        on: impl Iterator<Item = u32>,
    ) -> Result<(), Failure> {
        const OPERATION: &str = "binding the domain to CPUs";
        self.with_bitmap(OPERATION, cpus, on, |map| {
            // SAFETY: an initialised bitmap; a null one leaves the soft affinity as it is.
            let rc =
                unsafe { self.xl().libxl_set_vcpuaffinity_all(self.ptr(), domid.0, vcpus, map, null_mut()) };
            self.check(OPERATION, rc)
        })
    }

    /// Weight and cap, as `libxl_domain_sched_params` in JSON.
    pub fn set_scheduling(&self, domid: DomId, json: &str) -> Result<(), Failure> {
        const OPERATION: &str = "setting the domain's share of the CPUs";
        let mut parameters = self.parse::<libxl_domain_sched_params>(OPERATION, json)?;
        // SAFETY: an initialised struct.
        let rc =
            unsafe { self.xl().libxl_domain_sched_params_set(self.ptr(), domid.0, parameters.as_mut_ptr()) };
        self.check(OPERATION, rc)
    }

    /// Calls `then` with a bitmap of `size` bits, of which `bits` are set.
    fn with_bitmap<T>(
        &self,
        operation: &'static str,
        size: u32,
        bits: impl Iterator<Item = u32>,
        then: impl FnOnce(*mut libxl_bitmap) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.begin();
        let size = c_int::try_from(size).unwrap_or(c_int::MAX);
        let mut map = libxl_bitmap { size: 0, map: null_mut() };
        // SAFETY: a struct to initialise.
        unsafe { self.xl().libxl_bitmap_init(&raw mut map) };
        // SAFETY: an initialised, empty bitmap.
        let rc = unsafe { self.xl().libxl_bitmap_alloc(self.ptr(), &raw mut map, size) };
        self.check(operation, rc)?;
        for bit in bits.filter_map(|bit| c_int::try_from(bit).ok()).filter(|bit| *bit < size) {
            // SAFETY: within the bits that were allocated.
            unsafe { self.xl().libxl_bitmap_set(&raw mut map, bit) };
        }
        let result = then(&raw mut map);
        // SAFETY: initialised above, disposed of once.
        unsafe { self.xl().libxl_bitmap_dispose(&raw mut map) };
        result
    }

    /// The pseudo-terminal of the PV console (PV, PVH) or of the first serial port (HVM). `None`: there is
    /// none yet.
    pub fn console(&self, domid: DomId) -> Result<Option<String>, Failure> {
        self.begin();
        let mut path = null_mut();
        // SAFETY: an out pointer.
        let rc = unsafe { self.xl().libxl_primary_console_get_tty(self.ptr(), domid.0, &raw mut path) };
        self.check("finding the console", rc)?;
        // SAFETY: null or a string that libxl malloc'ed for us.
        Ok(unsafe { take_string(path) }.filter(|path| !path.is_empty()))
    }

    /// Queues an event when this domain ends and one when it is gone.
    pub fn watch_death(&self, domid: DomId) -> Result<DeathWatch, Failure> {
        self.begin();
        let mut watch = null_mut();
        // SAFETY: an out pointer.
        let rc = unsafe {
            self.xl().libxl_evenable_domain_death(self.ptr(), domid.0, u64::from(domid.0), &raw mut watch)
        };
        self.check("watching for the end of the domain", rc)?;
        Ok(DeathWatch(watch))
    }

    /// Ends [`Self::watch_death`]; `watch` came from this context.
    pub fn unwatch_death(&self, watch: DeathWatch) {
        // SAFETY: from this context's `watch_death`, and consumed here.
        unsafe { self.xl().libxl_evdisable_domain_death(self.ptr(), watch.0) };
    }
}
