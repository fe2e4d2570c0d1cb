import { BackupList } from './BackupList';

export default function Backups() {
  return <BackupList />;
}
