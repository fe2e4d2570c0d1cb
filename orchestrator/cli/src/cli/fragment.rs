//! Parts of cloud-init's user data.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Confirm, Keyed, Listing};

#[derive(Debug, Subcommand)]
pub enum FragmentCommand {
    /// List fragments, without their text: -f kind:script.
    List(Listing),
    /// Show one fragment with its text.
    #[command(visible_alias = "show")]
    Get {
        #[arg(value_name = "FRAGMENT")]
        fragment: String,
    },
    /// Keep a part of user data, for templates and deployments to name.
    Create {
        #[arg(value_name = "NAME")]
        name: String,
        /// A #cloud-config or a script (#!), also below `## template: jinja`; or a #cloud-boothook.
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Without one, the pool `default`.
        #[arg(long)]
        pool: Option<String>,
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Change a fragment; VMs that were made with it stay as they are.
    Update {
        #[arg(value_name = "FRAGMENT")]
        fragment: String,
        /// With what it says from now on.
        #[arg(long, value_name = "FILE", required_unless_present = "description")]
        file: Option<PathBuf>,
        #[arg(long)]
        description: Option<String>,
        #[command(flatten)]
        keyed: Keyed,
    },
    /// Delete a fragment that no template names.
    Delete {
        #[arg(value_name = "FRAGMENT")]
        fragment: String,
        #[command(flatten)]
        confirm: Confirm,
        #[command(flatten)]
        keyed: Keyed,
    },
}
