//! Finding the library.

use crate::bindings_4_17::LibXl;

/// The names tried when the running hypervisor does not say its version. Oldest first: a host that is being
/// upgraded may have two, and runs the older one until its next boot.
pub const SONAMES: &[&str] = &[
    "libxenlight.so.4.17",
    "libxenlight.so.4.18",
    "libxenlight.so.4.19",
    "libxenlight.so.4.20",
    "libxenlight.so.4.21",
];

/// An open `libxenlight` that has every function of the bindings.
pub struct Library {
    /// The functions.
    pub functions: LibXl,
    soname: String,
}

impl Library {
    /// The name under which it was found, such as `libxenlight.so.4.17`.
    #[must_use]
    pub fn soname(&self) -> &str {
        &self.soname
    }
}

impl std::fmt::Debug for Library {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Library").field(&self.soname).finish()
    }
}

/// Why there is no usable library.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// None of the names exists: Xen's tools are not installed, or are of a version that we do not know.
    #[error(
        "Xen's tools are not installed on this machine: none of {tried} was found (Debian: apt install xen-system-amd64)"
    )]
    NotInstalled {
        /// The names tried, joined by commas.
        tried: String,
    },
    /// A library is there but cannot serve us.
    #[error("{soname} was found but cannot be used: {reason}")]
    Unusable {
        /// Which one.
        soname: String,
        /// The dynamic linker's message; it names the missing symbol or file.
        reason: String,
    },
}

/// Opens the library of the running hypervisor, or the first of [`SONAMES`] that exists and fits.
///
/// # Errors
/// See [`LoadError`]; a library that is there but unusable is reported rather than "not installed".
pub fn load() -> Result<Library, LoadError> {
    let running = running_version().map(|version| format!("libxenlight.so.{version}"));
    let names: Vec<&str> = running.as_deref().into_iter().chain(SONAMES.iter().copied()).collect();
    load_first(&names)
}

/// The hypervisor's version, such as `4.17`, as the kernel shows it. `None` without Xen.
fn running_version() -> Option<String> {
    let read = |part: &str| std::fs::read_to_string(format!("/sys/hypervisor/version/{part}")).ok();
    Some(format!("{}.{}", read("major")?.trim(), read("minor")?.trim()))
}

/// Opens the first of `names` that exists and fits: file names are searched as the dynamic linker does,
/// names with a slash are paths.
///
/// # Errors
/// See [`LoadError`].
pub fn load_first(names: &[&str]) -> Result<Library, LoadError> {
    let mut unusable = None;
    for name in names {
        // SAFETY: opening runs the initialisers of libxenlight and the libraries it needs. They are the
        // host's own toolstack, installed by its administrator, and have no initialisers with preconditions.
        let opened = unsafe { libloading::Library::new(*name) };
        // SAFETY: the signatures come from Xen's headers. The functions named in the generator have had the
        // same C signature from Xen 4.17 to 4.21, and everything whose layout changed is behind a pointer.
        let usable = opened.and_then(|library| unsafe { LibXl::from_library(library) });
        let error = match usable {
            Ok(functions) => return Ok(Library { functions, soname: (*name).to_owned() }),
            Err(error) => error,
        };
        let reason = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        // The dynamic linker names the file that is absent: ours, or one that ours needs.
        if !reason.starts_with(&format!("{name}: cannot open shared object file")) {
            unusable.get_or_insert(LoadError::Unusable { soname: (*name).to_owned(), reason });
        }
    }
    Err(unusable.unwrap_or_else(|| LoadError::NotInstalled { tried: names.join(", ") }))
}
