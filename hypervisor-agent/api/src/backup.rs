//! Backups on the wire: JSON inside one field (see `hypervisor_agent_types::backup`).

use xenith_hypervisor_agent_types::backup::{BackupCommand, BackupProgress, BackupReply};

use crate::wire::execute_request::Command as Wire;
use crate::{WireError, wire};

pub(crate) fn to_wire(command: &BackupCommand) -> Wire {
    let command_json = serde_json::to_string(command).expect("commands are plain data");
    Wire::Backup(wire::Backup { command_json })
}

pub(crate) fn from_wire(backup: &wire::Backup) -> Result<Box<BackupCommand>, WireError> {
    serde_json::from_str(&backup.command_json).map_err(|error| WireError::new("backup.command_json", error))
}

pub(crate) fn reply_to_wire(reply: &BackupReply) -> wire::BackupDone {
    wire::BackupDone { reply_json: serde_json::to_string(reply).expect("replies are plain data") }
}

pub(crate) fn reply_from_wire(done: &wire::BackupDone) -> Result<Box<BackupReply>, WireError> {
    serde_json::from_str(&done.reply_json).map_err(|error| WireError::new("backup.reply_json", error))
}

impl From<BackupProgress> for wire::BackupProgressReply {
    fn from(progress: BackupProgress) -> Self {
        let BackupProgress { done, total, read, new_bytes, stored } = progress;
        Self { done, total, read, new_bytes, stored }
    }
}

impl From<wire::BackupProgressReply> for BackupProgress {
    fn from(reply: wire::BackupProgressReply) -> Self {
        let wire::BackupProgressReply { done, total, read, new_bytes, stored } = reply;
        Self { done, total, read, new_bytes, stored }
    }
}

#[cfg(test)]
mod tests {
    use xenith_hypervisor_agent_types::backup::{RepositoryAccess, RepositoryKey, RepositoryPlace, Secret};

    use super::*;

    #[test]
    fn commands_come_back_as_they_went_and_secrets_are_not_shown() {
        let key = RepositoryKey::Digits(Secret::new("deadbeef".to_owned()));
        let place = RepositoryPlace::Folder { path: "/backups".to_owned() };
        let command = BackupCommand::List { access: RepositoryAccess { place, key, writer: None } };
        let Wire::Backup(wire) = to_wire(&command) else { panic!("it is a backup's") };
        assert_eq!(*from_wire(&wire).unwrap(), command);
        assert!(!format!("{command:?}").contains("deadbeef"));
        let odd = wire.command_json.replace("\"path\"", "\"pfad\"");
        let error = from_wire(&wire::Backup { command_json: odd }).unwrap_err().to_string();
        assert!(error.contains("pfad"), "{error}");
    }
}
