//! What hosts and records do not agree on.

use clap::Subcommand;

use super::Listing;

#[derive(Debug, Subcommand)]
pub enum OrphanCommand {
    /// List what hosts and records do not agree on: definitions, domains and images that no record knows, and
    /// records of what is not there.
    List(Listing),
}
