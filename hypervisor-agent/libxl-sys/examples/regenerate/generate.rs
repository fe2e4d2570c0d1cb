//! How the bindings are made: shared by the `regenerate` example and by the test that compares the
//! checked-in file with the installed headers.
//!
//! Only what the wrapper uses is generated, so the file stays readable and a review of a new Xen version is
//! a review of these names. Two kinds of types exist:
//!
//! * *plain*: small structs that have had the same layout since Xen 4.2-4.5 (how an operation is awaited,
//!   hooks, bitmaps, CPU topology). They are generated with their layout, and bindgen's compile-time layout
//!   assertions stay in.
//! * *opaque*: everything whose layout changes between Xen versions (configurations, devices, infos,
//!   events). They have no layout in Rust at all; the wrapper moves them as JSON.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Every function that the wrapper calls. All of them must exist in the library that is loaded.
pub const FUNCTIONS: &[&str] = &[
    // the context and its event loop
    "libxl_ctx_alloc",
    "libxl_ctx_free",
    "libxl_event_register_callbacks",
    "libxl_event_check",
    "libxl_event_free",
    "libxl_event_to_json",
    "libxl_osevent_beforepoll",
    "libxl_osevent_afterpoll",
    "libxl_evenable_domain_death",
    "libxl_evdisable_domain_death",
    "libxl_childproc_setmode",
    "libxl_childproc_sigchld_occurred",
    "libxl_ao_abort",
    // domains
    "libxl_list_domain",
    "libxl_dominfo_list_free",
    "libxl_domain_info",
    "libxl_dominfo_(init|dispose|to_json)",
    "libxl_domid_to_name",
    "libxl_vm_get_start_time",
    "libxl_domain_config_(init|dispose|to_json|from_json)",
    "libxl_domain_restore_params_(init|dispose|from_json)",
    "libxl_domain_create_new",
    "libxl_domain_create_restore",
    "libxl_domain_(shutdown|reboot|destroy|pause|unpause|suspend|resume)",
    "libxl_send_trigger",
    // memory and CPUs of a domain
    "libxl_domain_need_memory",
    "libxl_set_memory_target",
    "libxl_set_vcpuonline",
    "libxl_bitmap_(init|alloc|dispose|set)",
    "libxl_domain_sched_params_(init|dispose|from_json|set)",
    "libxl_set_vcpuaffinity_all",
    // devices
    "libxl_device_disk_(init|dispose|to_json|from_json|add|remove)",
    "libxl_vdev_to_device_disk",
    "libxl_device_nic_(init|dispose|to_json|from_json|add|remove)",
    "libxl_mac_to_device_nic",
    "libxl_cdrom_insert",
    // consoles
    "libxl_primary_console_get_tty",
    // the host
    "libxl_physinfo_(init|dispose|to_json)",
    "libxl_get_physinfo",
    "libxl_get_version_info",
    "libxl_version_info_to_json",
    "libxl_get_scheduler",
    "libxl_scheduler_to_string",
    "libxl_get_cpu_topology",
    "libxl_cputopology_list_free",
    "libxl_get_numainfo",
    "libxl_numainfo_list_free",
];

/// Types whose layout differs between Xen versions: pointers only.
const OPAQUE: &[&str] = &[
    "libxl__ctx",
    "libxl__evgen_domain_death",
    "libxl_domain_config",
    "libxl_domain_restore_params",
    "libxl_dominfo",
    "libxl_device_disk",
    "libxl_device_nic",
    "libxl_domain_sched_params",
    "libxl_physinfo",
    "libxl_version_info",
    "libxl_event",
    "__va_list_tag",
];

/// Types that are generated as they are. Only these: what they and the functions refer to beyond them is
/// opaque, or a build error that asks for a decision.
const PLAIN: &[&str] = &[
    "libxl_ctx",
    "libxl_domid",
    "libxl_ev_user",
    "libxl_uuid",
    "libxl_mac",
    "libxl_bitmap",
    "libxl_cputopology",
    "libxl_numainfo",
    "libxl_asyncop_how.*",
    "libxl_asyncprogress_how",
    "libxl_event_predicate",
    "libxl_event_hooks",
    "libxl_event_type",
    "libxl_evgen_domain_death",
    "libxl_childproc_hooks",
    "libxl_sigchld_owner",
    "libxl_error",
    "libxl_trigger",
    "libxl_scheduler",
    "xentoollog_logger",
    "xentoollog_level",
];

/// The Xen version of the installed library, such as `4.17`, read from its file name.
pub fn installed_version() -> anyhow::Result<String> {
    for directory in ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"] {
        let link = Path::new(directory).join("libxenlight.so");
        if let Ok(target) = std::fs::read_link(&link) {
            let name = target.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(version) = name.strip_prefix("libxenlight.so.") {
                return Ok(version.to_owned());
            }
        }
    }
    bail!("libxenlight.so was not found; install libxen-dev")
}

/// Where the bindings of that version are kept, inside `crate_root`.
pub fn bindings_path(crate_root: &Path, version: &str) -> PathBuf {
    crate_root.join("src").join(format!("bindings_{}.rs", version.replace('.', "_")))
}

/// The bindings of the installed headers, as text.
///
/// # Errors
/// When libclang cannot be loaded or does not understand the headers.
pub fn generate() -> anyhow::Result<String> {
    let header =
        "#include <libxl.h>\n#include <libxl_utils.h>\n#include <libxl_event.h>\n#include <xentoollog.h>\n";
    let target = bindgen::RustTarget::stable(85, 0).ok().context("bindgen does not know Rust 1.85")?;
    let mut builder = bindgen::builder()
        .rust_target(target)
        .header_contents("xenith_libxl.h", header)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .wrap_unsafe_ops(true)
        .default_enum_style(bindgen::EnumVariation::NewType { is_bitfield: false, is_global: false })
        .derive_default(false)
        .derive_debug(false)
        .generate_comments(false)
        .formatter(bindgen::Formatter::Prettyplease)
        .dynamic_library_name("LibXl")
        // A library that lacks one of our functions is refused as a whole, by name, when it is loaded.
        .dynamic_link_require_all(true)
        .allowlist_recursively(false)
        .allowlist_var("LIBXL_SUSPEND_.*|LIBXL_VERSION")
        .raw_line("use libc::{pid_t, pollfd, timeval};");
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    for name in PLAIN {
        builder = builder.allowlist_type(name);
    }
    for name in OPAQUE {
        builder = builder
            .blocklist_type(name)
            .raw_line(format!("#[repr(C)] pub struct {name} {{ _opaque: [u8; 0] }}"));
    }
    let bindings = builder.generate().context("libclang could not read the Xen headers")?;
    Ok(bindings.to_string())
}
