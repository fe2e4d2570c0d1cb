//! `xenith-iso`: builds the installer medium. `make iso` is the way to call it.

#[tokio::main]
async fn main() -> std::process::ExitCode {
    match xenith_installer_media::cli::main().await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xenith-iso: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
