//! The sheet from the safe, followed to the letter by a shell that knows nothing else.

use std::process::Command;

use crate::support::{MIB, noise};

/// The indented lines of a sheet: what it says to type.
fn commands(sheet: &str) -> Vec<String> {
    sheet.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
}

#[test]
fn following_the_sheet_restores_the_disk() {
    let tool = env!("CARGO_BIN_EXE_xenith-backup");
    for secret in ["passphrase", "key file"] {
        let dir = tempfile::tempdir().unwrap();
        let disk = noise(1, 2 * MIB);
        std::fs::write(dir.path().join("disk"), &disk).unwrap();
        let with_key = |args: &[&str]| {
            let mut command = Command::new(tool);
            command.args(args).current_dir(dir.path()).env_clear();
            match secret {
                "passphrase" => command.env("XENITH_PASSPHRASE", "correct horse 'battery'"),
                _ => command.env("XENITH_KEY_FILE", "old-key"),
            };
            let output = command.output().unwrap();
            assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        with_key(&["key", "generate", "old-key"]);
        let repo = dir.path().join("repo").display().to_string();
        with_key(&["init", &repo]);
        with_key(&["backup", &repo, "web=disk"]);
        let blank = with_key(&["paper-kit", &repo]);
        let sheet = with_key(&["paper-kit", &repo, "--with-key"]);
        let secret_line = |sheet: &str| {
            let line = sheet.lines().find(|line| line.starts_with(secret)).unwrap().to_owned();
            line.split_once(": ").unwrap().1.to_owned()
        };
        assert!(secret_line(&blank).chars().all(|c| c == '_'), "the key is printed unasked");
        std::fs::remove_file(dir.path().join("old-key")).unwrap();
        // The first command of the kit for a bucket or folder, and so on, in a fresh shell.
        let path = std::path::Path::new(tool).parent().unwrap().display().to_string();
        let script = commands(&sheet).join("\n").replace("NAME", "web");
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(dir.path())
            .env_clear()
            .env("PATH", format!("{path}:/usr/bin:/bin"))
            .stdin(file(&dir.path().join("typed"), &format!("{}\n", secret_line(&sheet))))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{sheet}");
        assert!(std::fs::read(dir.path().join("disk.raw")).unwrap() == disk, "{sheet}");
    }
}

fn file(path: &std::path::Path, text: &str) -> std::fs::File {
    std::fs::write(path, text).unwrap();
    std::fs::File::open(path).unwrap()
}
