//! The mail server that reports go through.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Keyed;

#[derive(Debug, Subcommand)]
pub enum MailCommand {
    /// Show which server takes the mail.
    #[command(visible_alias = "show")]
    Get,
    /// Set the server; the password is asked for, or comes from XENITH_MAIL_PASSWORD.
    Set(MailServer),
    /// Send a message, to see whether that works.
    Test {
        /// Who gets it.
        #[arg(value_name = "ADDRESS")]
        to: String,
        #[command(flatten)]
        keyed: Keyed,
    },
}

#[derive(Debug, Args)]
pub struct MailServer {
    /// Name or address; "" to send no mail any more.
    #[arg(value_name = "SERVER")]
    pub server: String,
    /// The usual one where none is given: 587, 465, 25.
    #[arg(long, value_name = "PORT", default_value = "0", hide_default_value = true)]
    pub port: u16,
    #[arg(long, value_enum, default_value = "starttls")]
    pub security: MailPrivacy,
    /// Who signs in; without one, nobody does.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    pub user: String,
    /// Keep the password that is known for this server and user.
    #[arg(long)]
    pub keep_password: bool,
    /// Who the mail is from, such as 'Xenith <xenith@example.org>'.
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    pub from: String,
    /// A file with certificates (PEM) that are trusted besides the orchestrator's machine's own.
    #[arg(long, value_name = "FILE")]
    pub authority: Option<PathBuf>,
    #[command(flatten)]
    pub keyed: Keyed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MailPrivacy {
    Starttls,
    Tls,
    None,
}
