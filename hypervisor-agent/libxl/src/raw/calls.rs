//! The calls, by noun. Each method is one operation: it forgets older log lines first, and its [`Failure`]
//! carries those of its own.

mod device;
mod domain;
mod host;

use std::ffi::CString;

use xenith_hypervisor_agent_libxl_sys::libxl_error;

use super::context::{Context, Failure};
use super::opaque::{Generated, Opaque};

pub use domain::DeathWatch;
pub use host::{Node, Topology};

impl Context {
    /// A struct of libxl's from its JSON.
    pub fn parse<T: Generated>(&self, operation: &'static str, json: &str) -> Result<Opaque<T>, Failure> {
        self.begin();
        let mut opaque = self.new_opaque(operation)?;
        let Ok(json) = CString::new(json) else {
            return Err(self.failure(operation, libxl_error::ERROR_INVAL.0));
        };
        // SAFETY: our live context, on its thread.
        let rc = unsafe { opaque.parse(self.ptr(), &json) };
        self.check(operation, rc)?;
        Ok(opaque)
    }

    /// The JSON of one of libxl's structs.
    pub fn json<T: Generated>(
        &self,
        operation: &'static str,
        opaque: &mut Opaque<T>,
    ) -> Result<String, Failure> {
        // SAFETY: our live context, on its thread.
        let json = unsafe { opaque.json(self.ptr()) };
        json.ok_or_else(|| self.failure(operation, libxl_error::ERROR_FAIL.0))
    }

    fn new_opaque<T: Generated>(&self, operation: &'static str) -> Result<Opaque<T>, Failure> {
        Opaque::new(self.library()).ok_or_else(|| self.failure(operation, libxl_error::ERROR_VERSION.0))
    }
}
