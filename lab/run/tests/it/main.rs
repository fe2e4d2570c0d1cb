//! `xenith-run`: what it prints, what it leaves, and that it ends. With simulated hosts, and with a real one where that is
//! asked for.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails, which is its purpose")]

mod harness;
mod lab;

use std::fs;
use std::process::Stdio;

use harness::{Run, commands, goes_off_and_on, password, patience, port, runs, says, xenith};

#[tokio::test]
async fn the_commands_it_prints_work_and_the_next_start_finds_everything() {
    let folder = tempfile::tempdir().unwrap();
    let (data, home) = (folder.path().join("data"), folder.path().join("home"));
    let port = port();
    let mut run = Run::start(&data, port);
    let said = run.until("Ctrl-C stops all of it").await;
    let url = format!("https://127.0.0.1:{port}");
    assert!(said.iter().any(|line| line.contains(&url)), "{said:#?}");
    let shown = password(&said).expect("the password of the first start");
    let commands = commands(&said);
    assert_eq!(commands.len(), 3, "{said:#?}");
    for command in &commands {
        xenith(&home, command, &shown).await;
    }
    says(&home, &commands[2], "running").await;
    goes_off_and_on(&home, &commands[2][0]).await;
    run.stop().await;

    let mut again = Run::start(&data, port);
    let said = again.until("Ctrl-C stops all of it").await;
    assert_eq!(password(&said), None, "it was shown once");
    let list = xenith(&home, &commands[2], "").await;
    assert!(list.contains("web-1"), "{list}");
    again.stop().await;
}

#[tokio::test]
async fn who_ends_the_first_start_early_has_seen_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = Run::start(folder.path(), port());
    // Before any host is up.
    let said = run.until("shown this once").await;
    assert!(!said.iter().any(|line| line.contains("Try:")), "{said:#?}");
    run.stop().await;
}

#[tokio::test]
async fn ctrl_c_lets_agent_and_orchestrator_end_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let said = folder.path().join("said");
    let mut command = Run::command("sim", folder.path(), port());
    command.stderr(fs::File::create(&said).unwrap());
    let mut run = Run::spawn(command);
    run.until("Ctrl-C stops all of it").await;
    let children = run.children();
    // Orchestrator and agent.
    assert!(children.iter().filter(|pid| runs(**pid)).count() >= 2, "{children:?}");
    run.stop().await;
    let said = fs::read_to_string(said).unwrap();
    assert!(said.contains("stopping") && !said.contains("killed"), "{said}");
    // What is being done, and how long it usually takes.
    for step in
        ["starting the orchestrator; usually ", "until the hosts are heard; usually ", "stopping; usually "]
    {
        assert!(said.contains(step), "{step:?} is not in {said}");
    }
    let log = fs::read_to_string(folder.path().join("sim1/agent.log")).unwrap();
    assert!(log.contains("stopping; VMs are left alone"), "{log}");
}

#[tokio::test]
async fn a_lost_token_is_made_anew_with_the_password() {
    let folder = tempfile::tempdir().unwrap();
    let (data, port) = (folder.path(), port());
    let mut run = Run::start(data, port);
    let shown = password(&run.until("shown this once").await).unwrap();
    run.stop().await;
    fs::remove_file(data.join("run-token")).unwrap();

    let refused = Run::command("sim", data, port).stderr(Stdio::piped()).output();
    let refused = tokio::time::timeout(patience(), refused).await.expect("it ends").unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("XENITH_PASSWORD=… make run"), "{said}");

    for password in [Some(shown), None] {
        let mut command = Run::command("sim", data, port);
        command.envs(password.map(|password| ("XENITH_PASSWORD", password)));
        let mut again = Run::spawn(command);
        again.until("Ctrl-C stops all of it").await;
        again.stop().await;
    }
}
