//! How things are told to people, in one line: errors with what caused them, numbers with what they count, and addresses
//! without what opens them.

mod address;
mod chain;
mod counted;

pub use address::without_credentials;
pub use chain::chain;
pub use counted::counted;
