//! Consoles: what opens one, and what goes both ways.

use xenith_common_ids::{Epoch, VmId};
use xenith_hypervisor_agent_types::TerminalSize;

use crate::convert::{answered, asked, id, under};
use crate::wire::console_input::Input as WireInput;
use crate::wire::console_output::Output as WireOutput;
use crate::wire::open_console::Target as WireTarget;
use crate::{WireError, wire};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsoleTarget {
    /// `history` bytes of what was written before come first.
    Serial {
        vm: VmId,
        history: u32,
    },
    Vnc {
        vm: VmId,
    },
    HostShell {
        size: TerminalSize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenConsole {
    pub epoch: Epoch,
    pub target: ConsoleTarget,
}

/// From the viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsoleInput {
    /// First, and only first.
    Open(OpenConsole),
    Data(Vec<u8>),
    Resize(TerminalSize),
}

/// To the viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConsoleOutput {
    Data(Vec<u8>),
    /// The last one.
    Ended(String),
}

impl From<TerminalSize> for wire::TerminalSize {
    fn from(size: TerminalSize) -> Self {
        Self { columns: size.columns.into(), rows: size.rows.into() }
    }
}

impl TryFrom<wire::TerminalSize> for TerminalSize {
    type Error = WireError;

    fn try_from(size: wire::TerminalSize) -> Result<Self, WireError> {
        let fits = |field: &str, value: u32| {
            u16::try_from(value).ok().filter(|value| *value > 0).ok_or_else(|| {
                WireError::new(field, format_args!("{value} is not a number of characters; use 1 to 65535"))
            })
        };
        Ok(Self { columns: fits("columns", size.columns)?, rows: fits("rows", size.rows)? })
    }
}

impl From<&OpenConsole> for wire::OpenConsole {
    fn from(open: &OpenConsole) -> Self {
        let target = match open.target {
            ConsoleTarget::Serial { vm, history } => {
                WireTarget::Serial(wire::SerialConsole { vm_id: vm.to_string(), history })
            }
            ConsoleTarget::Vnc { vm } => WireTarget::Vnc(vm.to_string()),
            ConsoleTarget::HostShell { size } => WireTarget::HostShell(size.into()),
        };
        Self { epoch: open.epoch.0, target: Some(target) }
    }
}

impl TryFrom<wire::OpenConsole> for OpenConsole {
    type Error = WireError;

    fn try_from(open: wire::OpenConsole) -> Result<Self, WireError> {
        let target = match asked("target", "console", open.target)? {
            WireTarget::Serial(serial) => {
                ConsoleTarget::Serial { vm: id("serial.vm_id", &serial.vm_id)?, history: serial.history }
            }
            WireTarget::Vnc(vm) => ConsoleTarget::Vnc { vm: id("vnc", &vm)? },
            WireTarget::HostShell(size) => {
                ConsoleTarget::HostShell { size: under("host_shell", size.try_into())? }
            }
        };
        Ok(Self { epoch: Epoch(open.epoch), target })
    }
}

impl From<ConsoleInput> for wire::ConsoleInput {
    fn from(input: ConsoleInput) -> Self {
        let input = match input {
            ConsoleInput::Open(open) => WireInput::Open((&open).into()),
            ConsoleInput::Data(data) => WireInput::Data(data),
            ConsoleInput::Resize(size) => WireInput::Size(size.into()),
        };
        Self { input: Some(input) }
    }
}

impl TryFrom<wire::ConsoleInput> for ConsoleInput {
    type Error = WireError;

    fn try_from(input: wire::ConsoleInput) -> Result<Self, WireError> {
        Ok(match asked("input", "console message", input.input)? {
            WireInput::Open(open) => Self::Open(under("open", open.try_into())?),
            WireInput::Data(data) => Self::Data(data),
            WireInput::Size(size) => Self::Resize(under("size", size.try_into())?),
        })
    }
}

impl From<ConsoleOutput> for wire::ConsoleOutput {
    fn from(output: ConsoleOutput) -> Self {
        let output = match output {
            ConsoleOutput::Data(data) => WireOutput::Data(data),
            ConsoleOutput::Ended(why) => WireOutput::Ended(why),
        };
        Self { output: Some(output) }
    }
}

impl TryFrom<wire::ConsoleOutput> for ConsoleOutput {
    type Error = WireError;

    fn try_from(output: wire::ConsoleOutput) -> Result<Self, WireError> {
        Ok(match answered("output", output.output)? {
            WireOutput::Data(data) => Self::Data(data),
            WireOutput::Ended(why) => Self::Ended(why),
        })
    }
}
