//! The machine.

use std::ffi::CStr;

use xenith_hypervisor_agent_libxl_sys::{libxl_error, libxl_physinfo, libxl_scheduler};

use crate::raw::context::{Context, Failure};
use crate::raw::opaque::take_string;

/// Where one CPU sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Topology {
    pub socket: u32,
    pub core: u32,
    pub node: u32,
    /// Its number.
    pub cpu: u32,
}

/// Bytes of one NUMA node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    pub size: u64,
    pub free: u64,
}

impl Context {
    /// `libxl_physinfo` as JSON.
    pub fn physinfo(&self) -> Result<String, Failure> {
        self.physinfo_with_bytes().map(|(json, _)| json)
    }

    /// `libxl_physinfo` as JSON, and as it lies in memory: libxl writes down only half of `hw_cap`.
    pub fn physinfo_with_bytes(&self) -> Result<(String, Vec<u8>), Failure> {
        const OPERATION: &str = "looking at the machine";
        self.begin();
        let mut info = self.new_opaque::<libxl_physinfo>(OPERATION)?;
        // SAFETY: an initialised struct to fill.
        let rc = unsafe { self.xl().libxl_get_physinfo(self.ptr(), info.as_mut_ptr()) };
        self.check(OPERATION, rc)?;
        let json = self.json(OPERATION, &mut info)?;
        Ok((json, info.bytes().to_vec()))
    }

    /// `libxl_version_info` as JSON.
    pub fn version(&self) -> Result<String, Failure> {
        const OPERATION: &str = "reading Xen's version";
        self.begin();
        // SAFETY: returns a struct that belongs to the context.
        let info = unsafe { self.xl().libxl_get_version_info(self.ptr()) };
        if info.is_null() {
            return Err(self.failure(OPERATION, libxl_error::ERROR_FAIL.0));
        }
        // SAFETY: the generated function only reads, its parameter just lacks the `const`.
        let json = unsafe { take_string(self.xl().libxl_version_info_to_json(self.ptr(), info.cast_mut())) };
        json.ok_or_else(|| self.failure(OPERATION, libxl_error::ERROR_FAIL.0))
    }

    /// The name of the scheduler, such as `credit2`.
    pub fn scheduler(&self) -> Result<String, Failure> {
        const OPERATION: &str = "asking for the scheduler";
        self.begin();
        // SAFETY: no pointers.
        let number = unsafe { self.xl().libxl_get_scheduler(self.ptr()) };
        self.check(OPERATION, number)?;
        let scheduler = libxl_scheduler(u32::try_from(number).unwrap_or(0));
        // SAFETY: returns null or a string constant.
        let name = unsafe { self.xl().libxl_scheduler_to_string(scheduler) };
        if name.is_null() {
            return Ok(format!("scheduler {number}"));
        }
        // SAFETY: not null, so a string constant.
        Ok(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned())
    }

    /// Every online CPU.
    pub fn topology(&self) -> Result<Vec<Topology>, Failure> {
        const OFFLINE: u32 = u32::MAX;
        self.begin();
        let mut count = 0;
        // SAFETY: an out pointer.
        let list = unsafe { self.xl().libxl_get_cpu_topology(self.ptr(), &raw mut count) };
        if list.is_null() {
            return Err(self.failure("reading the CPU topology", libxl_error::ERROR_FAIL.0));
        }
        // SAFETY: `count` initialised elements; the struct has been the same since Xen 4.2.
        let cpus = unsafe { std::slice::from_raw_parts(list, usize::try_from(count).unwrap_or(0)) };
        let all = cpus
            .iter()
            .zip(0..)
            .filter(|(cpu, _)| cpu.core != OFFLINE)
            .map(|(cpu, number)| Topology { socket: cpu.socket, core: cpu.core, node: cpu.node, cpu: number })
            .collect();
        // SAFETY: the list and its length as they were returned.
        unsafe { self.xl().libxl_cputopology_list_free(list, count) };
        Ok(all)
    }

    /// The NUMA nodes, by their number.
    pub fn nodes(&self) -> Result<Vec<Node>, Failure> {
        /// What Xen tells of a node that is not there.
        const ABSENT: u64 = u64::MAX;
        self.begin();
        let mut count = 0;
        // SAFETY: an out pointer.
        let list = unsafe { self.xl().libxl_get_numainfo(self.ptr(), &raw mut count) };
        if list.is_null() {
            return Err(self.failure("reading the NUMA nodes", libxl_error::ERROR_FAIL.0));
        }
        // SAFETY: `count` initialised elements; the struct has been the same since Xen 4.2.
        let nodes = unsafe { std::slice::from_raw_parts(list, usize::try_from(count).unwrap_or(0)) };
        let known = |bytes: u64| if bytes == ABSENT { 0 } else { bytes };
        let all = nodes.iter().map(|node| Node { size: known(node.size), free: known(node.free) }).collect();
        // SAFETY: the list and its length as they were returned.
        unsafe { self.xl().libxl_numainfo_list_free(list, count) };
        Ok(all)
    }
}
