//! libxl's structs without their layout.
//!
//! Each Xen version has other sizes (a domain's configuration is 1288 bytes in 4.17), so the memory is far
//! larger than any of them, and the size that the loaded library uses is *measured*: the memory is filled
//! with a pattern, and `_init`, which zeroes exactly `sizeof` bytes first, shows how far it reaches.
//! Anything near the end of the memory is refused. The measured size is also the distance between the
//! elements of the arrays that libxl returns.

use std::ffi::{CStr, CString, c_char, c_int};

use xenith_hypervisor_agent_libxl_sys::{
    LibXl, Library, libxl_ctx, libxl_device_disk, libxl_device_nic, libxl_domain_config,
    libxl_domain_restore_params, libxl_domain_sched_params, libxl_dominfo, libxl_physinfo,
};

/// 6 times the largest struct of Xen 4.17.
const SIZE: usize = 8192;
const PATTERN: u8 = 0xA5;

#[repr(C, align(16))]
struct Memory([u8; SIZE]);

/// A struct that libxl generates (`gentypes.py`): `_init` zeroes all of it, `_dispose` frees what it owns.
pub trait Generated: Sized {
    /// # Safety
    /// `p` points to at least the library's `sizeof` writable bytes.
    unsafe fn init(functions: &LibXl, p: *mut Self);
    /// # Safety
    /// `p` was initialised and not disposed of since.
    unsafe fn dispose(functions: &LibXl, p: *mut Self);
    /// # Safety
    /// `p` was initialised; `ctx` is live.
    unsafe fn to_json(functions: &LibXl, ctx: *mut libxl_ctx, p: *mut Self) -> *mut c_char;
    /// # Safety
    /// `p` was initialised; `ctx` is live; `json` is a C string.
    unsafe fn from_json(functions: &LibXl, ctx: *mut libxl_ctx, p: *mut Self, json: *const c_char) -> c_int;
}

macro_rules! generated {
    ($($type:ident $init:ident $dispose:ident $to:tt $from:tt;)*) => {$(
        impl Generated for $type {
            unsafe fn init(functions: &LibXl, p: *mut Self) {
                // SAFETY: the caller's promise is libxl's demand.
                unsafe { functions.$init(p) }
            }
            unsafe fn dispose(functions: &LibXl, p: *mut Self) {
                // SAFETY: the caller's promise is libxl's demand.
                unsafe { functions.$dispose(p) }
            }
            generated!(@to $to);
            generated!(@from $from);
        }
    )*};
    (@to none) => {
        unsafe fn to_json(_: &LibXl, _: *mut libxl_ctx, _: *mut Self) -> *mut c_char {
            std::ptr::null_mut()
        }
    };
    (@to $to:ident) => {
        unsafe fn to_json(functions: &LibXl, ctx: *mut libxl_ctx, p: *mut Self) -> *mut c_char {
            // SAFETY: the caller's promise is libxl's demand.
            unsafe { functions.$to(ctx, p) }
        }
    };
    (@from none) => {
        unsafe fn from_json(_: &LibXl, _: *mut libxl_ctx, _: *mut Self, _: *const c_char) -> c_int {
            -1
        }
    };
    (@from $from:ident) => {
        unsafe fn from_json(functions: &LibXl, ctx: *mut libxl_ctx, p: *mut Self, json: *const c_char) -> c_int {
            // SAFETY: the caller's promise is libxl's demand.
            unsafe { functions.$from(ctx, p, json) }
        }
    };
}

generated! {
    libxl_domain_config libxl_domain_config_init libxl_domain_config_dispose
        libxl_domain_config_to_json libxl_domain_config_from_json;
    libxl_device_disk libxl_device_disk_init libxl_device_disk_dispose
        libxl_device_disk_to_json libxl_device_disk_from_json;
    libxl_device_nic libxl_device_nic_init libxl_device_nic_dispose
        libxl_device_nic_to_json libxl_device_nic_from_json;
    libxl_dominfo libxl_dominfo_init libxl_dominfo_dispose libxl_dominfo_to_json none;
    libxl_physinfo libxl_physinfo_init libxl_physinfo_dispose libxl_physinfo_to_json none;
    libxl_domain_sched_params libxl_domain_sched_params_init libxl_domain_sched_params_dispose
        none libxl_domain_sched_params_from_json;
    libxl_domain_restore_params libxl_domain_restore_params_init libxl_domain_restore_params_dispose
        none libxl_domain_restore_params_from_json;
}

/// One initialised struct, disposed of when dropped.
pub struct Opaque<T: Generated> {
    library: &'static Library,
    memory: Box<Memory>,
    size: usize,
    of: std::marker::PhantomData<T>,
}

pub type DomainConfig = Opaque<libxl_domain_config>;
pub type Disk = Opaque<libxl_device_disk>;
pub type Nic = Opaque<libxl_device_nic>;

impl<T: Generated> Opaque<T> {
    /// An initialised struct; `None` when this library's is too large for our memory.
    pub fn new(library: &'static Library) -> Option<Self> {
        let mut memory = Box::new(Memory([PATTERN; SIZE]));
        // SAFETY: SIZE bytes, aligned for any C type; far larger than any libxl struct, and checked below
        // to have been by a wide margin.
        unsafe { T::init(&library.functions, memory.0.as_mut_ptr().cast()) };
        let size = memory.0.iter().rposition(|byte| *byte != PATTERN)? + 1;
        if size > SIZE / 2 {
            return None;
        }
        // The padding after the struct is zeroed too: a function of a newer library that looks one field
        // too far finds "not set".
        memory.0[size..].fill(0);
        Some(Self { library, memory, size, of: std::marker::PhantomData })
    }

    /// `sizeof` in the loaded library.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// The struct as it lies in memory.
    pub fn bytes(&self) -> &[u8] {
        &self.memory.0[..self.size]
    }

    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.memory.0.as_mut_ptr().cast()
    }

    /// # Safety
    /// `ctx` is live and used on this thread only.
    pub unsafe fn json(&mut self, ctx: *mut libxl_ctx) -> Option<String> {
        let library = self.library;
        // SAFETY: initialised by `new`; the caller vouches for `ctx`.
        unsafe { take_string(T::to_json(&library.functions, ctx, self.as_mut_ptr())) }
    }

    /// # Safety
    /// `ctx` is live and used on this thread only.
    pub unsafe fn parse(&mut self, ctx: *mut libxl_ctx, json: &CString) -> c_int {
        let library = self.library;
        // SAFETY: initialised by `new`; the caller vouches for `ctx`.
        unsafe { T::from_json(&library.functions, ctx, self.as_mut_ptr(), json.as_ptr()) }
    }
}

impl<T: Generated> Drop for Opaque<T> {
    fn drop(&mut self) {
        let library = self.library;
        // SAFETY: initialised by `new`, and this is the only place that disposes of it.
        unsafe { T::dispose(&library.functions, self.as_mut_ptr()) };
    }
}

/// Takes over a string that libxl allocated.
///
/// # Safety
/// `text` is null or a C string from malloc that nobody else frees.
pub unsafe fn take_string(text: *mut c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: a C string, says the caller.
    let owned = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: from malloc and ours, says the caller; copied above.
    unsafe { libc::free(text.cast()) };
    Some(owned)
}
