//! The nouns and their verbs.

noun! {
    /// Signing in and out.
    auth: AuthApi {
        /// Signs in with a name and a password, and a code where the user has two-factor sign-in.
        Login = fn login(Credentials) -> LoggedIn, Anyone, Mutation;
        /// Ends the caller's session.
        Logout = fn logout(Empty) -> Empty, Own, Mutation;
        /// Tells who the caller is and what roles they have.
        Whoami = fn whoami(Empty) -> User, Own, Read;
        /// Changes the caller's password and ends their other sessions.
        ChangePassword = fn change_password(NewPassword) -> Empty, Own, Mutation;
    }
}

noun! {
    /// People and programs that may sign in.
    user: UserApi {
        /// Lists users.
        List = fn list(ListRequest) -> Page<User>, Secure, Read;
        /// Shows one user.
        Get = fn get(UserRef) -> User, Secure, Read;
        /// Tells what the caller may do, on what, and by which role; an admin of everything asks about anybody.
        Access = fn access(AccessOf) -> UserAccess, Own, Read;
        /// Creates a user.
        Create = fn create(CreateUser) -> User, Secure, Mutation;
        /// Changes a user's password, roles or whether they may sign in.
        Update = fn update(UpdateUser) -> User, Secure, Mutation;
        /// Deletes a user, their sessions and tokens.
        Delete = fn delete(UserRef) -> Empty, Secure, Mutation;
        /// Makes a secret for the caller's authenticator app, shown this once; nothing changes until it is confirmed.
        TotpEnrol = fn totp_enrol(OwnPassword) -> TotpEnrolment, Own, Mutation;
        /// Turns the caller's two-factor sign-in on, given a code of the new secret; their other sessions end.
        TotpConfirm = fn totp_confirm(ConfirmTotp) -> RecoveryCodes, Own, Mutation;
        /// Turns the caller's two-factor sign-in off; their recovery codes end.
        TotpDisable = fn totp_disable(OwnPassword) -> User, Own, Mutation;
        /// Turns another user's two-factor sign-in off, for who has lost phone and recovery codes.
        TotpReset = fn totp_reset(UserRef) -> User, Secure, Mutation;
    }
}

noun! {
    /// API tokens.
    token: TokenApi {
        /// Lists the caller's tokens; an admin of everything sees all.
        List = fn list(ListRequest) -> Page<Token>, Own, Read;
        /// Creates a token of the caller; the secret is shown this once.
        Create = fn create(CreateToken) -> CreatedToken, Own, Mutation;
        /// Revokes a token of the caller; an admin of everything revokes any.
        Revoke = fn revoke(TokenRef) -> Empty, Own, Mutation;
    }
}

noun! {
    /// Roles.
    role: RoleApi {
        /// Lists the roles and what they allow.
        List = fn list(ListRequest) -> Page<RoleInfo>, Own, Read;
    }
}

noun! {
    /// Physical machines.
    host: HostApi {
        /// Lists hosts.
        List = fn list(ListRequest) -> Page<Host>, View, Read;
        /// Shows one host.
        Get = fn get(HostRef) -> Host, View, Read;
        /// Shows what a host has that VMs can be bound to: NUMA nodes and PCI devices.
        Hardware = fn hardware(HostRef) -> HostHardware, View, Read;
        /// Issues a join token for a new host; it works once.
        Add = fn add(AddHost) -> JoinTokenIssued, Administer, Mutation;
        /// Lets no VM be made or started on a host, or lets them again.
        SetMaintenance = fn set_maintenance(HostMaintenance) -> Host, Administer, Mutation;
        /// Puts a host into maintenance and moves its VMs to others; tells of each where it goes, or why it stays.
        Evacuate = fn evacuate(EvacuateHost) -> Evacuation, Administer, Plannable;
        /// Puts a signed system into a host's other slot and starts the host into it; a bad one is left for the old again.
        Upgrade = fn upgrade(UpgradeHost) -> TaskStarted, Administer, Plannable;
        /// Starts a host anew, when no VM runs there, and waits for it; its VMs are moved away or shut down first where asked.
        Reboot = fn reboot(EndBoot) -> TaskStarted, Administer, Plannable;
        /// Switches a host off, when no VM runs there; its VMs are moved away or shut down first where asked.
        Shutdown = fn shutdown(EndBoot) -> TaskStarted, Administer, Plannable;
        /// Shows where the power of a host is switched; the password is never shown.
        PowerControl = fn power_control(HostRef) -> HostPowerControl, Administer, Read;
        /// Says where the power of a host is switched (Redfish, IPMI), and asks there; or that there is no such place.
        SetPowerControl = fn set_power_control(xenith_orchestrator_types::power::SetPowerControl) -> HostPowerControl, Administer, Mutation;
        /// Switches a host on or off past its system, or asks whether it is on.
        Power = fn power(OrderPower) -> HostMachinePower, Administer, Mutation;
        /// Look for a host under another address: it moved, and keeps its identity, its VMs and its certificate.
        SetAddress = fn set_address(HostAddress) -> Host, Administer, Mutation;
        /// Sends what hosts send each other (migrating VMs, copies of VDIs, private networks) to a host by another address.
        SetPeerAddress = fn set_peer_address(HostPeerAddress) -> Host, Administer, Mutation;
        /// Changes address, VLAN, bond or cards of a host's management interface; it goes back unless it is heard over it.
        SetManagement = fn set_management(HostManagement) -> TaskStarted, Administer, Plannable;
        /// Forgets a host and revokes its certificate.
        Remove = fn remove(RemoveHost) -> Empty, Administer, Plannable;
    }
}

noun! {
    /// Hosts that share networks and storage.
    pool: PoolApi {
        /// Lists pools.
        List = fn list(ListRequest) -> Page<Pool>, View, Read;
        /// Creates a pool.
        Create = fn create(CreatePool) -> Pool, System, Mutation;
        /// Deletes an empty pool.
        Delete = fn delete(PoolRef) -> Empty, System, Mutation;
        /// Tells how a pool is balanced, what is proposed, and what is under way.
        BalanceStatus = fn balance_status(PoolRef) -> xenith_orchestrator_types::balance::BalanceStatus, View, Read;
        /// Changes how a pool is balanced: for what, by whom, and within which limits.
        SetBalance = fn set_balance(xenith_orchestrator_types::balance::SetBalance) -> xenith_orchestrator_types::balance::BalanceStatus, Administer, Mutation;
        /// Moves VMs of a pool to where they should be; a dry run tells which, and why.
        Balance = fn balance(BalancePool) -> TaskStarted, Administer, Plannable;
        /// Tells what VMs that start in a pool are given of the processors' features, and what its hosts have of them.
        CpuLevel = fn cpu_level(PoolRef) -> xenith_orchestrator_types::cpu_level::CpuLevelStatus, View, Read;
        /// Sets that, so that VMs can move between unlike hosts; one that runs keeps what it has. A dry run tells which would
        /// have to be shut down and started to have no more than the level.
        SetCpuLevel = fn set_cpu_level(xenith_orchestrator_types::cpu_level::SetCpuLevel) -> xenith_orchestrator_types::cpu_level::CpuLevelStatus, Administer, Plannable;
        /// Updates the hosts of a pool one after the other: VMs leave, the host is updated and starts anew, VMs come back.
        Update = fn update(UpdatePool) -> TaskStarted, Administer, Plannable;
        /// Tells what updates a pool, and whether it is paused.
        UpdateStatus = fn update_status(PoolRef) -> PoolUpdateStatus, View, Read;
        /// Begins no further host of an update that is under way; the one that has begun is brought to its end.
        PauseUpdate = fn pause_update(PoolRef) -> PoolUpdateStatus, Administer, Mutation;
        /// Goes on with an update that was paused.
        ResumeUpdate = fn resume_update(PoolRef) -> PoolUpdateStatus, Administer, Mutation;
    }
}

noun! {
    /// Virtual machines.
    vm: VmApi {
        /// Lists VMs.
        List = fn list(ListRequest) -> Page<VmRow>, View, Read;
        /// Counts VMs.
        Count = fn count(ListRequest) -> VmCount, View, Read;
        /// Tells what could be typed next in a filter.
        Complete = fn complete(CompleteFilter) -> Completion, View, Read;
        /// Shows one VM.
        Get = fn get(VmRef) -> Vm, View, Read;
        /// Tells where a VM would be placed, and why.
        Place = fn place(PlaceVm) -> Placement, View, Read;
        /// Creates a VM and its disks on the best host, and starts it where asked.
        Create = fn create(CreateVm) -> TaskStarted, Provision, Plannable;
        /// Changes a VM; a running one gets what it can take at once.
        Update = fn update(UpdateVm) -> TaskStarted, Operate, Plannable;
        /// Deletes a stopped VM and its disks.
        Delete = fn delete(DeleteVm) -> TaskStarted, Provision, Plannable;
        /// Starts a VM.
        Start = fn start(StartVm) -> TaskStarted, Operate, Plannable;
        /// Asks the guest to shut down.
        Shutdown = fn shutdown(ShutdownVm) -> TaskStarted, Operate, Plannable;
        /// Asks the guest to reboot.
        Reboot = fn reboot(ShutdownVm) -> TaskStarted, Operate, Plannable;
        /// Ends a VM at once, like pulling its plug; of one that is suspended, discards the saved memory where asked.
        PowerOff = fn power_off(PowerOffVm) -> TaskStarted, Operate, Plannable;
        /// Stops a VM's virtual CPUs.
        Pause = fn pause(VmRef) -> TaskStarted, Operate, Plannable;
        /// Lets a paused VM run.
        Unpause = fn unpause(VmRef) -> TaskStarted, Operate, Plannable;
        /// Saves a VM's memory to its host's disk and frees it.
        Suspend = fn suspend(VmRef) -> TaskStarted, Operate, Plannable;
        /// Brings a suspended VM back.
        Resume = fn resume(VmRef) -> TaskStarted, Operate, Plannable;
        /// Moves a VM to another host that reaches its disks: a running one as it runs, a stopped one by its definition.
        Migrate = fn migrate(MigrateVm) -> TaskStarted, Provision, Plannable;
        /// Attaches a disk, new or there.
        AttachDisk = fn attach_disk(DiskAttachment) -> TaskStarted, Provision, Plannable;
        /// Detaches a disk; its VDI stays.
        DetachDisk = fn detach_disk(DiskDetachment) -> TaskStarted, Operate, Plannable;
        /// Puts an ISO into the CD drive of an HVM guest, running or not.
        InsertCd = fn insert_cd(CdInsertion) -> TaskStarted, Operate, Plannable;
        /// Takes out what is in the CD drive; the drive stays.
        EjectCd = fn eject_cd(VmRef) -> TaskStarted, Operate, Plannable;
        /// Makes a new VM like another, running or not, with disks of its own and other MAC addresses.
        Clone = fn clone(CloneVm) -> TaskStarted, Provision, Plannable;
        /// Does the same with many VMs, and tells of each what came of it.
        Bulk = fn bulk(BulkVms) -> Vec<BulkResult>, Operate, Mutation;
        /// Adds a NIC.
        AttachNic = fn attach_nic(NicAttachment) -> TaskStarted, Operate, Plannable;
        /// Removes a NIC.
        DetachNic = fn detach_nic(NicDetachment) -> TaskStarted, Operate, Plannable;
        /// Tells what may pass a VM's NICs.
        Nics = fn nics(VmRef) -> Vec<NicSettings>, View, Read;
        /// Changes what may pass a NIC: addresses that are its own, a rate, its link. At once, also of a running VM.
        SetNic = fn set_nic(NicChange) -> NicSettings, Administer, Mutation;
    }
}

noun! {
    /// What NICs plug into.
    network: NetworkApi {
        /// Lists networks.
        List = fn list(ListRequest) -> Page<Network>, View, Read;
        /// Declares a network: what the hosts of a pool are to make a bridge of, or a bridge that they have.
        Create = fn create(CreateNetwork) -> Network, Administer, Mutation;
        /// Tells on which hosts a network is, and why it is not on the others.
        Status = fn status(NetworkRef) -> NetworkStatus, View, Read;
        /// Encrypts a private network between its hosts, or does so no more; VMs keep running.
        SetEncryption = fn set_encryption(NetworkEncryption) -> Network, Administer, Mutation;
        /// Deletes a network that no VM uses.
        Delete = fn delete(NetworkRef) -> Empty, Administer, Mutation;
    }
}

noun! {
    /// Who may talk with the VMs that have a tag.
    security_group: SecurityGroupApi {
        /// Lists security groups.
        List = fn list(ListRequest) -> Page<SecurityGroup>, View, Read;
        /// Makes a security group of the VMs of a pool that have a tag.
        Create = fn create(CreateSecurityGroup) -> SecurityGroup, Administer, Mutation;
        /// Replaces the rules of a security group, for running VMs too.
        SetRules = fn set_rules(SetSecurityGroupRules) -> SecurityGroup, Administer, Mutation;
        /// Deletes a security group: its rules no longer hold.
        Delete = fn delete(SecurityGroupRef) -> Empty, Administer, Mutation;
    }
}

noun! {
    /// Virtual disk images.
    vdi: VdiApi {
        /// Lists VDIs.
        List = fn list(ListRequest) -> Page<Vdi>, View, Read;
        /// Shows one VDI.
        Get = fn get(VdiRef) -> Vdi, View, Read;
        /// Creates an empty VDI.
        Create = fn create(CreateVdi) -> TaskStarted, Provision, Mutation;
        /// Makes a VDI from an image that a web server has; its format is recognised by its contents.
        Import = fn import(ImportVdi) -> TaskStarted, Provision, Mutation;
        /// Makes a VDI larger; a running guest sees it at once.
        Resize = fn resize(ResizeVdi) -> TaskStarted, Provision, Mutation;
        /// Makes a new VDI with the contents of one that no running VM has; blocks are shared where the SR can.
        Clone = fn clone(CloneVdi) -> TaskStarted, Provision, Mutation;
        /// Makes a new VDI with the contents of one in any SR of any host; of a running VM, as they are now.
        Copy = fn copy(CopyVdi) -> TaskStarted, Provision, Mutation;
        /// Moves a VDI to another SR or host; the VM that has it must be off.
        Migrate = fn migrate(MigrateVdi) -> TaskStarted, Provision, Plannable;
        /// Makes a VDI whose contents somebody sends to its host.
        Upload = fn upload(UploadVdi) -> TaskStarted, Provision, Mutation;
        /// Gives the right to send the contents of a VDI; an earlier ticket ends.
        UploadTicket = fn upload_ticket(VdiRef) -> xenith_orchestrator_types::import::UploadTicket, Provision, Mutation;
        /// Gives the right to read a VDI that no running VM has, or what a snapshot holds of it, from its host.
        Export = fn export(ExportVdi) -> VdiDownload, Provision, Mutation;
        /// Takes the lease of a VDI in a shared SR from a host that is dead for good; that of a host that writes it is not broken.
        BreakLease = fn break_lease(xenith_orchestrator_types::vdi::BreakLease) -> BrokenLease, Administer, Plannable;
        /// Deletes a VDI that no VM has.
        Delete = fn delete(VdiRef) -> TaskStarted, Provision, Plannable;
    }
}

noun! {
    /// VMs on their way from other hypervisors, or from a file.
    import: ImportApi {
        /// Lists imports, newest first.
        List = fn list(ListImports) -> Page<Import>, View, Read;
        /// Shows one import: how far each disk is, and what it waits for.
        Get = fn get(ImportRef) -> Import, View, Read;
        /// Makes a VM whose disks somebody sends; it starts only when they are whole.
        Upload = fn upload(UploadVm) -> TaskStarted, Provision, Plannable;
        /// Gives the right to send the disks of an upload; an earlier ticket ends.
        Ticket = fn ticket(ImportRef) -> UploadTicket, Provision, Mutation;
        /// Makes an ESXi host or vCenter known, by its certificate's fingerprint and with a password that is kept sealed.
        Connect = fn connect(ConnectSource) -> ImportSource, System, Mutation;
        /// Lists the hosts and vCenters that VMs are taken from.
        Sources = fn sources(Empty) -> Vec<ImportSource>, System, Read;
        /// Forgets a source and its password; nothing there changes.
        Disconnect = fn disconnect(SourceRef) -> Empty, System, Mutation;
        /// Lists the VMs of a source, as they are now.
        Inventory = fn inventory(LookAtSource) -> Vec<SourceVm>, System, Read;
        /// Tells what speaks against the move of VMs, and what to do about it.
        Assess = fn assess(LookAtSource) -> Vec<VmAssessment>, System, Read;
        /// Makes a plan of a move: findings, waves, times, and which hosts of the source come free.
        Plan = fn plan(PlanImports) -> ImportPlan, System, Read;
        /// Begins to take a VM from a source: copied while it runs there, then followed until the cut-over.
        Start = fn start(StartImport) -> TaskStarted, System, Plannable;
        /// Sets when the source is shut down and the VM made here: now, or at a time.
        CutOver = fn cut_over(CutOverImport) -> Import, Provision, Mutation;
        /// Tries again to make a guest ready to boot here, or goes on without.
        Prepare = fn prepare(PrepareImport) -> Import, Provision, Mutation;
        /// Undoes an import: the VM here goes, the source is as it was.
        RollBack = fn roll_back(ImportRef) -> Import, Provision, Mutation;
        /// Takes an import that is over out of the list.
        Archive = fn archive(ImportRef) -> Import, Provision, Mutation;
    }
}

noun! {
    /// Many VMs that are taken from one source, so many at a time.
    wave: WaveApi {
        /// Lists waves.
        List = fn list(ListRequest) -> Page<Wave>, System, Read;
        /// Reports on one wave: where each of its VMs is.
        Get = fn get(WaveRef) -> Wave, System, Read;
        /// Puts VMs of a source together; nothing begins yet.
        Create = fn create(CreateWave) -> Wave, System, Mutation;
        /// Lets a wave run, or run on; VMs that could not begin are tried again.
        Start = fn start(WaveRef) -> Wave, System, Mutation;
        /// Begins no more VMs of a wave; those on their way go on.
        Pause = fn pause(WaveRef) -> Wave, System, Mutation;
        /// Forgets a wave of which nothing is on its way.
        Delete = fn delete(WaveRef) -> Empty, System, Mutation;
    }
}

noun! {
    /// Consoles of guests and hosts.
    console: ConsoleApi {
        /// Issues a ticket for a VM's serial console or screen; it opens a WebSocket once.
        Vm = fn vm(OpenVmConsole) -> ConsoleTicket, Operate, Mutation;
        /// Issues a ticket for a shell of a host.
        Host = fn host(OpenHostConsole) -> ConsoleTicket, System, Mutation;
    }
}

noun! {
    /// Storage repositories.
    sr: SrApi {
        /// Lists SRs, the local ones of hosts first.
        List = fn list(ListRequest) -> Page<Sr>, View, Read;
        /// Shows one SR.
        Get = fn get(SrRef) -> Sr, View, Read;
        /// Makes an SR in a folder or on an NFS server and attaches it to a host.
        Create = fn create(CreateSr) -> TaskStarted, Administer, Mutation;
        /// Attaches an SR to one more host.
        Attach = fn attach(SrOnHost) -> TaskStarted, Administer, Mutation;
        /// Detaches an SR from a host; what is in it stays.
        Detach = fn detach(SrOnHost) -> TaskStarted, Administer, Mutation;
        /// Forgets an SR that no host has attached; what is in it stays.
        Forget = fn forget(SrRef) -> Empty, Administer, Mutation;
        /// Reads what is in an SR and holds it against what is known: orphans, what is missing, left-overs.
        Scan = fn scan(SrRef) -> SrScan, View, Read;
        /// Makes an orphan a VDI again.
        Adopt = fn adopt(AdoptVdi) -> Vdi, Administer, Mutation;
    }
}

noun! {
    /// Where backups are kept.
    repository: RepositoryApi {
        /// Lists repositories.
        List = fn list(ListRequest) -> Page<Repository>, View, Read;
        /// Shows one repository.
        Get = fn get(RepositoryRef) -> Repository, View, Read;
        /// Adds a repository: makes it in an empty place, or opens one that is there; a host probes it.
        Create = fn create(CreateRepository) -> TaskStarted, System, Mutation;
        /// Changes how many backups write to a repository at a time, and how fast.
        Update = fn update(UpdateRepository) -> Repository, System, Mutation;
        /// Opens a repository again and reads its list of backups.
        Test = fn test(RepositoryRef) -> TaskStarted, System, Mutation;
        /// Checks what a repository holds.
        Verify = fn verify(VerifyRepository) -> TaskStarted, System, Mutation;
        /// Shows what opens a repository without the orchestrator: keep it on paper.
        Key = fn key(RepositoryRef) -> RepositorySecret, Secure, Mutation;
        /// Forgets a repository; what it holds stays.
        Delete = fn delete(RepositoryRef) -> Empty, System, Mutation;
    }
}

noun! {
    /// Images for CD drives.
    iso: IsoApi {
        /// Lists the VDIs in ISO libraries.
        List = fn list(ListRequest) -> Page<Vdi>, View, Read;
    }
}

noun! {
    /// What VMs are made from.
    template: TemplateApi {
        /// Lists templates.
        List = fn list(ListRequest) -> Page<Template>, View, Read;
        /// Shows one template.
        Get = fn get(TemplateRef) -> Template, View, Read;
        /// Makes a template from a VM, which stays as it is.
        Create = fn create(CreateTemplate) -> TaskStarted, Provision, Mutation;
        /// Makes a template from an image that a web server has, such as a distribution's cloud image.
        Import = fn import(ImportTemplate) -> TaskStarted, Provision, Mutation;
        /// Deletes a template; VMs that were made from it stay.
        Delete = fn delete(TemplateRef) -> TaskStarted, Provision, Plannable;
        /// Makes a VM from a template, with what its cloud-init is told.
        Deploy = fn deploy(DeployTemplate) -> TaskStarted, Provision, Plannable;
        /// Says which fragments the VMs that are made from a template get from now on.
        SetFragments = fn set_fragments(SetTemplateFragments) -> Template, Provision, Mutation;
    }
}

noun! {
    /// Parts of cloud-init's user data, kept under a name.
    fragment: FragmentApi {
        /// Lists fragments, without their text.
        List = fn list(ListRequest) -> Page<Fragment>, View, Read;
        /// Shows one fragment with its text, to those who may make VMs with it.
        Get = fn get(FragmentRef) -> FragmentContents, Provision, Read;
        /// Keeps a part of user data, for templates and deployments to name.
        Create = fn create(CreateFragment) -> Fragment, Provision, Mutation;
        /// Changes a fragment; VMs that were made with it stay as they are.
        Update = fn update(UpdateFragment) -> Fragment, Provision, Mutation;
        /// Deletes a fragment that no template names.
        Delete = fn delete(FragmentRef) -> Empty, Provision, Mutation;
    }
}

noun! {
    /// What makes backups again and again.
    backup_job: BackupJobApi {
        /// Lists backup jobs.
        List = fn list(ListRequest) -> Page<BackupJob>, View, Read;
        /// Shows one backup job.
        Get = fn get(BackupJobRef) -> BackupJob, View, Read;
        /// Creates a backup job.
        Create = fn create(CreateBackupJob) -> BackupJob, Administer, Mutation;
        /// Changes a backup job.
        Update = fn update(UpdateBackupJob) -> BackupJob, Administer, Mutation;
        /// Deletes a backup job; its backups stay.
        Delete = fn delete(BackupJobRef) -> Empty, Administer, Mutation;
        /// Begins a run now.
        Run = fn run(BackupJobRef) -> RunStarted, Administer, Mutation;
    }
}

noun! {
    /// Points in time of VMs, on their hosts.
    snapshot: SnapshotApi {
        /// Lists snapshots; each names its parent.
        List = fn list(ListSnapshots) -> Page<Snapshot>, View, Read;
        /// Shows one snapshot.
        Get = fn get(SnapshotRef) -> Snapshot, View, Read;
        /// Keeps the contents of a VM's disks at one instant, and its memory where that is asked for; a running VM stands for
        /// under a second, with memory for as long as its guest and the SR make it.
        Create = fn create(CreateSnapshot) -> TaskStarted, Operate, Plannable;
        /// Gives a stopped VM's disks the contents of a snapshot; what they hold now is lost. With memory, the VM goes on from
        /// that instant.
        Revert = fn revert(RevertSnapshot) -> TaskStarted, Operate, Plannable;
        /// Deletes a snapshot; others stay as they are.
        Delete = fn delete(SnapshotRef) -> TaskStarted, Operate, Mutation;
        /// Makes a new VM from a snapshot, with new MAC addresses.
        Clone = fn clone(CloneSnapshot) -> TaskStarted, Provision, Plannable;
    }
}

noun! {
    /// What jobs did.
    backup_run: BackupRunApi {
        /// Lists runs, newest first unless another order is asked for.
        List = fn list(ListBackupRuns) -> Page<BackupRun>, View, Read;
        /// Shows one run.
        Get = fn get(BackupRunRef) -> BackupRun, View, Read;
        /// Ends a run: VMs that wait are left out, those being read are given up on.
        Cancel = fn cancel(BackupRunRef) -> BackupRun, Administer, Mutation;
    }
}

noun! {
    /// Backups that are there.
    backup: BackupApi {
        /// Lists backups, newest first unless another order is asked for.
        List = fn list(ListBackups) -> Page<Backup>, View, Read;
        /// Shows one backup.
        Get = fn get(BackupRef) -> Backup, View, Read;
        /// Lists VMs that no job covers or that have no backup; those with the tag `no-backup` are left out.
        Unprotected = fn unprotected(ListUnprotected) -> Page<UnprotectedVm>, View, Read;
        /// Backs up a VM now, outside any job.
        Create = fn create(CreateBackup) -> TaskStarted, Operate, Mutation;
        /// Keeps a backup whatever the rules say, or no longer.
        Hold = fn hold(HoldBackup) -> TaskStarted, Administer, Mutation;
        /// Deletes a backup; what others need stays.
        Delete = fn delete(BackupRef) -> TaskStarted, Administer, Plannable;
        /// Lists the volumes of a backup's disk, or a folder of one.
        Files = fn files(ListBackupFiles) -> BackupFiles, Provision, Read;
        /// Gives a ticket for a file or folder of a backup; the host that reads it hands it out as an archive.
        Download = fn download(DownloadFiles) -> DownloadTicket, Provision, Mutation;
        /// Restores a VM for a moment, without a network, to see whether it boots.
        Prove = fn prove(ProveBackup) -> TaskStarted, Provision, Mutation;
        /// Brings a VM, or disks of it, back.
        Restore = fn restore(RestoreBackup) -> TaskStarted, Provision, Plannable;
    }
}

noun! {
    /// VMs that stand by for others.
    standby: StandbyApi {
        /// Lists standbys.
        List = fn list(ListRequest) -> Page<Standby>, View, Read;
        /// Shows one standby.
        Get = fn get(StandbyRef) -> Standby, View, Read;
        /// Makes a VM elsewhere that stands by for another, and follows its backups.
        Create = fn create(CreateStandby) -> TaskStarted, Provision, Mutation;
        /// Brings a standby to the newest backup; after a fail-over, what the original wrote since its last backup is gone then.
        Follow = fn follow(StandbyRef) -> TaskStarted, Operate, Mutation;
        /// Starts a standby in its VM's place, with what that was when it was backed up last.
        FailOver = fn fail_over(FailOverStandby) -> TaskStarted, Operate, Plannable;
        /// Shuts a VM down, backs it up, brings its standby to that and starts it: the way back, or a planned move.
        FailBack = fn fail_back(FailBackStandby) -> TaskStarted, Operate, Mutation;
        /// Makes a standby a VM like any other.
        Release = fn release(StandbyRef) -> Empty, Provision, Mutation;
        /// Deletes a standby and its disks.
        Delete = fn delete(StandbyRef) -> TaskStarted, Provision, Mutation;
    }
}

noun! {
    /// The progress of what takes longer than a call.
    task: TaskApi {
        /// Lists tasks, newest first unless another order is asked for.
        List = fn list(ListTasks) -> Page<Task>, View, Read;
        /// Shows one task.
        Get = fn get(TaskRef) -> Task, View, Read;
        /// Asks a task to stop and undo what it did.
        Cancel = fn cancel(TaskRef) -> Task, Operate, Mutation;
        /// Lets a parked task try again.
        Retry = fn retry(TaskRef) -> Task, Operate, Mutation;
        /// Leaves a parked task as it is.
        Abandon = fn abandon(TaskRef) -> Task, Administer, Mutation;
    }
}

noun! {
    /// VMs of hosts that died run elsewhere.
    ha: HaApi {
        /// Shows how high availability is in a pool, host by host.
        Show = fn show(HaRef) -> PoolHa, View, Read;
        /// Turns it on: the pool's hosts keep leases on a shared SR, and reset themselves when they are cut off.
        Enable = fn enable(EnableHa) -> PoolHa, Administer, Mutation;
        /// Turns it off: nothing is restarted any more, and the hosts let go of their watchdogs.
        Disable = fn disable(HaRef) -> PoolHa, Administer, Mutation;
        /// Says when a VM is restarted after its host has died: before others, after them, or not.
        SetPriority = fn set_priority(SetRestartPriority) -> PoolHa, Provision, Mutation;
    }
}

noun! {
    /// What hosts and records do not agree on. Nothing of it is removed by itself.
    orphan: OrphanApi {
        /// Lists definitions, domains and images that no record knows, and records of what is not there.
        List = fn list(ListRequest) -> Page<Orphan>, View, Read;
    }
}

noun! {
    /// What happened.
    event: EventApi {
        /// Lists events, newest first unless another order is asked for.
        List = fn list(ListEvents) -> Page<Event>, View, Read;
    }
}

noun! {
    /// The filter language of lists.
    filter: FilterApi {
        /// Tells what could be typed next in the filter of a noun's list: columns, and values where they are known.
        Complete = fn complete(CompleteListFilter) -> Completion, View, Read;
    }
}

noun! {
    /// What hosts and VMs use, measured every five seconds.
    metrics: MetricsApi {
        /// Lists what is measured.
        List = fn list(Empty) -> Vec<MetricInfo>, View, Read;
        /// Gives series of hosts or VMs: by seconds for an hour, by minutes for a day, by hours for a year.
        Query = fn query(QueryMetrics) -> MetricSeriesList, View, Read;
    }
}

noun! {
    /// What is wrong: by rules about metrics, and with the orchestrator itself.
    alarm: AlarmApi {
        /// Lists what is wrong now, newest first.
        List = fn list(ListRequest) -> Page<Alarm>, View, Read;
        /// Tells nobody of some alarms for a while; they are raised and listed all the same.
        Silence = fn silence(SilenceAlarms) -> AlarmSilence, Administer, Mutation;
        /// Lists the silences that run.
        Silences = fn silences(Empty) -> Vec<AlarmSilence>, Administer, Read;
        /// Ends a silence; what is still wrong is told then.
        Unsilence = fn unsilence(AlarmSilenceRef) -> Empty, Administer, Mutation;
    }
}

noun! {
    /// What raises alarms.
    alarm_rule: AlarmRuleApi {
        /// Lists the rules, by name.
        List = fn list(Empty) -> Vec<AlarmRule>, System, Read;
        /// Shows one rule.
        Get = fn get(AlarmRuleRef) -> AlarmRule, System, Read;
        /// Makes a rule.
        Create = fn create(CreateAlarmRule) -> AlarmRule, System, Mutation;
        /// Changes a rule.
        Update = fn update(UpdateAlarmRule) -> AlarmRule, System, Mutation;
        /// Deletes a rule; its alarms end.
        Delete = fn delete(AlarmRuleRef) -> Empty, System, Mutation;
    }
}

noun! {
    /// Who asked for what.
    audit: AuditApi {
        /// Lists audit records, newest first unless the other way round is asked for.
        List = fn list(ListAudit) -> Page<AuditRecord>, Secure, Read;
        /// Reads the whole chain and checks every hash.
        Verify = fn verify(Empty) -> AuditVerified, Secure, Read;
    }
}

noun! {
    /// The server that takes our e-mail.
    mail: MailApi {
        /// Shows which server takes the mail; its password is never shown.
        Get = fn get(Empty) -> MailSettings, System, Read;
        /// Sets the server, or none.
        Set = fn set(SetMail) -> MailSettings, Secure, Mutation;
        /// Sends a message, to see whether that works.
        Test = fn test(TestMail) -> Empty, System, Mutation;
    }
}

noun! {
    /// The orchestrator itself.
    system: SystemApi {
        /// Tells version and identity; works without signing in.
        Info = fn info(Empty) -> SystemInfo, Anyone, Read;
        /// Tells how the installation is.
        Health = fn health(Empty) -> SystemHealth, View, Read;
    }
}

pub(crate) fn all_methods() -> Vec<crate::MethodInfo> {
    [
        auth::methods(),
        user::methods(),
        token::methods(),
        role::methods(),
        host::methods(),
        pool::methods(),
        vm::methods(),
        network::methods(),
        security_group::methods(),
        vdi::methods(),
        import::methods(),
        wave::methods(),
        console::methods(),
        sr::methods(),
        iso::methods(),
        template::methods(),
        fragment::methods(),
        snapshot::methods(),
        repository::methods(),
        backup_job::methods(),
        backup_run::methods(),
        backup::methods(),
        standby::methods(),
        task::methods(),
        ha::methods(),
        orphan::methods(),
        event::methods(),
        filter::methods(),
        metrics::methods(),
        alarm::methods(),
        alarm_rule::methods(),
        audit::methods(),
        mail::methods(),
        system::methods(),
    ]
    .concat()
}
