//! Signing in, contexts, raw calls.

use clap::{Args, Subcommand};
use xenith_orchestrator_client::Endpoint;

/// The password is asked for; in scripts it comes from XENITH_PASSWORD or the first line of standard input. With
/// two-factor sign-in a code follows, from XENITH_CODE or the next line: scripts do better with an API token.
///
/// At the first time the fingerprint of the orchestrator's certificate is shown: compare it with what the
/// orchestrator printed when it started (`system info` shows it too). In scripts, give --fingerprint.
#[derive(Debug, Args)]
pub struct Login {
    /// Where the orchestrator is, such as https://xen.example.com:8443; without it, the current context's.
    #[arg(value_name = "URL")]
    pub to: Option<Endpoint>,
    /// Who signs in; asked for when it is not given.
    #[arg(short, long, value_name = "NAME")]
    pub user: Option<String>,
    /// Remember it under this name; without it, the host's name.
    #[arg(long = "name", value_name = "NAME")]
    pub save_as: Option<String>,
    /// Trust the certificate that is shown at the first time without asking. Only where nobody can be in between.
    #[arg(long)]
    pub accept_new: bool,
    /// Store an API token instead of a session; it is asked for, or read from standard input.
    #[arg(long, conflicts_with = "user")]
    pub with_token: bool,
}

#[derive(Debug, Subcommand)]
pub enum ContextCommand {
    /// List the contexts.
    List,
    /// Make one the current context.
    Use { name: String },
    /// Forget one, and its session.
    Remove { name: String },
}

/// Parameters are a JSON object: xenith rpc vm.get '{"vm": "web-1"}'
#[derive(Debug, Args)]
pub struct RawCall {
    /// Such as vm.list, or rpc.discover for the description of all methods.
    pub method: String,
    /// The parameters; `-` reads them from standard input.
    #[arg(default_value = "{}")]
    pub params: String,
}
