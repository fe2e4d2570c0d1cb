use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    xenith_lab::cli::main().await
}
