// Written by scripts/generate-api.mjs from orchestrator/api/openrpc.json. Not edited by hand.

/** One page of a list. */
export interface Page<T> {
  items: T[];
  total: number;
  next?: string | null;
  /** Goes on from here, of lists that can be followed. */
  revision?: string | null;
}

/** A role that gives a permission, and how much it covers. */
export type AccessGround = {
  binding: Binding;
  on: Covered;
};

/** Whose access to tell: one's own where nobody is named. */
export type AccessOf = {
  user?: string | null;
};

/** Asks for a join token. */
export type AddHost = {
  /** How long the token works, in minutes; 1 to 10080. 0 stands for 60. */
  minutes?: number;
  /** The name it gets; without one, its own host name. */
  name?: string | null;
  /** Without one, the pool `default`. */
  pool?: string | null;
};

export type Addressing = string;

/** Makes an orphan a VDI again. */
export type AdoptVdi = {
  name: string;
  sr: string;
  vdi: VdiId;
};

/** Something that is wrong now. */
export type Alarm = {
  /** Of the VM or host; `orchestrator`. */
  id: string;
  /** What is wrong, in words, where it is not measured. */
  message?: string | null;
  /** `null`, as value and threshold, for what is not measured. */
  metric?: Metric | null;
  name: string;
  of: AlarmOf;
  /** `null` for one that is by no rule: the orchestrator's own, and those about backups (`backup-overdue`, `backup-unprotected`, `backup-odd-change`). */
  rule?: AlarmRuleId | null;
  rule_name: string;
  severity: Severity;
  /** Nobody is told of it while that is so. */
  silenced: boolean;
  since: string;
  threshold?: number | null;
  /** The newest; as it was raised, where nothing newer is known. */
  value?: number | null;
};

/** What an alarm is about. */
export type AlarmOf = "vm" | "host" | "orchestrator";

/** What is watched, and who is told. */
export type AlarmRule = {
  /** Where it must be back for the alarm to clear: the threshold, or on the good side of it. */
  clear: number;
  enabled: boolean;
  /** Which of them, in the filter language; empty: all. Read again as they change. */
  filter: string;
  /** For how many seconds every value must be beyond the threshold. */
  for_s: number;
  id: AlarmRuleId;
  /** Who is told by e-mail; nobody where it is empty. */
  mail_to: Array<string>;
  metric: Metric;
  name: string;
  of: Measured;
  severity: Severity;
  /** `udp://host:514` of a syslog server; none where it is empty. */
  syslog: string;
  /** In the metric's unit. */
  threshold: number;
  /** What is told by HTTP; nothing where it is empty. */
  webhook: string;
  when: AlarmWhen;
};

export type AlarmRuleId = string;

export type AlarmRuleRef = {
  rule: string;
};

/** Which alarms nobody is told of, and until when. They are raised and listed all the same. */
export type AlarmSilence = {
  comment: string;
  id: AlarmSilenceId;
  /** Of this rule; of all, where there is none. */
  rule?: AlarmRuleId | null;
  /** `vm/…` or `host/…`; of all, where there is none. */
  subject?: string | null;
  until: string;
  /** Who wanted it. */
  user: string;
};

export type AlarmSilenceId = string;

export type AlarmSilenceRef = {
  silence: AlarmSilenceId;
};

/** On which side of the threshold it is wrong. */
export type AlarmWhen = "above" | "below";

export type ArchiveKind = "zip" | "tar";

/** A host that balancing has switched off. */
export type AsleepHost = {
  /** It was switched on, and is not heard yet. */
  comes_up: boolean;
  host: HostId;
  name: string;
  since: string;
};

export type AuditId = string;

export type AuditPhase = "done" | "asked" | "begun" | "failed" | "cancelled" | "refused";

export type AuditRecord = {
  at: string;
  /** The caller's address. */
  from: string;
  hash: string;
  id: AuditId;
  method: string;
  /** The record that this one completes. */
  of?: number | null;
  outcome?: string | null;
  /** The parameters, secrets left out. */
  params: unknown;
  phase: AuditPhase;
  /** Hexadecimal BLAKE3 of the record before, and of this one. */
  previous: string;
  sequence: number;
  user?: UserId | null;
  user_name: string;
};

/** The result of reading the whole chain. */
export type AuditVerified = {
  /** The first record that does not fit, and why. */
  broken_at?: number | null;
  /** The newest hash: write it down elsewhere to prove later that nothing was cut off. */
  head: string;
  problem?: string | null;
  records: number;
};

/** Lower `order` first; `delay_s` seconds are waited after this VM before the next order begins. */
export type Autostart = {
  delay_s?: number;
  order: number;
};

/** A backup of a VM in one repository. */
export type Backup = {
  /** In which state its disks are; `None`: nobody wrote that down. */
  consistency?: Consistency | null;
  created: string;
  disks: Array<BackupDiskFacts>;
  /** Rules do not touch it. */
  held: boolean;
  /** The repository's own: what `xenith-backup` calls it, too. */
  id: string;
  /** That the VM was on, in the order of its network cards. */
  networks?: Array<NetworkId>;
  /** Why the guest was not quiesced although that was tried. */
  not_quiesced_because?: string | null;
  /** Of the last time that it was tried. */
  proof?: BackupProof | null;
  repository: RepositoryId;
  repository_name: string;
  /** `None`: not made by Xenith, or its VM's definition cannot be read. */
  vm?: VmId | null;
  vm_name: string;
};

/** Bytes unless said otherwise. */
export type BackupDiskFacts = {
  /** Milliseconds. */
  millis: number;
  name: string;
  /** That the repository did not have. */
  new_bytes: number;
  /** Read from the disk. */
  read: number;
  size: number;
  /** What those take there, compressed. */
  stored: number;
  /** Why all of it was read, when it was. */
  whole_because?: string | null;
};

export type BackupFile = {
  kind: BackupFileKind;
  /** Permission bits, where the filesystem has them. */
  mode: number;
  /** Seconds since 1970. */
  modified: number;
  /** Bytes that are no UTF-8 are shown as replacement characters. */
  name: string;
  /** Bytes. */
  size: number;
};

export type BackupFileKind = "file" | "folder" | "link" | "other";

export type BackupFiles = {
  disk: string;
  /** By name. */
  entries: Array<BackupFile>;
  /** There are more; ask again with the last name in `after`. */
  more: boolean;
  volumes: Array<BackupVolume>;
};

/** Which VMs, when, where to, and for how long. */
export type BackupJob = {
  /** The job whose runs this one's follow, besides the schedule or instead of it: it begins when one of them has ended, however it ended. */
  after?: BackupJobId | null;
  /** Bytes per second and VM; 0 for no limit. */
  bandwidth?: number;
  /** VMs at a time. */
  concurrency: number;
  enabled: boolean;
  /** Disks left out, as `VM:device` or `device`. */
  exclude_disks?: Array<string>;
  /** And those that this filter lets through when a run begins, such as `tag:prod`. */
  filter?: string;
  id: BackupJobId;
  /** Only these disks, in the same form; empty for all. */
  include_disks?: Array<string>;
  keep?: KeepPolicy;
  /** Of the newest run. */
  last_run?: string | null;
  /** Which runs are worth a mail. */
  mail_on?: MailOn;
  /** Gets the report of each run by e-mail; the server is set with `mail.set`. */
  mail_to?: Array<string>;
  name: string;
  next_run?: string | null;
  /** The orchestrator itself is backed up, too, when the VMs were. */
  orchestrator?: boolean;
  /** After each run, so many of the job's VMs are proved, those first whose proof is oldest; 0 for none. */
  prove?: number;
  /** TCP ports that have to answer in a proof; without any it is enough that the guest says something. */
  prove_ports?: Array<number>;
  /** Whether running guests are asked to hold their filesystems still for the snapshot. */
  quiesce?: Quiesce;
  repositories: Array<RepositoryId>;
  /** How often a VM whose backup failed is tried again in a run. */
  retries?: number;
  /** A VM of this job that has no good backup for longer than this many minutes raises a warning; 0 for never. */
  rpo_minutes?: number;
  /** Cron, five fields, such as `30 2 * * *`; empty for runs by hand only. */
  schedule?: string;
  /** IANA's name of the time zone that the schedule is in. */
  timezone?: string;
  /** VMs by id. */
  vms?: Array<VmId>;
  /** Gets the report of each run as JSON by POST; empty for nobody. */
  webhook?: string;
  /** A run that takes longer than this many minutes is cancelled; 0 for no limit. */
  window_minutes?: number;
};

export type BackupJobId = string;

export type BackupJobRef = {
  job: string;
};

/** Whether a VM that was restored from it for a moment booted. */
export type BackupProof = {
  answered: boolean;
  at: string;
  /** Those that had to answer. */
  ports?: Array<PortProof>;
  /** What the guest said, or that it did not. */
  said: string;
  /** Until it answered, or was given up. */
  seconds: number;
};

/** By its id, or the first digits of it; `VM@latest` is the newest of a VM. */
export type BackupRef = {
  backup: string;
  /** When it is in several. */
  repository?: string | null;
};

/** One time that a job did its work. */
export type BackupRun = {
  /** Who ended it, or what. */
  cancelled_by?: string | null;
  /** Of its VMs' disks, all together: the weakest. */
  consistency?: Consistency;
  ended?: string | null;
  id: BackupRunId;
  job: BackupJobId;
  job_name: string;
  /** What else there is to say: a report that nobody took. */
  notes?: Array<string>;
  /** The orchestrator itself, where the job has it. */
  orchestrator?: RunOrchestrator | null;
  /** Of its backups, those that were proved after it. */
  proofs?: Array<RunProof>;
  started: string;
  status: RunStatus;
  vms: Array<RunVm>;
};

export type BackupRunId = string;

export type BackupRunRef = {
  run: BackupRunId;
};

/** A partition, a logical volume, or the whole disk. */
export type BackupVolume = {
  filesystem?: string | null;
  /** `1`, `group/name` or `disk`. */
  name: string;
  /** Bytes. */
  size: number;
  /** Why it cannot be read here, when it cannot. */
  unreadable?: string | null;
};

/** What a plan is to reach. */
export type BalanceGoal = "performance" | "density";

/** Who decides. */
export type BalanceMode = "off" | "propose" | "automatic";

/** What would be done, and why. */
export type BalancePlan = {
  goal: BalanceGoal;
  /** How full the hosts that it changes are. */
  hosts: Array<BalancedHost>;
  made: string;
  moves: Array<PlannedMove>;
  /** What could not be done, and why. */
  notes: Array<string>;
  /** For density: hosts that can be powered off then. */
  power_off: Array<EmptyHost>;
};

/** How a pool is balanced. How full a host is: of its memory or of its processors, of what there is less left. */
export type BalancePolicy = {
  /** Moves at the same time. */
  at_once?: number;
  /** No host is filled further than this. */
  ceiling_percent?: number;
  /** A VM that was moved stays so long where it is. */
  cool_down_minutes?: number;
  goal?: BalanceGoal;
  /** Of the pool, so many hosts stay on. */
  hosts_on?: number;
  /** For performance: a host that would not become less full by so much keeps its VMs. */
  min_gain_percent?: number;
  mode?: BalanceMode;
  /** Moves of one plan. */
  moves?: number;
  /** Of these, so many to or from one host. */
  per_host?: number;
  /** Moves that begin within an hour. */
  per_hour?: number;
  /** After a host was switched, none is switched off for so long. */
  power_cool_down_minutes?: number;
  /** For density that is carried out by itself: hosts that others do without are switched off, and on again when there is too little room. Only hosts with power control. */
  power_hosts?: boolean;
  /** For performance: a host that is so much above the mean gives VMs away. In percent of what it has. */
  threshold_percent?: number;
};

/** Makes a plan and carries it out. */
export type BalancePool = {
  /** Without one, that of the pool. */
  goal?: BalanceGoal | null;
  pool: string;
};

/** How a pool is balanced, and how far that is. */
export type BalanceStatus = {
  /** Hosts that are off until there is too little room. */
  asleep?: Array<AsleepHost>;
  /** Moves that began within the last hour. */
  moved_last_hour: number;
  policy: BalancePolicy;
  pool: PoolId;
  /** The newest plan that nobody has carried out; gone when nothing is to be done any more. */
  proposal?: BalancePlan | null;
  /** What moves VMs at the moment. */
  task?: TaskId | null;
};

/** A host that a plan changes, or that has no VMs once it is carried out. */
export type BalancedHost = {
  cpu_percent: number;
  cpu_percent_after: number;
  host: HostId;
  memory_percent: number;
  memory_percent_after: number;
  name: string;
};

/** Why a user's roles give them nothing at present. */
export type Barred = "disabled" | "second-factor-due";

/** A role somewhere. */
export type Binding = {
  role: Role;
  scope: Scope;
};

/** What becomes of the bond. */
export type BondChoice = "none" | "active-backup" | "lacp";

/** How the interfaces of a bond share the work. */
export type BondMode = "active-backup" | "lacp";

export type BootDevice = "disk" | "cdrom" | "network";

/** Takes the lease of a VDI from a host that is dead for good. */
export type BreakLease = {
  /** The host that is dead; without one, that which has the lease. */
  host?: string | null;
  vdi: string;
};

/** A bridge that NICs can plug into. */
export type Bridge = {
  mtu: number;
  name: string;
  /** Interfaces of the host in it (PIFs, bonds, VLANs), guests' interfaces left out. */
  uplinks: Array<string>;
};

/** Of a host that had it. */
export type BrokenLease = {
  vdi: VdiId;
  /** What to make sure of. */
  warning: string;
  was: VdiLease;
};

export type BulkAction = "start" | "shutdown" | "reboot" | "power-off" | "pause" | "unpause" | "suspend" | "resume" | "delete";

/** What came of it for one VM. */
export type BulkResult = {
  /** Why it was left alone. */
  error?: string | null;
  name?: string | null;
  /** What works on it now. */
  task?: TaskId | null;
  /** As it was named, or its id. */
  vm: string;
};

/** The same for many VMs. */
export type BulkVms = {
  action: BulkAction;
  /** Of a shutdown or reboot: how long a guest may take; 0 stands for 120. */
  deadline_s?: number;
  /** Of a power-off: those that are suspended too, whose saved memory is lost. */
  discard_memory?: boolean;
  /** Those that this lets through; beside or instead of `vms`. */
  filter?: string;
  /** Of a shutdown or reboot: power off who did not answer in time. */
  force?: boolean;
  /** Names or ids. */
  vms?: Array<string>;
};

export type Candidate = {
  host: HostId;
  name: string;
  /** Each part of the score, or what rules the host out. */
  reasons: Array<string>;
  /** Higher is better; `None` when it cannot take the VM. */
  score?: number | null;
};

/** An emulated CD drive, with a medium or empty. The medium may be in several drives at once. */
export type CdDrive = {
  vdi?: VdiId | null;
};

/** Puts an ISO into a VM's CD drive. */
export type CdInsertion = {
  /** A VDI; it may be in several drives. */
  iso: string;
  vm: string;
};

/** A new VM from a snapshot. */
export type CloneSnapshot = {
  /** Of the new VM. */
  name: VmName;
  snapshot: string;
  /** Start it when it is made. */
  start?: boolean;
  vm?: string | null;
};

/** A new VDI with the contents of another, in the same SR. */
export type CloneVdi = {
  /** Of the new one. */
  name: string;
  vdi: string;
};

/** A new VM like another, with disks of its own and other MAC addresses. */
export type CloneVm = {
  description?: string | null;
  name: VmName;
  /** Start it when it is made. */
  start?: boolean;
  vm: string;
};

/** What cloud-init in the guest is told at its first boot, by a small disk (NoCloud). */
export type CloudInit = {
  /** Stored parts of the user data, of the template's pool. They come after the template's own, in this order, and before the rest of what is said here. */
  fragments?: Array<string>;
  /** The VM's name, unless it says otherwise. */
  hostname?: string | null;
  /** Version 1 or 2 of cloud-init's network configuration, in YAML; the same is replaced in it. */
  network_config?: string | null;
  /** Public keys of the image's default user; not together with `user_data`. */
  ssh_keys?: Array<string>;
  /** The whole of it, or what is added to the fragments: `#cloud-config`, a script, or what else cloud-init takes. `${name}`, `${hostname}` and the variables are replaced. */
  user_data?: string | null;
  /** What `${KEY}` is replaced with in these two and in fragments. Another `${…}` is left as it is, for scripts have their own. */
  variables?: Record<string, string>;
};

/** A filter that is being typed. */
export type CompleteFilter = {
  /** What stands before the cursor. */
  text: string;
};

/** A filter of some list that is being typed. */
export type CompleteListFilter = {
  /** Whose list: `vm`, `host`, `network` and so on. */
  noun: string;
  /** What stands before the cursor. */
  text?: string;
};

/** What could be typed next. */
export type Completion = {
  candidates: Array<CompletionCandidate>;
  /** From this byte of the text on, a candidate replaces it. */
  from: number;
};

export type CompletionCandidate = {
  /** What it means, or how many VMs have it. */
  hint: string;
  /** What to insert, quoted where needed. */
  text: string;
};

export type ConfirmTotp = {
  /** The six digits that the app shows now. */
  code: string;
};

export type ConnectSource = {
  /** host or host:port */
  address: string;
  /** SHA-256 of its certificate. Without it, nothing is sent but a handshake, and the error shows what was found. */
  fingerprint?: string | null;
  /** The name of one that is known, with its address, gives it a new password and certificate. */
  name: string;
  password: string;
  user: string;
};

/** In which state a guest's disks are in a snapshot. */
export type Consistency = "crash-consistent" | "filesystem-consistent" | "offline";

export type ConsoleKind = "serial" | "vnc";

/** Opens one console, once, within half a minute. */
export type ConsoleTicket = {
  expires: string;
  /** Such as `/console/4a7d…`: a WebSocket at the orchestrator's address. Whoever has it gets the console. */
  path: string;
};

/** A new VDI with the contents of another, anywhere. */
export type CopyVdi = {
  /** Without one, the host that it is on. */
  host?: string | null;
  /** Of the new one. */
  name: string;
  /** Without one, the local SR of the host. */
  sr?: string | null;
  vdi: string;
};

/** How much a scope covers at present. */
export type Covered = {
  /** Also what comes later, and what is in no pool. */
  everything: boolean;
  hosts: number;
  networks: number;
  pools: number;
  srs: number;
  vms: number;
};

export type CpuFeatures = string;

/** Where the level comes from. It counts for VMs that start from now on; one that runs keeps what it has. */
export type CpuLevelMode = {
  kind: "off";
} | {
  kind: "auto";
} | {
  features: CpuFeatures;
  kind: "set";
};

export type CpuLevelStatus = {
  hosts: Array<HostCpu>;
  /** What guests are given at most, for each maker of processors that the pool has; none where there is no level. */
  levels: Array<CpuFeatures>;
  mode: CpuLevelMode;
  pool: PoolId;
};

export type CpuSet = string;

/** How much of the host's CPUs a VM gets. */
export type CpuShare = {
  /** Hundredths of one CPU that it gets at most, also when others sleep: 250 are two and a half CPUs. */
  cap?: number | null;
  /** The CPUs of the host that it may run on; without it, all. */
  pin?: CpuSet | null;
  /** Against others when there is too little for all: twice as much gets twice the time. Without it, 256. */
  weight?: number | null;
};

export type CpuTopology = {
  cores_per_socket: number;
  cpus: number;
  khz: number;
  nodes: number;
  threads_per_core: number;
};

export type CrashAction = "restart" | "stop" | "preserve";

export type CreateAlarmRule = {
  /** Left out: the threshold. */
  clear?: number | null;
  filter?: string;
  /** Up to a day. */
  for_s?: number;
  mail_to?: Array<string>;
  metric: Metric;
  name: string;
  of?: Measured;
  severity?: Severity;
  syslog?: string;
  threshold: number;
  webhook?: string;
  when?: AlarmWhen;
};

/** Backs up a VM now, outside any job. */
export type CreateBackup = {
  /** By device. */
  exclude_disks?: Array<string>;
  /** Whether a running guest is asked to hold its filesystems still. */
  quiesce?: Quiesce;
  repositories: Array<string>;
  vm: string;
};

export type CreateBackupJob = {
  after?: string | null;
  bandwidth?: number;
  /** 0 stands for 2. */
  concurrency?: number;
  exclude_disks?: Array<string>;
  filter?: string;
  include_disks?: Array<string>;
  keep?: KeepPolicy;
  mail_on?: MailOn;
  mail_to?: Array<string>;
  name: string;
  orchestrator?: boolean;
  /** After each run, so many VMs are restored for a moment to see whether they boot. */
  prove?: number;
  /** TCP ports that have to answer in a proof, over IPv6 on a network that nothing else is on; 16 at most. */
  prove_ports?: Array<number>;
  quiesce?: Quiesce;
  repositories: Array<string>;
  retries?: number;
  rpo_minutes?: number;
  schedule?: string;
  timezone?: string;
  vms?: Array<string>;
  webhook?: string;
  window_minutes?: number;
};

export type CreateFragment = {
  description?: string;
  name: string;
  pool?: string | null;
  /** `#cloud-config` or a script, also below `## template: jinja`; or `#cloud-boothook`. `${name}`, `${hostname}` and the variables of a deployment are replaced then. */
  user_data: string;
};

export type CreateNetwork = {
  /** One that the hosts have. Leave it out to have one made. */
  bridge?: string;
  description?: string;
  /** Of a private network. */
  encryption?: Encryption;
  /** Without: 1500, 1450 for a private network, and 1350 for an encrypted one. */
  mtu?: Mtu | null;
  name: string;
  pool?: string | null;
  /** What the hosts are to make it of. */
  uplink?: Uplink | null;
};

export type CreatePool = {
  description?: string;
  name: string;
};

export type CreateRepository = {
  /** For S3. */
  access_key?: string;
  /** Bytes per second that all who write to it share; 0 for no limit. */
  bandwidth?: number;
  /** Backups of jobs that write to it at a time, whichever jobs they are of; 0 for no limit. */
  concurrency?: number;
  /** Who probes it; without one, any host that is connected. */
  host?: string | null;
  /** 64 hex digits. */
  key?: string;
  name: string;
  /** Opens a repository that is there. Without it and without `key`, a new key is made; `repository.key` shows it. */
  passphrase?: string;
  place: Place;
  /** Hosts get a key that only adds backups, and what they store is sealed to a public key. Only of a repository that is made now, or was made sealed. */
  sealed?: boolean;
  secret_key?: string;
};

export type CreateSecurityGroup = {
  description?: string;
  egress?: Array<Rule> | null;
  ingress?: Array<Rule> | null;
  name: string;
  pool?: string | null;
  tag: string;
};

export type CreateSnapshot = {
  description?: string;
  /** Keep the memory of a running VM too, so that it can go on from this instant. Its guest is not quiesced then: it would come back as it stood. */
  memory?: boolean;
  name: string;
  /** Whether a running guest is asked to hold its filesystems still. */
  quiesce?: Quiesce;
  vm: string;
};

/** Makes an SR, or attaches one that is there. */
export type CreateSr = {
  content?: SrContent;
  /** The first host to attach it. */
  host: string;
  name: string;
  spec: SrSpec;
};

/** Makes a VM that stands by for another, and brings it to that one's newest backup. */
export type CreateStandby = {
  /** Where to, in any pool. */
  host: string;
  /** A fail-over takes the VM's MAC addresses along; without it the standby has its own. */
  keep_macs?: boolean;
  /** Without one, the VM's name with `-standby`. */
  name?: VmName | null;
  /** For networks of the VM, those of its standby; empty: without that network card. One that is not named stays in the same pool; in another it is the network of the same name. */
  networks?: Record<string, string>;
  /** Whose backups of it are followed. */
  repository: string;
  /** One that the host has; without one, its local SR. */
  sr?: string | null;
  /** The VM to stand by for. */
  vm: string;
};

/** A template from a VM, which stays as it is. */
export type CreateTemplate = {
  description?: string;
  name: string;
  vm: string;
};

export type CreateToken = {
  /** Empty: all rights of the user, as they are at each use. Never more than those. */
  bindings?: Array<Binding>;
  /** 1 to 366. */
  days: number;
  name: string;
};

export type CreateUser = {
  bindings?: Array<Binding>;
  name: string;
  /** At least 12 characters. */
  password: string;
};

export type CreateVdi = {
  /** In the local SR of this host, unless `sr` says otherwise. */
  host: string;
  name: string;
  size: VdiSize;
  /** An SR that is attached to the host. */
  sr?: string | null;
};

export type CreateVm = {
  /** Names or ids of VMs that it should not share a host with, if there is another way. */
  apart_from?: Array<string>;
  autostart?: Autostart | null;
  custom?: Record<string, string>;
  description?: string;
  disks?: Array<NewDisk>;
  graphics?: Graphics;
  hardware?: NewHardware;
  /** Without one, the best host is chosen. */
  host?: string | null;
  memory: MemorySpec;
  name: VmName;
  nics?: Array<NewNic>;
  on_crash?: CrashAction;
  /** Of a guest that reboots by itself. */
  on_reboot?: RebootAction;
  platform: Platform;
  pool?: string | null;
  protection?: Protection;
  /** Start it when it is made. */
  start?: boolean;
  tags?: Array<string>;
  /** Names or ids of VMs that it should share a host with, if that host can take it. */
  together_with?: Array<string>;
  vcpus: VcpuSpec;
};

export type CreateWave = {
  caps?: WaveCaps;
  name: string;
  options?: WaveOptions;
  source: string;
  /** Names or ids at the source, in the order in which they begin. */
  vms: Array<string>;
};

/** The only time that the secret is shown. */
export type CreatedToken = {
  secret: string;
  token: Token;
};

export type Credentials = {
  /** Of a user with two-factor sign-in: the digits that their app shows, or a recovery code. Without it such a sign-in is refused as `invalid` in the field `code`, once the password is right. */
  code?: string | null;
  name: string;
  password: string;
};

export type CutOverImport = {
  /** Without it, now. */
  at?: string | null;
  /** Power the source off when its guest does not shut down in time. */
  force?: boolean;
  import: string;
};

/** A VDI that is there and cannot be used. */
export type DamagedVdi = {
  problem: string;
  vdi: VdiId;
};

/** Why a domain ended, as Xen tells (`SHUTDOWN_*` in Xen's public `sched.h`). */
export type DeathReason = "poweroff" | "reboot" | "crash" | "softreset" | "suspend" | "watchdog" | "unknown";

export type DeleteVm = {
  /** Keep its VDIs. */
  keep_disks?: boolean;
  vm: string;
};

/** A VM from a template. */
export type DeployTemplate = {
  cloud_init?: CloudInit | null;
  description?: string;
  /** Of the first disk, which grows to it. */
  disk_size?: VdiSize | null;
  memory?: MemorySpec | null;
  name: VmName;
  nics?: Array<NewNic>;
  /** Start it when it is made. */
  start?: boolean;
  tags?: Array<string>;
  template: string;
  vcpus?: VcpuSpec | null;
};

/** A kernel that the toolstack loads itself. File names, not paths: they are looked up in the host's boot folder, so that nobody reads another file of the host through them. */
export type DirectBoot = {
  cmdline?: string;
  kernel: string;
  ramdisk?: string | null;
};

export type DiskAccess = "read-write" | "read-only";

export type DiskAttachment = {
  disk: NewDisk;
  vm: string;
};

export type DiskDetachment = {
  device: DiskDevice;
  vm: string;
};

export type DiskDevice = string;

/** A VDI attached to a VM. */
export type DiskSpec = {
  access?: DiskAccess;
  device: DiskDevice;
  vdi: VdiId;
};

/** Xen's number for a running domain. Reused: never store it as an identity. */
export type DomId = number;

/** A file or folder of a backup, to be fetched from the host that reads it. */
export type DownloadFiles = {
  archive?: ArchiveKind;
  /** `VOLUME:PATH`, such as `1:/etc`. */
  at: string;
  backup: string;
  /** By its name in the backup; its only disk without one. */
  disk?: string | null;
  repository?: string | null;
};

/** The right to fetch it once, within ten minutes: `GET https://ADDRESS/v1/files` with the ticket as bearer token. */
export type DownloadTicket = {
  /** `host:port` of the host that hands it out. */
  address: string;
  /** Who signed that certificate (PEM). */
  authority_pem: string;
  /** The name in the host's certificate. */
  server_name: string;
  ticket: string;
};

/** Nothing to say. */
export type Empty = Record<string, never>;

/** A host without VMs, once a plan is carried out. */
export type EmptyHost = {
  host: HostId;
  name: string;
};

export type EnableHa = {
  /** 0 stands for 5. */
  beat_s?: number;
  /** See [`HaSettings`]; 0 stands for 60. */
  lease_s?: number;
  pool: string;
  /** A shared SR that every host of the pool has attached. */
  sr: string;
  /** 0 stands for 10. */
  watchdog_s?: number;
};

/** Whether what hosts send each other of a private network can be read on the way. */
export type Encryption = "wireguard" | "none";

/** A host that is to start anew, or to go off. */
export type EndBoot = {
  guests?: HostGuests;
  host: string;
  /** Evacuated, they take disks along that no other host reaches. */
  move_disks?: boolean;
};

export type EvacuateHost = {
  host: string;
  /** VMs with disks that no other host reaches go, too: those are copied to the local SR of the other host. */
  move_disks?: boolean;
};

/** One that goes, or why it stays. */
export type EvacuatedVm = {
  /** More of that, host by host. */
  detail?: Array<string>;
  /** Of disks that are copied along, in bytes. */
  disk_bytes?: number;
  /** Why it stays. */
  error?: string | null;
  name: string;
  /** What moves it. */
  task?: TaskId | null;
  /** Where it goes. */
  to?: HostId | null;
  to_name?: string | null;
  vm: VmId;
};

/** What becomes of the VMs of a host that is emptied. */
export type Evacuation = {
  host: HostId;
  vms: Array<EvacuatedVm>;
};

export type Event = {
  at: string;
  id: EventId;
  /** Stable: `host.lost`, `vm.crashed`. */
  kind: string;
  message: string;
  severity: Severity;
  /** `vm/…`, `host/…`. */
  subject: string;
};

export type EventId = string;

export type ExportVdi = {
  /** What this snapshot holds of it, instead of what it holds now: also while a VM runs on it. */
  snapshot?: string | null;
  vdi: string;
};

/** Lets a standby take over without losing anything: the VM is shut down, backed up once more, and the standby brought to that. */
export type FailBackStandby = {
  /** How long the guest may take to shut down, in seconds; 0 stands for 120. */
  deadline_s?: number;
  /** Power it off when it does not. */
  force?: boolean;
  /** The VM that stands by: after a fail-over, the original. */
  standby: string;
};

/** Lets a standby take over, with what its VM was when it was backed up last. */
export type FailOverStandby = {
  /** Also while the VM runs, or nobody knows whether it does. */
  force?: boolean;
  /** The VM that stands by. */
  standby: string;
};

export type Firmware = "bios" | "uefi";

/** Without its text, which may hold secrets. */
export type Fragment = {
  changed: string;
  description: string;
  id: FragmentId;
  kind: FragmentKind;
  /** Unique within the pool. */
  name: string;
  pool: PoolId;
};

/** For those who may make VMs with it, and could read it there. */
export type FragmentContents = {
  fragment: Fragment;
  user_data: string;
};

export type FragmentId = string;

/** What cloud-init does with a fragment. It follows from how the text begins. */
export type FragmentKind = "cloud_config" | "script" | "boothook";

export type FragmentRef = {
  fragment: string;
};

/** Hosts of the source that nobody needs any more. */
export type FreedHosts = {
  /** Since the start of the first wave, one after the other. */
  after_seconds: number;
  /** 0: before anything moves. */
  after_wave: number;
  hosts: Array<string>;
};

export type Graphics = "none" | "vnc";

/** What a guest says of itself. Foreign data: bounded and stripped of control characters by the reader. */
export type GuestFacts = {
  addresses: Array<string>;
  /** Other `data/` keys that the guest wrote, at most 64. */
  data: Record<string, string>;
  memory_free?: MemoryMiB | null;
  os?: string | null;
  pv_drivers?: string | null;
};

/** What was done to a guest so that it boots here. */
export type GuestPreparation = {
  changes?: Array<string>;
  /** What the helper VM said. */
  log?: Array<string>;
  /** Why it failed or was skipped. */
  message?: string;
  /** What the guest says it is. */
  os?: string;
  /** `prepared`, `unchanged`, `skipped`, `failed` (the disks are as copied), `half-written` (try again) or `declined`. */
  outcome: string;
  warnings?: Array<string>;
};

export type HaHost = {
  host: HostId;
  name: string;
  /** Why it is not as it should be. */
  problem?: string | null;
  state: HaHostState;
  /** VMs that went down with it and do not run again yet. */
  waiting: Array<VmId>;
};

export type HaHostState = "armed" | "unarmed" | "suspected" | "fenced";

export type HaRef = {
  pool: string;
};

export type HaSettings = {
  /** Seconds between two tries of either. */
  beat_s: number;
  /** Seconds after which a host is reset that has neither the orchestrator nor its lease. */
  lease_s: number;
  /** Where the leases of the hosts are. */
  sr: SrId;
  /** Seconds after which its watchdog bites. */
  watchdog_s: number;
};

export type HaVm = {
  name: string;
  priority: RestartPriority;
  vm: VmId;
};

export type Hardware = {
  /** HVM only. */
  cd?: CdDrive | null;
  cpu?: CpuShare;
  /** A channel to the QEMU guest agent in the guest, which backups ask to freeze filesystems. Costs a PV or PVH guest a QEMU process on its host. */
  guest_agent?: boolean;
  /** Devices of the host that the guest drives itself. */
  pci?: Array<PciAddress>;
  /** HVM only; without it, Xen's default. */
  video?: Video | null;
};

export type HoldBackup = {
  backup: string;
  /** `false` lets the rules at it again. */
  held?: boolean;
  repository?: string | null;
};

export type Host = {
  /** Where the orchestrator reaches its agent. */
  address: string;
  agent_version?: string | null;
  certificate_expires: string;
  /** As last heard. */
  facts?: HostFacts | null;
  id: HostId;
  last_heard?: string | null;
  local_sr?: SrId | null;
  /** Takes no new VMs. */
  maintenance: boolean;
  name: string;
  /** Where other hosts reach it, when not there. */
  peer_address?: string | null;
  pool: PoolId;
  /** Why it is unknown. */
  problem?: string | null;
  status: HostStatus;
  vms: number;
};

export type HostAddress = {
  /** `address:port` of its agent, as the orchestrator reaches it. */
  address: string;
  host: string;
};

/** One message about the rows of a list. */
export type HostChange = {
  kind: "added";
  value: Host;
} | {
  kind: "changed";
  value: Host;
} | {
  kind: "removed";
  value: HostId;
} | {
  kind: "ready";
  value: {
  /** Good for `since`. */
  revision?: string;
  total: number;
};
} | {
  kind: "seen";
  value: {
  revision: string;
};
} | {
  kind: "resync";
};

export type HostCpu = {
  /** As it was heard last; `None`: it has not told. */
  features?: CpuFeatures | null;
  /** What it has beyond the level, by name, which its guests are not given. */
  hidden: Array<string>;
  host: HostId;
  /** What it has not of the level, by name: guests that other hosts started do not run on here. */
  lacking: Array<string>;
  name: string;
};

export type HostFacts = {
  bridges: Array<Bridge>;
  /** Xen's word for what guests it can run: `pv`, `hvm`, `hap`, … */
  capabilities: Array<string>;
  /** `None`: this host does not tell. */
  cpu_features?: CpuFeatures | null;
  cpu_model: string;
  hostname: string;
  memory_dom0: MemoryMiB;
  memory_free: MemoryMiB;
  memory_total: MemoryMiB;
  scheduler: string;
  topology: CpuTopology;
  xen: XenVersion;
};

/** What becomes of the VMs that run on a host that goes down. */
export type HostGuests = "refuse" | "evacuate" | "shut-down";

/** What a host has that VMs can be bound to; asked for, not streamed. */
export type HostHardware = {
  numa: Array<NumaNode>;
  /** Why PCI devices cannot be given to guests here; `None`: they can. */
  passthrough_problem?: string | null;
  pci: Array<PciDevice>;
};

export type HostId = string;

export type HostMachinePower = {
  host: HostId;
  /** As it was said after the order, which may take some seconds. */
  power: MachinePower;
};

export type HostMaintenance = {
  host: string;
  maintenance: boolean;
};

/** Another management interface for a host; what is left out stays. The host goes back by itself when it is not heard over it within a minute. */
export type HostManagement = {
  /** `dhcp`, or an address with its network, such as 192.0.2.10/24. */
  address?: Addressing | null;
  /** `address:port` of its agent afterwards. Without it: a name stays, and an address that was the management interface's follows. */
  agent_address?: string | null;
  bond?: BondChoice | null;
  /** All of them. */
  dns?: Array<string> | null;
  gateway?: string | null;
  host: string;
  /** The network cards below it. */
  interfaces?: Array<InterfaceName> | null;
  /** 0: none. */
  vlan?: number | null;
};

export type HostPeerAddress = {
  /** Without a port: what hosts send each other has ports of its own. Without one, the orchestrator's way is theirs too. */
  address?: string | null;
  host: string;
};

export type HostPowerControl = {
  /** `None`: there is none. */
  control?: PowerControl | null;
  host: HostId;
};

export type HostRef = {
  host: string;
};

export type HostStatus = "connected" | "unknown" | "enrolling";

/** What the hosts of a pool get. */
export type HostUpdate = {
  kind: "image";
  url: string;
} | {
  kind: "packages";
} | {
  kind: "reboot";
};

export type Import = {
  archived: boolean;
  created: string;
  /** When the cut-over begins, where that is decided. */
  cut_over_at?: string | null;
  disks: Array<ImportDisk>;
  ended?: string | null;
  host: HostId;
  id: ImportId;
  /** What it waits for, or why it ended. */
  message?: string | null;
  /** Of the VM here. */
  name: string;
  origin: ImportOrigin;
  /** The newest of each disk, newest last. */
  passes: Array<ImportPass>;
  phase: ImportPhase;
  /** Of the guest, once it was tried. */
  preparation?: GuestPreparation | null;
  task: TaskId;
  vm: VmId;
};

/** One disk on its way. */
export type ImportDisk = {
  /** Bytes of the source's disk. */
  capacity: number;
  /** Bytes of the disk that are behind us, in this pass. */
  done: number;
  /** As the source calls it. */
  name: string;
  vdi: VdiId;
};

/** What speaks against a VM's move, or should be known. */
export type ImportFinding = {
  code: string;
  fix: string;
  reason: string;
  /** `note`, `attention` or `blocks`. */
  severity: string;
};

export type ImportId = string;

/** Where a VM comes from. */
export type ImportOrigin = {
  file: string;
  kind: "upload";
} | {
  kind: "vsphere";
  source: ImportSourceId;
  source_name: string;
  vm: string;
  vm_name: string;
};

/** What one pass did with one disk. */
export type ImportPass = {
  disk: string;
  /** `allocated`, `everything`, `changed`, `compared`, or `exported` where ranges are refused. */
  method: string;
  milliseconds: number;
  read: number;
  /** Why not less was read. */
  reason?: string;
  written: number;
};

/** Where an import stands. */
export type ImportPhase = "done" | "preparing" | "uploading" | "copying" | "following" | "cutting-over" | "waiting-for-shutdown" | "preparing-guest" | "not-prepared" | "finishing" | "rolled-back";

export type ImportPlan = {
  /** VMs that cannot move as they are. */
  blocked: Array<string>;
  freed: Array<FreedHosts>;
  notes: Array<string>;
  total_mib: number;
  vms: Array<VmAssessment>;
  waves: Array<PlannedWave>;
};

export type ImportPlanId = string;

export type ImportRef = {
  /** The import's id, or the name of its VM. */
  import: string;
};

/** An ESXi host or vCenter that VMs are taken from. Its password is kept sealed and never shown. */
export type ImportSource = {
  /** What it says it is. */
  about: string;
  address: string;
  created: string;
  /** SHA-256 of its certificate: no other is talked to. */
  fingerprint: string;
  id: ImportSourceId;
  name: string;
  user: string;
};

export type ImportSourceId = string;

/** A template from an image that a web server has, such as a distribution's cloud image. */
export type ImportTemplate = {
  description?: string;
  graphics?: Graphics;
  /** In the local SR of this host, unless `sr` says otherwise. */
  host: string;
  memory: MemorySpec;
  name: string;
  platform: Platform;
  /** Of the file, in hexadecimal; checked where it is given. */
  sha256?: string;
  sr?: string | null;
  /** `https://…`; raw, qcow2, VHD, VHDX or VMDK, recognised by its contents. */
  url: string;
  vcpus: VcpuSpec;
};

/** A VDI from an image that a web server has. */
export type ImportVdi = {
  /** In the local SR of this host, unless `sr` says otherwise. */
  host: string;
  name: string;
  /** Of the file, in hexadecimal; checked where it is given. */
  sha256?: string;
  sr?: string | null;
  /** `https://…`; raw, ISO, qcow2, VHD, VHDX or VMDK, recognised by its contents. */
  url: string;
};

export type IncarnationId = string;

export type InterfaceName = string;

export type JoinTokenIssued = {
  expires: string;
  /** For `xenith-agent join`. */
  token: string;
};

/** How many to keep of each; all zero keeps everything. */
export type KeepPolicy = {
  daily?: number;
  hourly?: number;
  last?: number;
  monthly?: number;
  weekly?: number;
  yearly?: number;
};

/** Memory that was kept, and what its guest must find again to go on from it. */
export type KeptMemory = {
  /** Of its image. A guest that changes its memory is read more than once. */
  bytes: number;
  cpu_model: string;
  written_while: WrittenWhile;
  xen_major: number;
  xen_minor: number;
};

/** The run of a VM that writes. */
export type LeasedTo = {
  /** For people. */
  name: string;
  run: IncarnationId;
  /** All of its memory is on another host, which takes the lease when it is told to let the run go on. Until one of the two does, nobody writes. */
  sent?: boolean;
  vm: VmId;
};

/** Something in an SR that is no VDI. */
export type LeftOver = {
  bytes: number;
  /** Since when nobody has written it, in seconds. */
  idle_s: number;
  name: string;
};

/** Newest first. The log is read from its end on, as far as the page needs: `total` counts all its records, whatever the filter, and a page may hold fewer than `limit` and still have a next one. */
export type ListAudit = {
  cursor?: string | null;
  /** The filter language: `user:anna method:vm. phase:failed`. Empty: everything. */
  filter?: string;
  /** 1 to 1000; 0 stands for 100. */
  limit?: number;
  /** `-sequence`, or empty: newest first. `sequence`: oldest first. */
  sort?: string;
};

/** What is in a disk of a backup. */
export type ListBackupFiles = {
  /** Only entries whose names come after this one. */
  after?: string | null;
  /** `VOLUME:PATH`, such as `1:/etc`; without it the disk's volumes are listed. */
  at?: string | null;
  backup?: string;
  /** By its name in the backup; its only disk without one. */
  disk?: string | null;
  repository?: string | null;
};

/** Newest first, unless `sort` says otherwise. */
export type ListBackupRuns = {
  /** `next` of the page before. */
  cursor?: string | null;
  /** The filter language: `status:failed started:>2026-01-31`. Empty: everything. */
  filter?: string;
  /** Of this job only. */
  job?: string | null;
  /** 1 to 1000; 0 stands for 100. */
  limit?: number;
  /** A column, with `-` in front for descending. Empty: newest first. */
  sort?: string;
};

/** Newest first, unless `sort` says otherwise. */
export type ListBackups = {
  /** `next` of the page before. */
  cursor?: string | null;
  /** The filter language: `repository:main held:yes age:<7d`. Empty: everything. */
  filter?: string;
  /** 1 to 1000; 0 stands for 100. */
  limit?: number;
  /** In this repository only. */
  repository?: string | null;
  /** A column, with `-` in front for descending. Empty: newest first. */
  sort?: string;
  /** Of this VM only: its name or its id, also of one that is gone. */
  vm?: string | null;
};

/** Newest first, unless `sort` says otherwise. */
export type ListEvents = {
  cursor?: string | null;
  /** The filter language: `severity:error kind:host age:<1d`. Empty: everything. */
  filter?: string;
  /** 1 to 1000; 0 stands for 100. */
  limit?: number;
  /** A column, with `-` in front for descending. Empty: newest first. */
  sort?: string;
};

/** Newest first unless another order is asked for. */
export type ListImports = {
  /** Those that were archived, too. */
  archived?: boolean;
  cursor?: string | null;
  /** The filter language: `phase:following host:xen1`. Empty: everything. */
  filter?: string;
  /** 1 to 1000; 0 stands for 100. */
  limit?: number;
  /** A column, with `-` in front for descending. Empty: `-created`. */
  sort?: string;
};

/** What part of a list is wanted. */
export type ListRequest = {
  /** `next` of the page before. */
  cursor?: string | null;
  /** The filter language: `power:running tag:prod name:/^db/`. Empty: everything. */
  filter?: string;
  /** At most this many rows, 1 to 1000; 0 stands for 100. */
  limit?: number;
  /** A column, with `-` in front for descending. Empty: by name. */
  sort?: string;
};

export type ListSnapshots = {
  /** `next` of the page before. */
  cursor?: string | null;
  /** The filter language. Empty: everything. */
  filter?: string;
  /** 1 to 1000; 0 stands for 100. */
  limit?: number;
  /** A column, with `-` in front for descending. Empty: oldest first. */
  sort?: string;
  /** Of this VM only. */
  vm?: string | null;
};

/** Newest first, unless `sort` says otherwise. */
export type ListTasks = {
  /** Only those that are not over. */
  active?: boolean;
  cursor?: string | null;
  /** The filter language: `status:parked user:anna age:<1d`. Empty: everything. */
  filter?: string;
  /** 1 to 1000; 0 stands for 100. */
  limit?: number;
  /** A column, with `-` in front for descending. Empty: newest first. */
  sort?: string;
  /** Only those that work on this VM. */
  vm?: string | null;
};

export type ListUnprotected = {
  /** `next` of the page before. */
  cursor?: string | null;
  /** The filter language: `why:no_job vm:web`. Empty: everything. */
  filter?: string;
  /** 1 to 1000; 0 stands for 100. */
  limit?: number;
  /** Also those whose newest backup is older; 0: only those without a job or a backup. */
  older_than_minutes?: number;
  /** A column, with `-` in front for descending. Empty: by name. */
  sort?: string;
};

/** A session. Over HTTP it comes as a cookie too; a program sends it as `Authorization: Bearer`. */
export type LoggedIn = {
  expires: string;
  session: string;
  user: User;
};

/** Which VMs of a source. */
export type LookAtSource = {
  source: string;
  /** Names or ids; none stands for all. */
  vms?: Array<string>;
};

export type MacAddr = string;

/** What a management controller says. */
export type MachinePower = "on" | "off" | "unknown";

/** Which runs a mail tells of. */
export type MailOn = "always" | "problems";

/** How the connection to the server is kept private. */
export type MailSecurity = "starttls" | "tls" | "none";

/** The server that takes our mail. Its password is never shown. */
export type MailSettings = {
  /** Certificates (PEM) that are trusted besides the machine's own. */
  authority_pem: string;
  /** Who the mail is from. */
  from: string;
  has_password: boolean;
  port: number;
  security: MailSecurity;
  /** Empty: no mail is sent. */
  server: string;
  /** Empty: nobody signs in. */
  user: string;
};

/** What kind of thing is measured. */
export type Measured = "vm" | "host";

/** MiB */
export type MemoryMiB = number;

/** Memory in MiB: what a guest starts with, and how far it can be ballooned up while it runs. */
export type MemorySpec = {
  max: MemoryMiB;
  target: MemoryMiB;
};

/** One thing that is measured. Its number is what it is called on disk: never given to another. */
export type Metric = "cpu" | "memory" | "load" | "dom0.cpu" | "dom0.memory" | "disk.read" | "disk.write" | "disk.read_ops" | "disk.write_ops" | "disk.queue_full" | "net.received" | "net.sent" | "net.received_packets" | "net.sent_packets" | "net.dropped" | "power";

/** A metric, for people. */
export type MetricInfo = {
  metric: Metric;
  of: Array<Measured>;
  summary: string;
  unit: Unit;
};

/** Of one object and metric. `null`: nothing was measured then. */
export type MetricSeries = {
  avg: Array<number | null>;
  /** Of a VM's disk (`xvda`) or NIC (`nic0`, the first); absent: of all together. */
  device?: string | null;
  /** Of the VM or host. */
  id: string;
  max: Array<number | null>;
  metric: Metric;
  min: Array<number | null>;
  name: string;
  of: Measured;
  unit: Unit;
};

/** Series on one grid: point `n` is of the `step_s` seconds that begin at `from` plus `n` steps. */
export type MetricSeriesList = {
  from: string;
  series: Array<MetricSeries>;
  step_s: number;
  /** How many objects the filter lets through, of which there may be more than in `series`. */
  total: number;
};

/** Moves a VDI to another SR or host. It gets a new id. That of a running VM goes to another SR of its host: it is copied while the VM runs, which stands at the end while its memory is saved and resumed. */
export type MigrateVdi = {
  /** Bytes per second; 0 for no limit. What a VM has to stand for goes without one. */
  bandwidth?: number;
  /** Without one, the host that it is on. */
  host?: string | null;
  /** Without one, the local SR of the host. */
  sr?: string | null;
  vdi: string;
};

/** Moves a VM to another host of its pool: a running one with its memory, a stopped one by its definition. Disks that the other host does not reach are copied there, where that is asked for. */
export type MigrateVm = {
  /** Of their copies: bytes per second; 0 for no limit. What the VM has to stand for goes without one. */
  bandwidth?: number;
  /** Without one, the best host that is not the one it is on. */
  host?: string | null;
  /** Copy the disks that the other host does not reach. */
  move_disks?: boolean;
  /** The SR of the other host that they go to, which says that they are to go; without one, its local SR. */
  sr?: string | null;
  vm: string;
};

export type Mtu = number;

export type Network = {
  bridge: string;
  description?: string;
  /** Of a private network: whether it can be read between the hosts. */
  encryption?: Encryption;
  id: NetworkId;
  mtu?: Mtu | null;
  name: string;
  pool: PoolId;
  /** What the hosts make it of. Without: the bridge is not ours, and each host has to have it. */
  uplink?: Uplink | null;
};

/** Encrypts a private network between its hosts, or does so no more. It takes effect at once. */
export type NetworkEncryption = {
  encryption: Encryption;
  network: string;
};

export type NetworkId = string;

/** Our network for one of the source's. */
export type NetworkMapping = {
  /** The source's name; `*` stands for all others. */
  from: string;
  /** Ours; `None` leaves such NICs out. */
  to?: string | null;
};

export type NetworkOnHost = {
  host: HostId;
  name: string;
  /** Why it is not there, or why that is not known. */
  reason?: string | null;
  state: NetworkState;
};

export type NetworkRef = {
  network: string;
};

export type NetworkState = "realised" | "failed" | "unknown";

/** A network on the hosts of its pool. */
export type NetworkStatus = {
  hosts: Array<NetworkOnHost>;
  network: NetworkId;
};

export type NewCd = {
  /** A VDI; without one the drive is empty. */
  iso?: string | null;
};

/** A disk to make, or a VDI that is there. */
export type NewDisk = {
  access?: DiskAccess;
  /** Without one, the next free device. */
  device?: DiskDevice | null;
  /** Bytes of a new VDI. */
  size?: VdiSize | null;
  /** Where a new VDI is made; without one, in the local SR of the VM's host. */
  sr?: string | null;
  /** A VDI that is there; instead of `size`. */
  vdi?: string | null;
};

/** What a VM has besides the usual. */
export type NewHardware = {
  /** A CD drive, for hvm. */
  cd?: NewCd | null;
  cpu?: CpuShare;
  /** A channel to the QEMU guest agent, for backups that quiesce. Costs a pv or pvh guest a QEMU process on its host. */
  guest_agent?: boolean;
  /** PCI devices of the host; `host.hardware` lists them. */
  pci?: Array<PciAddress>;
  /** Not offered by Xen's tools for these guests. */
  secure_boot?: boolean;
  /** Not offered by Xen's tools for these guests. */
  tpm?: boolean;
  /** Not offered: give the guest the PCI device that is the USB controller. */
  usb?: Array<string>;
  video?: Video | null;
};

export type NewNic = {
  /** Without one, a free address of Xen's block. */
  mac?: MacAddr | null;
  network: string;
};

export type NewPassword = {
  new: string;
  old: string;
};

export type NicAttachment = {
  nic: NewNic;
  vm: string;
};

/** Changes what may pass a NIC; what is left out stays. It takes effect at once, and no definition changes. */
export type NicChange = {
  /** All of the guest's addresses there. */
  addresses?: Array<string> | null;
  link?: VifLink | null;
  lock?: VifLock | null;
  mac: MacAddr;
  /** 0: no limit. */
  rate_mbit?: number | null;
  vm: string;
};

export type NicDetachment = {
  mac: MacAddr;
  vm: string;
};

/** What may pass a NIC. */
export type NicSettings = {
  mac: MacAddr;
  network: NetworkId;
  /** The security groups that its VM is in, by name. */
  security_groups: Array<string>;
  settings: VifSettings;
};

/** A NIC plugged into a network. `bridge` is the network's bridge on the host, filled in by the orchestrator when it places the VM; one MAC per pool, checked by the orchestrator. */
export type NicSpec = {
  bridge: string;
  mac: MacAddr;
  network: NetworkId;
};

/** One message of `change.subscribe`. */
export type NounChange = {
  /** As methods have it before the dot. Without one, too much was missed: it may be any. */
  noun?: string | null;
};

/** CPUs with the memory that is near to them. */
export type NumaNode = {
  cpus?: CpuSet | null;
  memory_free: MemoryMiB;
  memory_total: MemoryMiB;
  node: number;
};

export type ObservedVm = {
  /** What this run was given of the processors' features, and must find again where it runs on. `None`: it was started without a level, and has all of its host's. */
  cpu_given?: CpuFeatures | null;
  cpu_time_ns: number;
  /** Which definition the agent has, 0 for unmanaged ones. */
  definition: number;
  domid?: DomId | null;
  failure?: VmFailure | null;
  guest: GuestFacts;
  incarnation?: IncarnationId | null;
  kind: PlatformKind;
  last_death?: DeathReason | null;
  /** `false`: a domain that no orchestrator knows; listed, never touched. */
  managed: boolean;
  memory: MemoryMiB;
  name: string;
  power: Power;
  started?: string | null;
  vcpus_online: number;
  vm: VmId;
};

export type OpenHostConsole = {
  host: string;
  /** Of the terminal at first; without one, 80 by 24. */
  size?: TerminalSize | null;
};

export type OpenVmConsole = {
  /** Serial: how many bytes of what was written before come first. Without a number, all that the host keeps (64 KiB). */
  history?: number | null;
  kind?: ConsoleKind;
  vm: string;
};

export type OrderPower = {
  /** Off and cycle also while VMs run there, or while nobody knows: they lose what is in their memory. */
  force?: boolean;
  host: string;
  order: PowerOrder;
};

/** Something that a host has and no record knows, or a record that no host bears out. */
export type Orphan = {
  /** The name of the host that it is on. */
  host?: string | null;
  id: OrphanId;
  kind: OrphanKind;
  /** What it is, and what can be done about it. */
  message: string;
  name: string;
  /** When it was found. */
  since: string;
  /** `vm/…`, `vdi/…`, `snapshot/…`, `file/…`, `name/…`, `mac/…`. */
  subject: string;
};

export type OrphanId = string;

/** Why something does not fit. */
export type OrphanKind = "definition" | "domain" | "elsewhere" | "lost" | "image" | "missing" | "damaged" | "left-over" | "record";

/** The caller's password once more: who finds a session open does not change how its user signs in. */
export type OwnPassword = {
  password: string;
};

export type PciAddress = string;

export type PciDevice = {
  address: PciAddress;
  /** What kind of device, in words. */
  class: string;
  /** The driver of the host that has it; `pciback` holds it for guests. */
  driver?: string | null;
  /** `8086:1533`: who made it, and what it is. */
  id: string;
};

/** What one method of the API needs. Each method names exactly one. */
export type Permission = "anyone" | "own" | "view" | "operate" | "provision" | "administer" | "system" | "secure";

/** One permission of a user. */
export type PermissionAccess = {
  /** The roles that give it. None: everybody who signs in has it, for their own account. */
  grounds: Array<AccessGround>;
  /** The methods and subscriptions that need it. */
  methods: Array<string>;
  /** On how much of what is there now, by all grounds together. */
  on: Covered;
  permission: Permission;
};

export type Place = {
  kind: "folder";
  path: string;
} | {
  bucket: string;
  /** Empty for AWS's own. */
  endpoint?: string;
  kind: "s3";
  prefix?: string;
  region?: string;
};

/** Asks where a VM would go. */
export type PlaceVm = {
  apart_from?: Array<string>;
  memory: MemoryMiB;
  networks?: Array<string>;
  pool?: string | null;
  together_with?: Array<string>;
  vcpus: number;
  /** The VM goes where all of their SRs are reached. */
  vdis?: Array<VdiId>;
};

/** Why which host: the answer to `vm.place`. */
export type Placement = {
  /** Best first, those that cannot take it last. */
  candidates: Array<Candidate>;
  host?: HostId | null;
};

/** A plan to be made; nothing changes. */
export type PlanImports = {
  caps?: WaveCaps;
  /** 0 least, 9 most: the less critical move first. By name. */
  criticality?: Record<string, number>;
  /** Names of VMs that have to move in the same wave as this one. By name. */
  depends_on?: Record<string, Array<string>>;
  /** MiB per second of the whole line; 0 stands for 800. Measure it. */
  line_mib_s?: number;
  /** Of a wave; 0 stands for 100. */
  max_vms?: number;
  /** With any, a NIC in a network without one is a finding. */
  networks?: Array<NetworkMapping>;
  source: string;
  /** With any, a disk on a datastore without one is a finding, and so is an SR with too little room. */
  storage?: Array<StorageMapping>;
  /** Names or ids; none stands for all. */
  vms?: Array<string>;
  /** Hours of a migration window; 0 stands for 8. */
  window_hours?: number;
};

/** A VM that is to move. */
export type PlannedMove = {
  from: HostId;
  from_name: string;
  /** MiB that are copied. 0: the VM is off, and its definition moves. */
  memory: number;
  name: string;
  reason: string;
  to: HostId;
  to_name: string;
  vm: VmId;
};

/** A wave as it is proposed. */
export type PlannedWave = {
  best_seconds: number;
  criticality: number;
  /** More than a window even alone. */
  exceeds_window: boolean;
  /** What limits it: `line`, `host NAME`, `datastore NAME`, `target NAME`, `vm NAME`. */
  narrowest: string;
  number: number;
  /** At the rates given, and with what rates vary. */
  seconds: number;
  transfer_mib: number;
  /** Names, dependencies first. */
  vms: Array<string>;
  worst_seconds: number;
};

/** Each variant holds just what that kind of guest can have. */
export type Platform = {
  boot: DirectBoot;
  kind: "pv";
} | {
  boot: DirectBoot;
  kind: "pvh";
} | {
  /** Tried in this order; empty means disk, then CD. */
  boot_order?: Array<BootDevice>;
  firmware?: Firmware;
  kind: "hvm";
};

export type PlatformKind = "pv" | "pvh" | "hvm";

export type Pool = {
  description?: string;
  id: PoolId;
  name: string;
};

/** How high availability is in a pool. */
export type PoolHa = {
  /** `None`: it is off. */
  armed?: HaSettings | null;
  hosts: Array<HaHost>;
  pool: PoolId;
  /** VMs that have another priority than `medium`. */
  priorities: Array<HaVm>;
};

export type PoolId = string;

export type PoolRef = {
  pool: string;
};

/** How the update of a pool is. */
export type PoolUpdateStatus = {
  /** No further host is begun. */
  paused: boolean;
  pool: PoolId;
  /** What updates it; its message says how far it is. */
  task?: TaskId | null;
};

/** A TCP port of a guest that was proved. */
export type PortProof = {
  answered: boolean;
  port: number;
};

/** What a VM is doing. `Unknown` is the orchestrator's word for a VM whose host is not heard. */
export type Power = "stopped" | "starting" | "running" | "paused" | "stopping" | "suspending" | "resuming" | "unknown" | "suspended" | "crashed";

/** Where the power of a host is switched. The password is never shown. */
export type PowerControl = {
  /** `host` or `host:port`. */
  address: string;
  /** SHA-256 of its certificate, in hexadecimal. For Redfish. */
  fingerprint?: string | null;
  kind: PowerControlKind;
  user: string;
};

export type PowerControlKind = "redfish" | "ipmi";

/** Ends a VM at once. */
export type PowerOffVm = {
  /** Also one that is suspended: the memory that was saved of it is lost. Without this, it is refused. */
  discard_memory?: boolean;
  vm: string;
};

export type PowerOrder = "on" | "status" | "off" | "cycle";

/** Decides about a guest that could not be prepared. */
export type PrepareImport = {
  import: string;
  /** Go on with the disks as they were copied, instead of trying again. */
  without?: boolean;
};

/** What is refused until it is allowed again. */
export type Protection = {
  delete?: boolean;
  migration?: boolean;
  /** Also resuming. Autostart on its host is not asked: turn that off too. */
  start?: boolean;
};

/** Restores a VM for a moment, without a network or on one that nothing else is on, to see whether it boots. */
export type ProveBackup = {
  backup: string;
  host?: string | null;
  /** How long the guest may take to say something, or its ports to answer; 0 stands for 10. */
  minutes?: number;
  /** TCP ports that have to answer, over IPv6; without any it is enough that the guest says something. 16 at most. */
  ports?: Array<number>;
  repository?: string | null;
};

/** Which series are wanted. */
export type QueryMetrics = {
  /** Without `object`: those that the filter lets through, by name; the first 50 of them. */
  filter?: string;
  /** Default: an hour before `to`. */
  from?: string | null;
  /** Empty: all that there are. */
  metrics?: Array<Metric>;
  /** One VM or host. */
  object?: string | null;
  of?: Measured;
  /** Of one VM: each of its disks and NICs, in place of their sums and of all else. */
  per_device?: boolean;
  /** Seconds between two points; 0: as close as a chart needs. It becomes longer where so much is not kept or a series would have more than 2,000 points. */
  step_s?: number;
  /** Default: now. */
  to?: string | null;
};

/** What is asked of a running guest before its disks are snapshotted. */
export type Quiesce = "never" | "try" | "demand";

export type RateMbit = number;

export type RebootAction = "restart" | "stop";

/** Each is good for one sign-in in place of a code. The only time that they are shown. */
export type RecoveryCodes = {
  codes: Array<string>;
};

export type RemoveHost = {
  /** Also when VMs are defined on it: they are forgotten here, and run on there. */
  force?: boolean;
  host: string;
};

/** Where backups are kept. Its secrets are never shown here. */
export type Repository = {
  /** Bytes per second that all who write to it share; 0 for no limit. */
  bandwidth?: number;
  checked?: string | null;
  /** Backups of jobs that write to it at a time, whichever jobs they are of; 0 for no limit. */
  concurrency?: number;
  id: RepositoryId;
  name: string;
  place: Place;
  /** Why the last check failed, when it did. */
  problem?: string | null;
  /** The id inside the repository, once it was opened. */
  repository?: string | null;
};

export type RepositoryId = string;

export type RepositoryRef = {
  repository: string;
};

/** What opens a repository without the orchestrator. */
export type RepositorySecret = {
  /** `passphrase` or `key file`. */
  kind: string;
  secret: string;
};

/** Makes a VDI larger; a running guest sees it at once. */
export type ResizeVdi = {
  size: VdiSize;
  vdi: string;
};

/** When a VM is restarted after its host has died. */
export type RestartPriority = "medium" | "high" | "low" | "off";

/** Brings a VM, or some of its disks, back. */
export type RestoreBackup = {
  backup: string;
  /** Of an instant restore: bytes per second that come in behind; 0 for no limit. */
  bandwidth?: number;
  /** Only these disks, by their names in the backup; all of them without any. */
  disks?: Array<string>;
  /** For a new VM or disks; without one, the host where the VM was, or the best one. */
  host?: string | null;
  /** Start a new VM at once: it reads from the backup what is not there yet, and its disks come in behind. */
  instant?: boolean;
  /** Of a new VM, for networks that the VM had, others; empty: without that network card. One that is not named stays in the same pool; in another it is the network of the same name. */
  networks?: Record<string, string>;
  repository?: string | null;
  /** For a new VM or disks: an SR that the host has; without one, its local SR. */
  sr?: string | null;
  /** Start it when it is there. */
  start?: boolean;
  target?: RestoreTarget;
};

export type RestoreTarget = {
  kind: "new_vm";
  name?: VmName | null;
} | {
  kind: "in_place";
} | {
  kind: "disks";
};

/** Back to a snapshot. */
export type RevertSnapshot = {
  /** Revert the disks of a snapshot with memory and leave the VM off. */
  disks_only?: boolean;
  snapshot: string;
  /** Of this VM: several may have a snapshot of one name. */
  vm?: string | null;
};

export type Role = "viewer" | "operator" | "admin";

/** A role and the permissions that it holds. */
export type RoleInfo = {
  permissions: Array<Permission>;
  role: Role;
};

export type Rule = string;

/** The orchestrator's own part in a run. */
export type RunOrchestrator = {
  message?: string | null;
  /** That the repositories did not have. */
  new_bytes: number;
  /** Of its store and key. Bytes, as those below. */
  size: number;
  status: RunStatus;
  /** What those take there. */
  stored: number;
  /** Of the newest try. */
  task?: TaskId | null;
  tries: number;
};

/** A VM whose backup is proved after a run. */
export type RunProof = {
  /** Why no proof was begun. */
  message?: string | null;
  name: string;
  /** `None` while it goes on, and where its task ended without a verdict. */
  proof?: BackupProof | null;
  /** That proves it. */
  task?: TaskId | null;
  vm: VmId;
};

export type RunStarted = {
  run: BackupRunId;
};

export type RunStatus = "waiting" | "running" | "done" | "failed" | "cancelled";

/** One VM of a run. Bytes are those of all repositories together. */
export type RunVm = {
  /** In which state its disks are in the backup. */
  consistency?: Consistency | null;
  message?: string | null;
  /** Milliseconds that reading, packing and storing took. */
  millis?: number;
  name: string;
  new_bytes?: number;
  /** Why the guest was not quiesced although that was tried. */
  not_quiesced_because?: string | null;
  read?: number;
  /** Size of its disks. */
  size?: number;
  status: RunStatus;
  stored?: number;
  /** Of the newest try. */
  task?: TaskId | null;
  tries: number;
  vm: VmId;
  /** Why whole disks were read, when they were. */
  whole_because?: Array<string>;
};

/** Where a role holds. What all pools share, and users, need the scope `all`. */
export type Scope = {
  kind: "all";
} | {
  kind: "pool";
  value: PoolId;
} | {
  kind: "tag";
  value: string;
};

/** A direction without a list of rules is not spoken of: it is open, unless another group of the VM speaks of it. An empty list closes it. */
export type SecurityGroup = {
  description?: string;
  /** What they may send. */
  egress?: Array<Rule> | null;
  id: SecurityGroupId;
  /** What may be sent to them. */
  ingress?: Array<Rule> | null;
  name: string;
  pool: PoolId;
  /** The VMs of the pool with this tag are in the group. */
  tag: string;
};

export type SecurityGroupId = string;

export type SecurityGroupRef = {
  group: string;
};

/** Changes how a pool is balanced; what is not given stays. */
export type SetBalance = {
  /** 1 to 100. */
  at_once?: number | null;
  /** 1 to 100. */
  ceiling_percent?: number | null;
  /** 0 to 10080, a week. */
  cool_down_minutes?: number | null;
  goal?: BalanceGoal | null;
  /** 1 to 1000; at least 2 where high availability is on. */
  hosts_on?: number | null;
  /** 0 to 100. */
  min_gain_percent?: number | null;
  mode?: BalanceMode | null;
  /** 1 to 500. */
  moves?: number | null;
  /** 1 to 100. */
  per_host?: number | null;
  /** 1 to 1000. */
  per_hour?: number | null;
  pool: string;
  /** 0 to 10080, a week. */
  power_cool_down_minutes?: number | null;
  power_hosts?: boolean | null;
  /** 1 to 100. */
  threshold_percent?: number | null;
};

export type SetCpuLevel = {
  mode: CpuLevelMode;
  pool: string;
};

export type SetMail = {
  authority_pem?: string;
  from?: string;
  /** Left out: the one that is known stays, for the same server, user and certificates. */
  password?: string | null;
  /** 0 for the usual one. */
  port?: number;
  security?: MailSecurity;
  /** Name or address; empty to send no mail any more. */
  server: string;
  user?: string;
};

export type SetPowerControl = {
  /** Of the management controller of this host and of no other: what it switches off is taken for this host. */
  address?: string;
  /** SHA-256 of its certificate, in hexadecimal, with or without colons. Redfish needs it. */
  fingerprint?: string | null;
  host: string;
  /** Left out: there is none any more, and the rest counts for nothing. */
  kind?: PowerControlKind | null;
  /** Left out: the one that is known stays, for the same address, user and certificate. */
  password?: string | null;
  user?: string;
};

export type SetRestartPriority = {
  priority: RestartPriority;
  vm: string;
};

/** Both directions are replaced by what is here. */
export type SetSecurityGroupRules = {
  egress?: Array<Rule> | null;
  group: string;
  ingress?: Array<Rule> | null;
};

/** The fragments of a template are replaced by these. */
export type SetTemplateFragments = {
  /** Of its pool, in the order in which they count; none: it has none. */
  fragments: Array<string>;
  template: string;
};

export type Severity = "info" | "warning" | "error";

/** A certificate that the orchestrator shows. */
export type ShownCertificate = {
  expires: string;
  /** SHA-256 of it. */
  fingerprint: string;
  /** From files of an administrator, who renews it. Otherwise it is the authority's, and renews itself. */
  from_files: boolean;
};

/** Asks the guest to shut down or reboot. */
export type ShutdownVm = {
  /** How long the guest may take; 0 stands for 120. */
  deadline_s?: number;
  /** Power it off when it did not answer in time. */
  force?: boolean;
  vm: string;
};

/** At least one of `rule` and `object`. */
export type SilenceAlarms = {
  comment?: string;
  object?: string | null;
  /** What `object` is. */
  of?: Measured;
  rule?: string | null;
  /** For how long, from now; up to 30 days. */
  seconds?: number;
};

export type Snapshot = {
  /** In which state its disks are; `None` while it is being taken, and where nobody wrote that down. */
  consistency?: Consistency | null;
  created: string;
  /** The VM goes on from this one. */
  current: boolean;
  description: string;
  disks: Array<SnapshotDisk>;
  /** Where its disks are. */
  host: HostId;
  id: SnapshotId;
  /** Its memory of the same instant; `None`: that was not kept. */
  memory?: SnapshotMemory | null;
  name: string;
  /** Why the guest was not quiesced although that was tried. */
  not_quiesced_because?: string | null;
  /** The snapshot that the VM came from when this was taken: a tree. */
  parent?: SnapshotId | null;
  /** How long the VM stood for it, in milliseconds; 0 when it did not run, `None` while it is being taken. */
  paused_ms?: number | null;
  /** What the VM was then. */
  spec: VmSpec;
  vm: VmId;
};

export type SnapshotDisk = {
  device: DiskDevice;
  size: VdiSize;
  /** What its contents are kept as. */
  snapshot: VdiId;
  sr: SrId;
  /** The disk that it is a snapshot of. */
  vdi: VdiId;
};

export type SnapshotId = string;

/** Where the memory is kept, beside the disks. */
export type SnapshotMemory = {
  /** `None` while it is being taken. */
  kept?: KeptMemory | null;
  sr: SrId;
  vdi: VdiId;
};

export type SnapshotRef = {
  snapshot: string;
  /** Of this VM: several may have a snapshot of one name. */
  vm?: string | null;
};

export type SourceRef = {
  source: string;
};

/** A VM at its source. */
export type SourceVm = {
  disks: number;
  host: string;
  id: string;
  memory_mib: number;
  name: string;
  networks: Array<string>;
  os: string;
  /** `on`, `off` or `suspended`. */
  power: string;
  template: boolean;
  /** MiB that have to be moved, as far as known. */
  transfer_mib: number;
  vcpus: number;
};

export type Sr = {
  content?: SrContent;
  /** Snapshots and clones share blocks: at once, whatever the size. Otherwise they are copies. `None`: not heard. */
  copy_on_write?: boolean | null;
  /** Where it is attached. */
  hosts: Array<HostId>;
  id: SrId;
  name: string;
  pool: PoolId;
  /** Why it cannot be used where it is attached. */
  problem?: string | null;
  /** As a host said last. */
  space?: SrSpace | null;
  /** `None`: the local SR that every host has. */
  spec?: SrSpec | null;
  /** VDIs that are known in it. */
  vdis: number;
};

/** What an SR is for. */
export type SrContent = "vms" | "iso";

export type SrId = string;

export type SrOnHost = {
  host: string;
  sr: string;
};

export type SrRef = {
  sr: string;
};

/** What is in an SR, held against what is known. */
export type SrScan = {
  copy_on_write: boolean;
  damaged: Array<DamagedVdi>;
  host: HostId;
  /** VDIs that are there and known. */
  known: number;
  left_overs: Array<LeftOver>;
  /** Known, and not there. */
  missing: Array<VdiId>;
  /** There, and nobody's: of a lost record, or left by something that failed. */
  orphans: Array<VdiFacts>;
  space: SrSpace;
  sr: SrId;
};

/** Bytes of an SR. */
export type SrSpace = {
  /** What may still be written. */
  free: number;
  /** What VDIs take now; blocks that several share are counted for each. */
  physical: number;
  /** What VDIs may grow to. */
  promised: number;
  /** All there is. */
  total: number;
};

/** What an SR is made of, as an administrator says it. */
export type SrSpec = {
  kind: "folder";
  path: string;
} | {
  export: string;
  kind: "nfs";
  /** For `mount -o`, beside ours. */
  options?: string;
  server: string;
} | {
  /** By their paths, such as `/dev/disk/by-id/…`. None: the pool is there. */
  disks?: Array<string>;
  kind: "lvm-thin";
  /** One that is there, as `GROUP/POOL`. Empty: it is made of the disks. */
  pool?: string;
};

/** A VM that stands by for another. */
export type Standby = {
  /** Whether it is brought to each new backup by itself. */
  automatic: boolean;
  /** What it would start with. */
  backup?: string | null;
  /** When that was made. */
  backup_created?: string | null;
  /** Where it is. */
  host: HostId;
  /** Whether a fail-over takes the MAC addresses along. */
  keep_macs: boolean;
  name: string;
  /** When the newest backup was made that it could be brought to. */
  newest?: string | null;
  /** The VM that it stands by for. */
  of: VmId;
  /** `None`: that VM was deleted. */
  of_name?: string | null;
  /** Whose backups it follows. */
  repository: RepositoryId;
  repository_name: string;
  status: StandbyStatus;
  /** The VM that stands by. */
  vm: VmId;
};

export type StandbyRef = {
  /** The VM that stands by. */
  standby: string;
};

export type StandbyStatus = "ready" | "busy" | "incomplete";

/** Takes one VM from a source. */
export type StartImport = {
  /** When the source is shut down. Without it, the import follows the source until `import.cut_over`. */
  cut_over_at?: string | null;
  /** Seconds: cut over as soon as what changes between two passes is copied in so short a time. */
  downtime_s?: number | null;
  /** Power the source off when its guest does not shut down in time. */
  force?: boolean;
  /** Without one, the best host is chosen. */
  host?: string | null;
  /** Seconds between two passes while it follows; 0 stands for 600. */
  interval_s?: number;
  /** Without one, as there. */
  name?: string | null;
  networks?: Array<NetworkMapping>;
  /** Leave the guest as it is: it has Xen's drivers already, or is prepared by hand. */
  no_prepare?: boolean;
  pool?: string | null;
  /** Seconds that the guest may take to shut down; 0 stands for 300. */
  shutdown_s?: number;
  source: string;
  /** Start it here at the end. */
  start?: boolean;
  /** With any, a disk on a datastore without one is an error; without, all disks go to the local SR of the host. */
  storage?: Array<StorageMapping>;
  tags?: Array<string>;
  /** Switch changed-block tracking on at the source where it is off; a roll-back switches it off again. */
  track?: boolean;
  /** Compare all of both sides before the VM here is made. */
  verify?: boolean;
  /** Its name or id there. */
  vm: string;
};

export type StartVm = {
  vm: string;
};

export type StepStatus = "waiting" | "running" | "done" | "undone";

/** Our SR for one of the source's datastores. */
export type StorageMapping = {
  /** The source's name; `*` stands for all others. */
  from: string;
  /** Ours. */
  to: string;
};

export type SystemHealth = {
  /** Changes of VMs that hosts told since the orchestrator started. */
  changes_heard: number;
  hosts: number;
  hosts_unknown: number;
  /** The store refuses writes (its disk is full): the reason. */
  read_only?: string | null;
  tasks_active: number;
  vms: number;
  vms_running: number;
};

export type SystemInfo = {
  /** SHA-256 of the installation's authority. */
  authority: string;
  authority_expires?: string | null;
  /** The authority's certificate (PEM). Who trusts it trusts this orchestrator and its hosts. */
  authority_pem?: string;
  /** What browsers and the command line are shown. */
  certificate?: ShownCertificate | null;
  version: string;
};

export type Task = {
  created: string;
  ended?: string | null;
  id: TaskId;
  /** What is going on, or why it ended as it did. */
  message?: string | null;
  /** The method that began it: `vm.start`. */
  method: string;
  /** 0 to 100. */
  percent: number;
  status: TaskStatus;
  steps: Array<TaskStep>;
  /** Ids of the objects that it works on, as `vm/…`, `host/…`. */
  subjects: Array<string>;
  /** A sentence: "Start web-1". */
  title: string;
  user?: UserId | null;
  /** Who began it, by the name that they had then; `user:` in filters means this. `backup schedule` is nobody's. */
  user_name?: string;
};

export type TaskId = string;

export type TaskRef = {
  task: TaskId;
};

/** What a long method answers at once. */
export type TaskStarted = {
  /** The id of what the task makes or changes, where there is one. */
  object?: string | null;
  task: TaskId;
};

export type TaskStatus = "running" | "done" | "rolled-back" | "rolling-back" | "parked" | "abandoned";

/** One step of it. */
export type TaskStep = {
  name: string;
  status: StepStatus;
};

export type Template = {
  created: string;
  description: string;
  disks: Array<TemplateDisk>;
  /** What cloud-init is told in each VM made from it, in this order and before all else. */
  fragments?: Array<FragmentId>;
  graphics: Graphics;
  /** Where its disks are, and so the VMs made from it. */
  host: HostId;
  id: TemplateId;
  memory: MemorySpec;
  name: string;
  /** What a VM gets that asks for nothing else. */
  platform: Platform;
  pool: PoolId;
  /** Not before its disks are complete. */
  ready: boolean;
  vcpus: VcpuSpec;
};

export type TemplateDisk = {
  device: DiskDevice;
  /** `None`: not known before it is imported. */
  size?: VdiSize | null;
  sr: SrId;
  vdi: VdiId;
};

export type TemplateId = string;

export type TemplateRef = {
  template: string;
};

/** Of a terminal, in characters. */
export type TerminalSize = {
  columns: number;
  rows: number;
};

export type TestMail = {
  to: string;
};

export type Token = {
  /** What of its user's rights it has. */
  bindings: Array<Binding>;
  created: string;
  expires: string;
  id: TokenId;
  name: string;
  user: UserId;
};

export type TokenId = string;

export type TokenRef = {
  token: string;
};

/** For an authenticator app. The only time that the secret is shown; it counts once a code of it was given. */
export type TotpEnrolment = {
  /** The same secret in base32, to be typed. */
  secret: string;
  /** `otpauth://totp/…`, which apps read as a QR code. */
  uri: string;
};

export type Unit = "%" | "B" | "B/s" | "/s" | "W" | "";

/** A VM whose disks nobody would bring back. */
export type UnprotectedVm = {
  name: string;
  /** Its newest backup. */
  newest?: string | null;
  vm: VmId;
  why: WhyUnprotected;
};

/** What is left out stays. */
export type UpdateAlarmRule = {
  clear?: number | null;
  enabled?: boolean | null;
  filter?: string | null;
  for_s?: number | null;
  mail_to?: Array<string> | null;
  rule?: string;
  severity?: Severity | null;
  syslog?: string | null;
  threshold?: number | null;
  webhook?: string | null;
};

/** Only the fields that are given change. */
export type UpdateBackupJob = {
  /** Empty for none. */
  after?: string | null;
  bandwidth?: number | null;
  concurrency?: number | null;
  enabled?: boolean | null;
  exclude_disks?: Array<string> | null;
  filter?: string | null;
  include_disks?: Array<string> | null;
  job: string;
  keep?: KeepPolicy | null;
  mail_on?: MailOn | null;
  mail_to?: Array<string> | null;
  orchestrator?: boolean | null;
  prove?: number | null;
  prove_ports?: Array<number> | null;
  quiesce?: Quiesce | null;
  repositories?: Array<string> | null;
  retries?: number | null;
  rpo_minutes?: number | null;
  schedule?: string | null;
  timezone?: string | null;
  vms?: Array<string> | null;
  webhook?: string | null;
  window_minutes?: number | null;
};

/** What is not said stays. VMs that were made with it stay as they are. */
export type UpdateFragment = {
  description?: string | null;
  fragment: string;
  user_data?: string | null;
};

export type UpdatePool = {
  /** How many at the same time; 0 stands for 1. */
  at_once?: number;
  /** These hosts of it; none stands for all. */
  hosts?: Array<string>;
  /** VMs with disks that no other host reaches leave, too, and take those along, there and back. */
  move_disks?: boolean;
  pool: string;
  /** VMs that had to leave a host stay where they went to, and do not come back. */
  vms_stay?: boolean;
  what: HostUpdate;
};

/** Only the fields that are given change. */
export type UpdateRepository = {
  /** Bytes per second; holds from now on, also for backups that run. 0 for no limit. */
  bandwidth?: number | null;
  /** Holds for backups that begin from now on; 0 for no limit. */
  concurrency?: number | null;
  repository: string;
};

/** Only the fields that are given change. */
export type UpdateUser = {
  bindings?: Array<Binding> | null;
  disabled?: boolean | null;
  password?: string | null;
  user: string;
};

/** Only the fields that are given change. What a running VM can take is applied at once. */
export type UpdateVm = {
  /** Replaces all that the caller sees; heeded when the VM is placed the next time. */
  apart_from?: Array<string> | null;
  autostart?: Autostart | null;
  /** Replaces all of them. */
  custom?: Record<string, string> | null;
  description?: string | null;
  graphics?: Graphics | null;
  /** Replaces all of it. */
  hardware?: NewHardware | null;
  memory?: MemorySpec | null;
  name?: VmName | null;
  /** Turns autostart off. */
  no_autostart?: boolean;
  on_crash?: CrashAction | null;
  on_reboot?: RebootAction | null;
  platform?: Platform | null;
  protection?: Protection | null;
  tags?: Array<string> | null;
  /** As `apart_from`. */
  together_with?: Array<string> | null;
  vcpus?: VcpuSpec | null;
  vm: string;
};

/** A new system for a host. */
export type UpgradeHost = {
  /** First moves its VMs to other hosts. Without it, none may run. */
  evacuate?: boolean;
  host: string;
  /** Evacuated, they take disks along that no other host reaches. */
  move_disks?: boolean;
  /** Of a folder with the image as it is on the medium in `live` (http or https): `image.json`, its signature, and `filesystem.squashfs`. The host downloads it. */
  url: string;
};

/** What joins the bridge of a network with the world. */
export type Uplink = {
  kind: "internal";
} | {
  interface: InterfaceName;
  kind: "interface";
  vlan?: Vlan | null;
} | {
  bond: InterfaceName;
  interfaces: Array<InterfaceName>;
  kind: "bond";
  mode: BondMode;
  vlan?: Vlan | null;
} | {
  kind: "private";
  vni: Vni;
};

export type UploadDisk = {
  /** Bytes, at most the size of the VDI. */
  capacity: number;
  name: string;
};

/** The right to send disks to a host. It opens each disk until that is whole. */
export type UploadTicket = {
  /** `host:port` of the host that takes them. */
  address: string;
  /** Who signed that certificate (PEM). */
  authority_pem: string;
  disks: Array<ImportDisk>;
  /** The name in the host's certificate. */
  server_name: string;
  /** Shown this once; a new one replaces it. */
  ticket: string;
};

/** A VDI whose contents somebody sends. */
export type UploadVdi = {
  /** Bytes of the disk that comes. The VDI has the next whole MiB. */
  capacity: number;
  /** In the local SR of this host, unless `sr` says otherwise. */
  host: string;
  name: string;
  sr?: string | null;
};

/** A VM whose disks somebody will send. */
export type UploadVm = {
  /** What comes, in the order of `vm.disks`, which have to be new ones. */
  disks: Array<UploadDisk>;
  /** The file it comes from, for people. */
  file: string;
  /** Leave the guest as it is: it has Xen's drivers already, or is prepared by hand. */
  no_prepare?: boolean;
  /** The VM to make; `start` starts it when its disks are whole. */
  vm: CreateVm;
};

export type User = {
  bindings: Array<Binding>;
  created: string;
  disabled: boolean;
  id: UserId;
  last_login?: string | null;
  name: string;
  /** After the password, signing in asks for a code. */
  totp?: boolean;
  /** Told by `auth.whoami` alone: a role asks for that, and until it is so nothing but the account is open. */
  totp_due?: boolean;
};

/** What a user may do, on what, and by which of their roles. */
export type UserAccess = {
  /** Why nothing of this holds at present. */
  barred?: Barred | null;
  name: string;
  /** Those that they have, in a fixed order. What is not here, they may not do. */
  permissions: Array<PermissionAccess>;
  user: UserId;
};

export type UserId = string;

export type UserRef = {
  user: string;
};

export type VcpuCount = number;

/** Virtual CPUs: those a guest starts with, and how many it can be given while it runs. */
export type VcpuSpec = {
  max: VcpuCount;
  online: VcpuCount;
};

export type Vdi = {
  attached_to?: VmId | null;
  /** The task that still makes it, fills it or takes it from its VM: nothing uses it before that is done. */
  held_by?: TaskId | null;
  /** The host that works on it: that of its VM. Only in a shared SR may it become another one. */
  host: HostId;
  id: VdiId;
  /** Of a VDI that several hosts reach: which of them may write it. Only where one VDI is asked for, and the SR answers. */
  leased_to?: VdiLease | null;
  name: string;
  size: VdiSize;
  sr: SrId;
};

/** One message about the rows of a list. */
export type VdiChange = {
  kind: "added";
  value: Vdi;
} | {
  kind: "changed";
  value: Vdi;
} | {
  kind: "removed";
  value: VdiId;
} | {
  kind: "ready";
  value: {
  /** Good for `since`. */
  revision?: string;
  total: number;
};
} | {
  kind: "seen";
  value: {
  revision: string;
};
} | {
  kind: "resync";
};

/** The right to read a VDI from its host. `https://ADDRESS/v1/images/VDI/raw`, `Authorization: Bearer TICKET`. */
export type VdiDownload = {
  /** `host:port` of the host that gives it. */
  address: string;
  /** Who signed that certificate (PEM). */
  authority_pem: string;
  /** The name in the host's certificate. */
  server_name: string;
  size: VdiSize;
  /** Shown this once; a new one replaces it. */
  ticket: string;
  /** The id of the contents: the VDI's, or what the snapshot keeps them as. */
  vdi: VdiId;
};

/** A VDI as the agent finds it. */
export type VdiFacts = {
  /** Bytes that it takes from its SR. */
  physical: number;
  size: VdiSize;
  /** Set for a snapshot, which never changes. */
  snapshot_of?: VdiId | null;
  sr: SrId;
  vdi: VdiId;
};

export type VdiId = string;

/** As it lies beside the VDI. */
export type VdiLease = {
  host: HostId;
  /** For people: what the host is called. */
  host_name: string;
  /** `None`: the agent itself writes the VDI. */
  vm?: LeasedTo | null;
};

export type VdiRef = {
  vdi: string;
};

/** bytes */
export type VdiSize = number;

export type VerifyRepository = {
  /** Decrypt and name every chunk, too. */
  deep?: boolean;
  repository: string;
};

export type Video = {
  adapter: VideoAdapter;
  memory: MemoryMiB;
};

export type VideoAdapter = "std" | "cirrus";

export type VifLink = "up" | "down";

/** What a guest may give as its own address. */
export type VifLock = "open" | "mac" | "addresses";

/** What an administrator says about one NIC. */
export type VifSettings = {
  /** The guest's addresses, for [`VifLock::Addresses`] and for rules that name a tag of the VM. */
  addresses?: Array<string>;
  link?: VifLink;
  lock?: VifLock;
  /** In each direction. What is more is dropped. */
  rate_mbit?: RateMbit | null;
};

export type Vlan = number;

/** What was asked for and what is. */
export type Vm = {
  /** VMs that it should not share a host with. */
  apart_from?: Array<VmId>;
  created?: string | null;
  /** Whatever the administrator wants to keep with it. */
  custom?: Record<string, string>;
  definition: number;
  description: string;
  /** Where it is defined; `None` until it was placed. */
  host?: HostId | null;
  id: VmId;
  /** `false`: a domain that Xenith did not make; it can be looked at only. */
  managed: boolean;
  name: string;
  /** As its host last said. */
  observed?: ObservedVm | null;
  /** What of the definition waits for the next start. */
  pending_restart: Array<string>;
  pool: PoolId;
  power: Power;
  protection?: Protection;
  /** The definition; `None` for unmanaged ones. */
  spec?: VmSpec | null;
  /** The VM that it stands by for: it follows that one's backups, and is not started or changed. */
  standby_of?: VmId | null;
  tags: Array<string>;
  /** VMs that it should share a host with. */
  together_with?: Array<VmId>;
};

export type VmAssessment = {
  findings: Array<ImportFinding>;
  id: string;
  /** What will be read: changed blocks, whole disks, or those of a VM that is off. */
  method: string;
  /** Nothing speaks against it that has to be put right first. */
  movable: boolean;
  name: string;
  transfer_mib: number;
};

/** How many VMs a filter lets through. */
export type VmCount = {
  running: number;
  total: number;
};

/** Why the last thing that the agent tried with a VM did not work, for people to read. */
export type VmFailure = {
  at: string;
  message: string;
};

export type VmId = string;

export type VmName = string;

export type VmRef = {
  vm: string;
};

/** A row of a list: what tables show. */
export type VmRow = {
  addresses: Array<string>;
  host?: HostId | null;
  host_name?: string | null;
  id: VmId;
  kind: string;
  managed: boolean;
  memory: MemoryMiB;
  name: string;
  os?: string | null;
  pool?: string | null;
  power: Power;
  tags: Array<string>;
  vcpus: number;
};

/** One message about the rows of a list. */
export type VmRowChange = {
  kind: "added";
  value: VmRow;
} | {
  kind: "changed";
  value: VmRow;
} | {
  kind: "removed";
  value: VmId;
} | {
  kind: "ready";
  value: {
  /** Good for `since`. */
  revision?: string;
  total: number;
};
} | {
  kind: "seen";
  value: {
  revision: string;
};
} | {
  kind: "resync";
};

export type VmSpec = {
  /** Started by the agent when its host boots, with or without an orchestrator. */
  autostart?: Autostart | null;
  disks?: Array<DiskSpec>;
  graphics?: Graphics;
  hardware?: Hardware;
  memory: MemorySpec;
  name: VmName;
  nics?: Array<NicSpec>;
  on_crash?: CrashAction;
  on_reboot?: RebootAction;
  platform: Platform;
  vcpus: VcpuSpec;
};

export type Vni = number;

/** Parameters of `event.subscribe`. */
export type WatchEvents = {
  /** The filter language, as for `event.list`. Empty: everything. */
  filter?: string;
  /** The event that was told last: those that happened since come first, as far as they are kept. */
  since?: EventId | null;
};

/** Parameters of `vm.subscribe`, `host.subscribe` and `vdi.subscribe`. */
export type WatchRows = {
  /** The filter language, as for lists. Empty: everything. */
  filter?: string;
  /** Leaves out what is there and begins with the first change: for who shows pages of `vm.list`. */
  only_changes?: boolean;
  /** Goes on from here: `revision` of a page, of `ready` or of `seen`. What changed since comes, and nothing else; a row comes as `changed` whether it was there before or not. `resync` where that cannot be told: it is too long ago, the orchestrator has started again, or the caller sees something else than then. */
  since?: string | null;
};

/** Parameters of `task.subscribe`. */
export type WatchTasks = {
  /** The filter language, as for `task.list`; not together with `task`. A task that no longer passes is told one last time, as it is then. */
  filter?: string;
  /** One task: the subscription ends with it. Otherwise all that the caller may see. */
  task?: TaskId | null;
};

export type Wave = {
  caps: WaveCaps;
  created: string;
  ended?: string | null;
  id: ImportPlanId;
  members: Array<WaveMember>;
  moved_mib: number;
  name: string;
  options: WaveOptions;
  source: ImportSourceId;
  status: WaveStatus;
  /** Of all members, and of those that have moved. */
  total_mib: number;
};

/** How many move at a time; 0 stands for the default. */
export type WaveCaps = {
  /** Of all. */
  overall?: number;
  /** From one datastore. */
  per_datastore?: number;
  /** From one host of the source: above ten, an ESXi host runs out of the memory it sets aside for transfers. */
  per_host?: number;
  /** To one SR here. */
  per_sr?: number;
  /** To one host here. */
  per_target?: number;
};

export type WaveMember = {
  /** Once it has begun. */
  import?: ImportId | null;
  /** Why it could not begin, or what it waits for. */
  message?: string | null;
  name: string;
  step: WaveStep;
  transfer_mib: number;
  /** Its id at the source. */
  vm: string;
};

/** What all VMs of a wave have in common; as in `import.start`. */
export type WaveOptions = {
  /** When the sources are shut down. Without it, each follows its source until `import.cut_over`. */
  cut_over_at?: string | null;
  /** Seconds: each cuts over as soon as what changes between two passes is copied in so short a time. */
  downtime_s?: number | null;
  force?: boolean;
  /** Without one, the best host is chosen for each VM. */
  host?: string | null;
  interval_s?: number;
  networks?: Array<NetworkMapping>;
  no_prepare?: boolean;
  pool?: string | null;
  shutdown_s?: number;
  /** Start them here at the end. */
  start?: boolean;
  storage?: Array<StorageMapping>;
  tags?: Array<string>;
  track?: boolean;
  verify?: boolean;
};

export type WaveRef = {
  /** The wave's id or name. */
  wave: string;
};

export type WaveStatus = "running" | "planned" | "paused" | "done";

export type WaveStep = "moved" | "rolled-back" | "waiting" | "moving" | "following" | "stuck" | "refused";

export type WhyUnprotected = "too_old" | "no_job" | "no_backup";

/** What the VM did while its memory was written. */
export type WrittenWhile = "running" | "standing";

export type XenVersion = {
  /** `.7` and the like; may name the distribution. */
  extra: string;
  major: number;
  minor: number;
};

export interface Methods {
  'auth.login': { params: Credentials; result: LoggedIn };
  'auth.logout': { params: Empty; result: Empty };
  'auth.whoami': { params: Empty; result: User };
  'auth.change_password': { params: NewPassword; result: Empty };
  'user.list': { params: ListRequest; result: Page<User> };
  'user.get': { params: UserRef; result: User };
  'user.access': { params: AccessOf; result: UserAccess };
  'user.create': { params: CreateUser; result: User };
  'user.update': { params: UpdateUser; result: User };
  'user.delete': { params: UserRef; result: Empty };
  'user.totp_enrol': { params: OwnPassword; result: TotpEnrolment };
  'user.totp_confirm': { params: ConfirmTotp; result: RecoveryCodes };
  'user.totp_disable': { params: OwnPassword; result: User };
  'user.totp_reset': { params: UserRef; result: User };
  'token.list': { params: ListRequest; result: Page<Token> };
  'token.create': { params: CreateToken; result: CreatedToken };
  'token.revoke': { params: TokenRef; result: Empty };
  'role.list': { params: ListRequest; result: Page<RoleInfo> };
  'host.list': { params: ListRequest; result: Page<Host> };
  'host.get': { params: HostRef; result: Host };
  'host.hardware': { params: HostRef; result: HostHardware };
  'host.add': { params: AddHost; result: JoinTokenIssued };
  'host.set_maintenance': { params: HostMaintenance; result: Host };
  'host.evacuate': { params: EvacuateHost; result: Evacuation };
  'host.upgrade': { params: UpgradeHost; result: TaskStarted };
  'host.reboot': { params: EndBoot; result: TaskStarted };
  'host.shutdown': { params: EndBoot; result: TaskStarted };
  'host.power_control': { params: HostRef; result: HostPowerControl };
  'host.set_power_control': { params: SetPowerControl; result: HostPowerControl };
  'host.power': { params: OrderPower; result: HostMachinePower };
  'host.set_address': { params: HostAddress; result: Host };
  'host.set_peer_address': { params: HostPeerAddress; result: Host };
  'host.set_management': { params: HostManagement; result: TaskStarted };
  'host.remove': { params: RemoveHost; result: Empty };
  'pool.list': { params: ListRequest; result: Page<Pool> };
  'pool.create': { params: CreatePool; result: Pool };
  'pool.delete': { params: PoolRef; result: Empty };
  'pool.balance_status': { params: PoolRef; result: BalanceStatus };
  'pool.set_balance': { params: SetBalance; result: BalanceStatus };
  'pool.balance': { params: BalancePool; result: TaskStarted };
  'pool.cpu_level': { params: PoolRef; result: CpuLevelStatus };
  'pool.set_cpu_level': { params: SetCpuLevel; result: CpuLevelStatus };
  'pool.update': { params: UpdatePool; result: TaskStarted };
  'pool.update_status': { params: PoolRef; result: PoolUpdateStatus };
  'pool.pause_update': { params: PoolRef; result: PoolUpdateStatus };
  'pool.resume_update': { params: PoolRef; result: PoolUpdateStatus };
  'vm.list': { params: ListRequest; result: Page<VmRow> };
  'vm.count': { params: ListRequest; result: VmCount };
  'vm.complete': { params: CompleteFilter; result: Completion };
  'vm.get': { params: VmRef; result: Vm };
  'vm.place': { params: PlaceVm; result: Placement };
  'vm.create': { params: CreateVm; result: TaskStarted };
  'vm.update': { params: UpdateVm; result: TaskStarted };
  'vm.delete': { params: DeleteVm; result: TaskStarted };
  'vm.start': { params: StartVm; result: TaskStarted };
  'vm.shutdown': { params: ShutdownVm; result: TaskStarted };
  'vm.reboot': { params: ShutdownVm; result: TaskStarted };
  'vm.power_off': { params: PowerOffVm; result: TaskStarted };
  'vm.pause': { params: VmRef; result: TaskStarted };
  'vm.unpause': { params: VmRef; result: TaskStarted };
  'vm.suspend': { params: VmRef; result: TaskStarted };
  'vm.resume': { params: VmRef; result: TaskStarted };
  'vm.migrate': { params: MigrateVm; result: TaskStarted };
  'vm.attach_disk': { params: DiskAttachment; result: TaskStarted };
  'vm.detach_disk': { params: DiskDetachment; result: TaskStarted };
  'vm.insert_cd': { params: CdInsertion; result: TaskStarted };
  'vm.eject_cd': { params: VmRef; result: TaskStarted };
  'vm.clone': { params: CloneVm; result: TaskStarted };
  'vm.bulk': { params: BulkVms; result: Array<BulkResult> };
  'vm.attach_nic': { params: NicAttachment; result: TaskStarted };
  'vm.detach_nic': { params: NicDetachment; result: TaskStarted };
  'vm.nics': { params: VmRef; result: Array<NicSettings> };
  'vm.set_nic': { params: NicChange; result: NicSettings };
  'network.list': { params: ListRequest; result: Page<Network> };
  'network.create': { params: CreateNetwork; result: Network };
  'network.status': { params: NetworkRef; result: NetworkStatus };
  'network.set_encryption': { params: NetworkEncryption; result: Network };
  'network.delete': { params: NetworkRef; result: Empty };
  'security_group.list': { params: ListRequest; result: Page<SecurityGroup> };
  'security_group.create': { params: CreateSecurityGroup; result: SecurityGroup };
  'security_group.set_rules': { params: SetSecurityGroupRules; result: SecurityGroup };
  'security_group.delete': { params: SecurityGroupRef; result: Empty };
  'vdi.list': { params: ListRequest; result: Page<Vdi> };
  'vdi.get': { params: VdiRef; result: Vdi };
  'vdi.create': { params: CreateVdi; result: TaskStarted };
  'vdi.import': { params: ImportVdi; result: TaskStarted };
  'vdi.resize': { params: ResizeVdi; result: TaskStarted };
  'vdi.clone': { params: CloneVdi; result: TaskStarted };
  'vdi.copy': { params: CopyVdi; result: TaskStarted };
  'vdi.migrate': { params: MigrateVdi; result: TaskStarted };
  'vdi.upload': { params: UploadVdi; result: TaskStarted };
  'vdi.upload_ticket': { params: VdiRef; result: UploadTicket };
  'vdi.export': { params: ExportVdi; result: VdiDownload };
  'vdi.break_lease': { params: BreakLease; result: BrokenLease };
  'vdi.delete': { params: VdiRef; result: TaskStarted };
  'import.list': { params: ListImports; result: Page<Import> };
  'import.get': { params: ImportRef; result: Import };
  'import.upload': { params: UploadVm; result: TaskStarted };
  'import.ticket': { params: ImportRef; result: UploadTicket };
  'import.connect': { params: ConnectSource; result: ImportSource };
  'import.sources': { params: Empty; result: Array<ImportSource> };
  'import.disconnect': { params: SourceRef; result: Empty };
  'import.inventory': { params: LookAtSource; result: Array<SourceVm> };
  'import.assess': { params: LookAtSource; result: Array<VmAssessment> };
  'import.plan': { params: PlanImports; result: ImportPlan };
  'import.start': { params: StartImport; result: TaskStarted };
  'import.cut_over': { params: CutOverImport; result: Import };
  'import.prepare': { params: PrepareImport; result: Import };
  'import.roll_back': { params: ImportRef; result: Import };
  'import.archive': { params: ImportRef; result: Import };
  'wave.list': { params: ListRequest; result: Page<Wave> };
  'wave.get': { params: WaveRef; result: Wave };
  'wave.create': { params: CreateWave; result: Wave };
  'wave.start': { params: WaveRef; result: Wave };
  'wave.pause': { params: WaveRef; result: Wave };
  'wave.delete': { params: WaveRef; result: Empty };
  'console.vm': { params: OpenVmConsole; result: ConsoleTicket };
  'console.host': { params: OpenHostConsole; result: ConsoleTicket };
  'sr.list': { params: ListRequest; result: Page<Sr> };
  'sr.get': { params: SrRef; result: Sr };
  'sr.create': { params: CreateSr; result: TaskStarted };
  'sr.attach': { params: SrOnHost; result: TaskStarted };
  'sr.detach': { params: SrOnHost; result: TaskStarted };
  'sr.forget': { params: SrRef; result: Empty };
  'sr.scan': { params: SrRef; result: SrScan };
  'sr.adopt': { params: AdoptVdi; result: Vdi };
  'iso.list': { params: ListRequest; result: Page<Vdi> };
  'template.list': { params: ListRequest; result: Page<Template> };
  'template.get': { params: TemplateRef; result: Template };
  'template.create': { params: CreateTemplate; result: TaskStarted };
  'template.import': { params: ImportTemplate; result: TaskStarted };
  'template.delete': { params: TemplateRef; result: TaskStarted };
  'template.deploy': { params: DeployTemplate; result: TaskStarted };
  'template.set_fragments': { params: SetTemplateFragments; result: Template };
  'fragment.list': { params: ListRequest; result: Page<Fragment> };
  'fragment.get': { params: FragmentRef; result: FragmentContents };
  'fragment.create': { params: CreateFragment; result: Fragment };
  'fragment.update': { params: UpdateFragment; result: Fragment };
  'fragment.delete': { params: FragmentRef; result: Empty };
  'snapshot.list': { params: ListSnapshots; result: Page<Snapshot> };
  'snapshot.get': { params: SnapshotRef; result: Snapshot };
  'snapshot.create': { params: CreateSnapshot; result: TaskStarted };
  'snapshot.revert': { params: RevertSnapshot; result: TaskStarted };
  'snapshot.delete': { params: SnapshotRef; result: TaskStarted };
  'snapshot.clone': { params: CloneSnapshot; result: TaskStarted };
  'repository.list': { params: ListRequest; result: Page<Repository> };
  'repository.get': { params: RepositoryRef; result: Repository };
  'repository.create': { params: CreateRepository; result: TaskStarted };
  'repository.update': { params: UpdateRepository; result: Repository };
  'repository.test': { params: RepositoryRef; result: TaskStarted };
  'repository.verify': { params: VerifyRepository; result: TaskStarted };
  'repository.key': { params: RepositoryRef; result: RepositorySecret };
  'repository.delete': { params: RepositoryRef; result: Empty };
  'backup_job.list': { params: ListRequest; result: Page<BackupJob> };
  'backup_job.get': { params: BackupJobRef; result: BackupJob };
  'backup_job.create': { params: CreateBackupJob; result: BackupJob };
  'backup_job.update': { params: UpdateBackupJob; result: BackupJob };
  'backup_job.delete': { params: BackupJobRef; result: Empty };
  'backup_job.run': { params: BackupJobRef; result: RunStarted };
  'backup_run.list': { params: ListBackupRuns; result: Page<BackupRun> };
  'backup_run.get': { params: BackupRunRef; result: BackupRun };
  'backup_run.cancel': { params: BackupRunRef; result: BackupRun };
  'backup.list': { params: ListBackups; result: Page<Backup> };
  'backup.get': { params: BackupRef; result: Backup };
  'backup.unprotected': { params: ListUnprotected; result: Page<UnprotectedVm> };
  'backup.create': { params: CreateBackup; result: TaskStarted };
  'backup.hold': { params: HoldBackup; result: TaskStarted };
  'backup.delete': { params: BackupRef; result: TaskStarted };
  'backup.files': { params: ListBackupFiles; result: BackupFiles };
  'backup.download': { params: DownloadFiles; result: DownloadTicket };
  'backup.prove': { params: ProveBackup; result: TaskStarted };
  'backup.restore': { params: RestoreBackup; result: TaskStarted };
  'standby.list': { params: ListRequest; result: Page<Standby> };
  'standby.get': { params: StandbyRef; result: Standby };
  'standby.create': { params: CreateStandby; result: TaskStarted };
  'standby.follow': { params: StandbyRef; result: TaskStarted };
  'standby.fail_over': { params: FailOverStandby; result: TaskStarted };
  'standby.fail_back': { params: FailBackStandby; result: TaskStarted };
  'standby.release': { params: StandbyRef; result: Empty };
  'standby.delete': { params: StandbyRef; result: TaskStarted };
  'task.list': { params: ListTasks; result: Page<Task> };
  'task.get': { params: TaskRef; result: Task };
  'task.cancel': { params: TaskRef; result: Task };
  'task.retry': { params: TaskRef; result: Task };
  'task.abandon': { params: TaskRef; result: Task };
  'ha.show': { params: HaRef; result: PoolHa };
  'ha.enable': { params: EnableHa; result: PoolHa };
  'ha.disable': { params: HaRef; result: PoolHa };
  'ha.set_priority': { params: SetRestartPriority; result: PoolHa };
  'orphan.list': { params: ListRequest; result: Page<Orphan> };
  'event.list': { params: ListEvents; result: Page<Event> };
  'filter.complete': { params: CompleteListFilter; result: Completion };
  'metrics.list': { params: Empty; result: Array<MetricInfo> };
  'metrics.query': { params: QueryMetrics; result: MetricSeriesList };
  'alarm.list': { params: ListRequest; result: Page<Alarm> };
  'alarm.silence': { params: SilenceAlarms; result: AlarmSilence };
  'alarm.silences': { params: Empty; result: Array<AlarmSilence> };
  'alarm.unsilence': { params: AlarmSilenceRef; result: Empty };
  'alarm_rule.list': { params: Empty; result: Array<AlarmRule> };
  'alarm_rule.get': { params: AlarmRuleRef; result: AlarmRule };
  'alarm_rule.create': { params: CreateAlarmRule; result: AlarmRule };
  'alarm_rule.update': { params: UpdateAlarmRule; result: AlarmRule };
  'alarm_rule.delete': { params: AlarmRuleRef; result: Empty };
  'audit.list': { params: ListAudit; result: Page<AuditRecord> };
  'audit.verify': { params: Empty; result: AuditVerified };
  'mail.get': { params: Empty; result: MailSettings };
  'mail.set': { params: SetMail; result: MailSettings };
  'mail.test': { params: TestMail; result: Empty };
  'system.info': { params: Empty; result: SystemInfo };
  'system.health': { params: Empty; result: SystemHealth };
}

export type MethodName = keyof Methods;

export interface MethodInfo {
  permission: Permission;
  mutation: boolean;
  dryRun: boolean;
}

export const METHODS: Record<MethodName, MethodInfo> = {
  'auth.login': { permission: 'anyone', mutation: true, dryRun: false },
  'auth.logout': { permission: 'own', mutation: true, dryRun: false },
  'auth.whoami': { permission: 'own', mutation: false, dryRun: false },
  'auth.change_password': { permission: 'own', mutation: true, dryRun: false },
  'user.list': { permission: 'secure', mutation: false, dryRun: false },
  'user.get': { permission: 'secure', mutation: false, dryRun: false },
  'user.access': { permission: 'own', mutation: false, dryRun: false },
  'user.create': { permission: 'secure', mutation: true, dryRun: false },
  'user.update': { permission: 'secure', mutation: true, dryRun: false },
  'user.delete': { permission: 'secure', mutation: true, dryRun: false },
  'user.totp_enrol': { permission: 'own', mutation: true, dryRun: false },
  'user.totp_confirm': { permission: 'own', mutation: true, dryRun: false },
  'user.totp_disable': { permission: 'own', mutation: true, dryRun: false },
  'user.totp_reset': { permission: 'secure', mutation: true, dryRun: false },
  'token.list': { permission: 'own', mutation: false, dryRun: false },
  'token.create': { permission: 'own', mutation: true, dryRun: false },
  'token.revoke': { permission: 'own', mutation: true, dryRun: false },
  'role.list': { permission: 'own', mutation: false, dryRun: false },
  'host.list': { permission: 'view', mutation: false, dryRun: false },
  'host.get': { permission: 'view', mutation: false, dryRun: false },
  'host.hardware': { permission: 'view', mutation: false, dryRun: false },
  'host.add': { permission: 'administer', mutation: true, dryRun: false },
  'host.set_maintenance': { permission: 'administer', mutation: true, dryRun: false },
  'host.evacuate': { permission: 'administer', mutation: true, dryRun: true },
  'host.upgrade': { permission: 'administer', mutation: true, dryRun: true },
  'host.reboot': { permission: 'administer', mutation: true, dryRun: true },
  'host.shutdown': { permission: 'administer', mutation: true, dryRun: true },
  'host.power_control': { permission: 'administer', mutation: false, dryRun: false },
  'host.set_power_control': { permission: 'administer', mutation: true, dryRun: false },
  'host.power': { permission: 'administer', mutation: true, dryRun: false },
  'host.set_address': { permission: 'administer', mutation: true, dryRun: false },
  'host.set_peer_address': { permission: 'administer', mutation: true, dryRun: false },
  'host.set_management': { permission: 'administer', mutation: true, dryRun: true },
  'host.remove': { permission: 'administer', mutation: true, dryRun: true },
  'pool.list': { permission: 'view', mutation: false, dryRun: false },
  'pool.create': { permission: 'system', mutation: true, dryRun: false },
  'pool.delete': { permission: 'system', mutation: true, dryRun: false },
  'pool.balance_status': { permission: 'view', mutation: false, dryRun: false },
  'pool.set_balance': { permission: 'administer', mutation: true, dryRun: false },
  'pool.balance': { permission: 'administer', mutation: true, dryRun: true },
  'pool.cpu_level': { permission: 'view', mutation: false, dryRun: false },
  'pool.set_cpu_level': { permission: 'administer', mutation: true, dryRun: true },
  'pool.update': { permission: 'administer', mutation: true, dryRun: true },
  'pool.update_status': { permission: 'view', mutation: false, dryRun: false },
  'pool.pause_update': { permission: 'administer', mutation: true, dryRun: false },
  'pool.resume_update': { permission: 'administer', mutation: true, dryRun: false },
  'vm.list': { permission: 'view', mutation: false, dryRun: false },
  'vm.count': { permission: 'view', mutation: false, dryRun: false },
  'vm.complete': { permission: 'view', mutation: false, dryRun: false },
  'vm.get': { permission: 'view', mutation: false, dryRun: false },
  'vm.place': { permission: 'view', mutation: false, dryRun: false },
  'vm.create': { permission: 'provision', mutation: true, dryRun: true },
  'vm.update': { permission: 'operate', mutation: true, dryRun: true },
  'vm.delete': { permission: 'provision', mutation: true, dryRun: true },
  'vm.start': { permission: 'operate', mutation: true, dryRun: true },
  'vm.shutdown': { permission: 'operate', mutation: true, dryRun: true },
  'vm.reboot': { permission: 'operate', mutation: true, dryRun: true },
  'vm.power_off': { permission: 'operate', mutation: true, dryRun: true },
  'vm.pause': { permission: 'operate', mutation: true, dryRun: true },
  'vm.unpause': { permission: 'operate', mutation: true, dryRun: true },
  'vm.suspend': { permission: 'operate', mutation: true, dryRun: true },
  'vm.resume': { permission: 'operate', mutation: true, dryRun: true },
  'vm.migrate': { permission: 'provision', mutation: true, dryRun: true },
  'vm.attach_disk': { permission: 'provision', mutation: true, dryRun: true },
  'vm.detach_disk': { permission: 'operate', mutation: true, dryRun: true },
  'vm.insert_cd': { permission: 'operate', mutation: true, dryRun: true },
  'vm.eject_cd': { permission: 'operate', mutation: true, dryRun: true },
  'vm.clone': { permission: 'provision', mutation: true, dryRun: true },
  'vm.bulk': { permission: 'operate', mutation: true, dryRun: false },
  'vm.attach_nic': { permission: 'operate', mutation: true, dryRun: true },
  'vm.detach_nic': { permission: 'operate', mutation: true, dryRun: true },
  'vm.nics': { permission: 'view', mutation: false, dryRun: false },
  'vm.set_nic': { permission: 'administer', mutation: true, dryRun: false },
  'network.list': { permission: 'view', mutation: false, dryRun: false },
  'network.create': { permission: 'administer', mutation: true, dryRun: false },
  'network.status': { permission: 'view', mutation: false, dryRun: false },
  'network.set_encryption': { permission: 'administer', mutation: true, dryRun: false },
  'network.delete': { permission: 'administer', mutation: true, dryRun: false },
  'security_group.list': { permission: 'view', mutation: false, dryRun: false },
  'security_group.create': { permission: 'administer', mutation: true, dryRun: false },
  'security_group.set_rules': { permission: 'administer', mutation: true, dryRun: false },
  'security_group.delete': { permission: 'administer', mutation: true, dryRun: false },
  'vdi.list': { permission: 'view', mutation: false, dryRun: false },
  'vdi.get': { permission: 'view', mutation: false, dryRun: false },
  'vdi.create': { permission: 'provision', mutation: true, dryRun: false },
  'vdi.import': { permission: 'provision', mutation: true, dryRun: false },
  'vdi.resize': { permission: 'provision', mutation: true, dryRun: false },
  'vdi.clone': { permission: 'provision', mutation: true, dryRun: false },
  'vdi.copy': { permission: 'provision', mutation: true, dryRun: false },
  'vdi.migrate': { permission: 'provision', mutation: true, dryRun: true },
  'vdi.upload': { permission: 'provision', mutation: true, dryRun: false },
  'vdi.upload_ticket': { permission: 'provision', mutation: true, dryRun: false },
  'vdi.export': { permission: 'provision', mutation: true, dryRun: false },
  'vdi.break_lease': { permission: 'administer', mutation: true, dryRun: true },
  'vdi.delete': { permission: 'provision', mutation: true, dryRun: true },
  'import.list': { permission: 'view', mutation: false, dryRun: false },
  'import.get': { permission: 'view', mutation: false, dryRun: false },
  'import.upload': { permission: 'provision', mutation: true, dryRun: true },
  'import.ticket': { permission: 'provision', mutation: true, dryRun: false },
  'import.connect': { permission: 'system', mutation: true, dryRun: false },
  'import.sources': { permission: 'system', mutation: false, dryRun: false },
  'import.disconnect': { permission: 'system', mutation: true, dryRun: false },
  'import.inventory': { permission: 'system', mutation: false, dryRun: false },
  'import.assess': { permission: 'system', mutation: false, dryRun: false },
  'import.plan': { permission: 'system', mutation: false, dryRun: false },
  'import.start': { permission: 'system', mutation: true, dryRun: true },
  'import.cut_over': { permission: 'provision', mutation: true, dryRun: false },
  'import.prepare': { permission: 'provision', mutation: true, dryRun: false },
  'import.roll_back': { permission: 'provision', mutation: true, dryRun: false },
  'import.archive': { permission: 'provision', mutation: true, dryRun: false },
  'wave.list': { permission: 'system', mutation: false, dryRun: false },
  'wave.get': { permission: 'system', mutation: false, dryRun: false },
  'wave.create': { permission: 'system', mutation: true, dryRun: false },
  'wave.start': { permission: 'system', mutation: true, dryRun: false },
  'wave.pause': { permission: 'system', mutation: true, dryRun: false },
  'wave.delete': { permission: 'system', mutation: true, dryRun: false },
  'console.vm': { permission: 'operate', mutation: true, dryRun: false },
  'console.host': { permission: 'system', mutation: true, dryRun: false },
  'sr.list': { permission: 'view', mutation: false, dryRun: false },
  'sr.get': { permission: 'view', mutation: false, dryRun: false },
  'sr.create': { permission: 'administer', mutation: true, dryRun: false },
  'sr.attach': { permission: 'administer', mutation: true, dryRun: false },
  'sr.detach': { permission: 'administer', mutation: true, dryRun: false },
  'sr.forget': { permission: 'administer', mutation: true, dryRun: false },
  'sr.scan': { permission: 'view', mutation: false, dryRun: false },
  'sr.adopt': { permission: 'administer', mutation: true, dryRun: false },
  'iso.list': { permission: 'view', mutation: false, dryRun: false },
  'template.list': { permission: 'view', mutation: false, dryRun: false },
  'template.get': { permission: 'view', mutation: false, dryRun: false },
  'template.create': { permission: 'provision', mutation: true, dryRun: false },
  'template.import': { permission: 'provision', mutation: true, dryRun: false },
  'template.delete': { permission: 'provision', mutation: true, dryRun: true },
  'template.deploy': { permission: 'provision', mutation: true, dryRun: true },
  'template.set_fragments': { permission: 'provision', mutation: true, dryRun: false },
  'fragment.list': { permission: 'view', mutation: false, dryRun: false },
  'fragment.get': { permission: 'provision', mutation: false, dryRun: false },
  'fragment.create': { permission: 'provision', mutation: true, dryRun: false },
  'fragment.update': { permission: 'provision', mutation: true, dryRun: false },
  'fragment.delete': { permission: 'provision', mutation: true, dryRun: false },
  'snapshot.list': { permission: 'view', mutation: false, dryRun: false },
  'snapshot.get': { permission: 'view', mutation: false, dryRun: false },
  'snapshot.create': { permission: 'operate', mutation: true, dryRun: true },
  'snapshot.revert': { permission: 'operate', mutation: true, dryRun: true },
  'snapshot.delete': { permission: 'operate', mutation: true, dryRun: false },
  'snapshot.clone': { permission: 'provision', mutation: true, dryRun: true },
  'repository.list': { permission: 'view', mutation: false, dryRun: false },
  'repository.get': { permission: 'view', mutation: false, dryRun: false },
  'repository.create': { permission: 'system', mutation: true, dryRun: false },
  'repository.update': { permission: 'system', mutation: true, dryRun: false },
  'repository.test': { permission: 'system', mutation: true, dryRun: false },
  'repository.verify': { permission: 'system', mutation: true, dryRun: false },
  'repository.key': { permission: 'secure', mutation: true, dryRun: false },
  'repository.delete': { permission: 'system', mutation: true, dryRun: false },
  'backup_job.list': { permission: 'view', mutation: false, dryRun: false },
  'backup_job.get': { permission: 'view', mutation: false, dryRun: false },
  'backup_job.create': { permission: 'administer', mutation: true, dryRun: false },
  'backup_job.update': { permission: 'administer', mutation: true, dryRun: false },
  'backup_job.delete': { permission: 'administer', mutation: true, dryRun: false },
  'backup_job.run': { permission: 'administer', mutation: true, dryRun: false },
  'backup_run.list': { permission: 'view', mutation: false, dryRun: false },
  'backup_run.get': { permission: 'view', mutation: false, dryRun: false },
  'backup_run.cancel': { permission: 'administer', mutation: true, dryRun: false },
  'backup.list': { permission: 'view', mutation: false, dryRun: false },
  'backup.get': { permission: 'view', mutation: false, dryRun: false },
  'backup.unprotected': { permission: 'view', mutation: false, dryRun: false },
  'backup.create': { permission: 'operate', mutation: true, dryRun: false },
  'backup.hold': { permission: 'administer', mutation: true, dryRun: false },
  'backup.delete': { permission: 'administer', mutation: true, dryRun: true },
  'backup.files': { permission: 'provision', mutation: false, dryRun: false },
  'backup.download': { permission: 'provision', mutation: true, dryRun: false },
  'backup.prove': { permission: 'provision', mutation: true, dryRun: false },
  'backup.restore': { permission: 'provision', mutation: true, dryRun: true },
  'standby.list': { permission: 'view', mutation: false, dryRun: false },
  'standby.get': { permission: 'view', mutation: false, dryRun: false },
  'standby.create': { permission: 'provision', mutation: true, dryRun: false },
  'standby.follow': { permission: 'operate', mutation: true, dryRun: false },
  'standby.fail_over': { permission: 'operate', mutation: true, dryRun: true },
  'standby.fail_back': { permission: 'operate', mutation: true, dryRun: false },
  'standby.release': { permission: 'provision', mutation: true, dryRun: false },
  'standby.delete': { permission: 'provision', mutation: true, dryRun: false },
  'task.list': { permission: 'view', mutation: false, dryRun: false },
  'task.get': { permission: 'view', mutation: false, dryRun: false },
  'task.cancel': { permission: 'operate', mutation: true, dryRun: false },
  'task.retry': { permission: 'operate', mutation: true, dryRun: false },
  'task.abandon': { permission: 'administer', mutation: true, dryRun: false },
  'ha.show': { permission: 'view', mutation: false, dryRun: false },
  'ha.enable': { permission: 'administer', mutation: true, dryRun: false },
  'ha.disable': { permission: 'administer', mutation: true, dryRun: false },
  'ha.set_priority': { permission: 'provision', mutation: true, dryRun: false },
  'orphan.list': { permission: 'view', mutation: false, dryRun: false },
  'event.list': { permission: 'view', mutation: false, dryRun: false },
  'filter.complete': { permission: 'view', mutation: false, dryRun: false },
  'metrics.list': { permission: 'view', mutation: false, dryRun: false },
  'metrics.query': { permission: 'view', mutation: false, dryRun: false },
  'alarm.list': { permission: 'view', mutation: false, dryRun: false },
  'alarm.silence': { permission: 'administer', mutation: true, dryRun: false },
  'alarm.silences': { permission: 'administer', mutation: false, dryRun: false },
  'alarm.unsilence': { permission: 'administer', mutation: true, dryRun: false },
  'alarm_rule.list': { permission: 'system', mutation: false, dryRun: false },
  'alarm_rule.get': { permission: 'system', mutation: false, dryRun: false },
  'alarm_rule.create': { permission: 'system', mutation: true, dryRun: false },
  'alarm_rule.update': { permission: 'system', mutation: true, dryRun: false },
  'alarm_rule.delete': { permission: 'system', mutation: true, dryRun: false },
  'audit.list': { permission: 'secure', mutation: false, dryRun: false },
  'audit.verify': { permission: 'secure', mutation: false, dryRun: false },
  'mail.get': { permission: 'system', mutation: false, dryRun: false },
  'mail.set': { permission: 'secure', mutation: true, dryRun: false },
  'mail.test': { permission: 'system', mutation: true, dryRun: false },
  'system.info': { permission: 'anyone', mutation: false, dryRun: false },
  'system.health': { permission: 'view', mutation: false, dryRun: false },
};

export interface Subscriptions {
  'vm.subscribe': { params: WatchRows; item: VmRowChange };
  'task.subscribe': { params: WatchTasks; item: Task };
  'event.subscribe': { params: WatchEvents; item: Event };
  'host.subscribe': { params: WatchRows; item: HostChange };
  'vdi.subscribe': { params: WatchRows; item: VdiChange };
  'change.subscribe': { params: Empty; item: NounChange };
}

export type SubscriptionName = keyof Subscriptions;

export const SUBSCRIPTIONS: Record<SubscriptionName, { unsubscribe: string; notification: string }> = {
  'vm.subscribe': { unsubscribe: 'vm.unsubscribe', notification: 'vm.changed' },
  'task.subscribe': { unsubscribe: 'task.unsubscribe', notification: 'task.changed' },
  'event.subscribe': { unsubscribe: 'event.unsubscribe', notification: 'event.happened' },
  'host.subscribe': { unsubscribe: 'host.unsubscribe', notification: 'host.changed' },
  'vdi.subscribe': { unsubscribe: 'vdi.unsubscribe', notification: 'vdi.changed' },
  'change.subscribe': { unsubscribe: 'change.unsubscribe', notification: 'change.made' },
};
