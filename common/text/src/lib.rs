//! How things are told to people, in one line: errors with what caused them, and numbers with what they count.

mod chain;
mod counted;

pub use chain::chain;
pub use counted::counted;
