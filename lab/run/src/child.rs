//! Programs of ours as children: a Ctrl-C for us does not reach them, they end with us, and they are asked to end before
//! they are made to.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

/// Starts nothing yet: arguments and output are the caller's business.
pub fn owned(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command.stdin(Stdio::null()).kill_on_drop(true).process_group(0);
    command
}

/// Asks it to end (SIGTERM); one that has ended is not asked.
pub async fn ask(child: &Child) -> io::Result<()> {
    if let Some(id) = child.id() {
        // It may end just now: then there is nobody to ask, which is what was wanted.
        let _status =
            Command::new("kill").args(["-TERM", &id.to_string()]).stderr(Stdio::null()).status().await?;
    }
    Ok(())
}

/// Waits for the end of one that was asked, and kills it after `patience`: `None` then.
pub async fn ended(child: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    if let Ok(status) = tokio::time::timeout(patience, child.wait()).await {
        return status.map(Some);
    }
    child.kill().await?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ready to be asked once it has said so.
    async fn shell(script: &str) -> Child {
        let mut command = owned(Path::new("sh"));
        let mut child = command.args(["-c", script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut ready = [0u8; 6];
        let output = child.stdout.as_mut().unwrap();
        tokio::io::AsyncReadExt::read_exact(output, &mut ready).await.unwrap();
        child
    }

    #[tokio::test]
    async fn who_is_asked_may_tidy_up_and_who_does_not_hear_is_killed() {
        let mut tidy = shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done").await;
        ask(&tidy).await.unwrap();
        let status = ended(&mut tidy, Duration::from_secs(60)).await.unwrap().unwrap();
        assert_eq!(status.code(), Some(7));
        ask(&tidy).await.unwrap();

        let mut deaf = shell("trap '' TERM; echo ready; while :; do sleep 0.01; done").await;
        ask(&deaf).await.unwrap();
        assert!(ended(&mut deaf, Duration::from_millis(50)).await.unwrap().is_none());
        assert_eq!(deaf.id(), None, "it was collected");
    }
}
