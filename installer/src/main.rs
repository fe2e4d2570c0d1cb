//! `xenith-installer`: installs a host, and on an installed one looks after its console and its two systems.

mod cli;

fn main() -> std::process::ExitCode {
    xenith_common_pki::install_provider();
    cli::main()
}
