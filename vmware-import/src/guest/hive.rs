//! A registry hive of Windows, in memory: values of keys that are there are set, nothing else is changed.
//!
//! The format is `regf` as Windows 2000 and later write it (Maxim Suhanov, "Windows registry file format
//! specification"). What always holds: an offset found in the hive is checked against its length before it is followed; a
//! hive that Windows did not close is refused, because its newest state lies in its logs; what is new goes into bins at
//! the end, what is there is changed only where it has the room.

/// A SYSTEM hive is 10 to 30 MiB.
pub const MOST: u64 = 128 << 20;
const BASE: usize = 4096;
const BIN_HEADER: usize = 32;
/// Below one key; Windows has some thousand services.
const MAX_KEYS: usize = 1 << 20;

const TEXT: u32 = 1;
const DWORD: u32 = 4;

/// How a name is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Letters {
    /// A byte each, of Latin-1.
    Narrow,
    /// UTF-16.
    Wide,
}

impl Letters {
    const fn of(flags: usize, narrow: usize) -> Self {
        if flags & narrow == 0 { Self::Wide } else { Self::Narrow }
    }
}

/// What a value is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Dword(u32),
    Text(String),
}

impl Value {
    /// In the notation of `.reg` files: `dword:0000001f`, or a text in quotes with `\\` for `\`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(digits) = text.strip_prefix("dword:") {
            return u32::from_str_radix(digits, 16).ok().map(Self::Dword);
        }
        let inner = text.strip_prefix('"')?.strip_suffix('"')?;
        Some(Self::Text(inner.replace("\\\"", "\"").replace("\\\\", "\\")))
    }

    fn bytes(&self) -> (u32, Vec<u8>) {
        match self {
            Self::Dword(number) => (DWORD, number.to_le_bytes().to_vec()),
            Self::Text(text) => (TEXT, text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HiveError {
    #[error("it is not a registry hive, or damaged: {0}")]
    Damaged(String),
    #[error("Windows has not closed it: start the VM at its source, shut it down fully, and copy it again")]
    Open,
    #[error("it has no key {0:?}")]
    NoKey(String),
}

type Result<T> = std::result::Result<T, HiveError>;

/// See the module's text.
pub struct Hive {
    bytes: Vec<u8>,
}

fn damaged(what: &str, at: usize) -> HiveError {
    HiveError::Damaged(format!("{what} at byte {at}"))
}

impl Hive {
    /// Takes a hive's file.
    pub fn parse(mut bytes: Vec<u8>) -> Result<Self> {
        if bytes.len() < BASE + BIN_HEADER || &bytes[..4] != b"regf" {
            return Err(damaged("no base block", 0));
        }
        let hive = Self { bytes: Vec::new() };
        let number = |at: usize| hive.number_in(&bytes, at);
        let end = BASE.checked_add(number(40)? as usize).filter(|end| *end <= bytes.len());
        let end = end.ok_or_else(|| damaged("the size of its bins", 40))?;
        if checksum(&bytes) != number(508)? {
            return Err(damaged("the checksum", 508));
        }
        if number(4)? != number(8)? {
            return Err(HiveError::Open);
        }
        // What follows is room that Windows keeps; a new bin takes its place.
        bytes.truncate(end);
        Ok(Self { bytes })
    }

    fn number_in(&self, bytes: &[u8], at: usize) -> Result<u32> {
        let found = bytes.get(at..at.saturating_add(4)).and_then(|part| part.try_into().ok());
        found.map(u32::from_le_bytes).ok_or_else(|| damaged("an offset past its end", at))
    }

    fn number(&self, at: usize) -> Result<u32> {
        self.number_in(&self.bytes, at)
    }

    fn short(&self, at: usize) -> Result<usize> {
        let found = self.bytes.get(at..at.saturating_add(2)).and_then(|part| part.try_into().ok());
        found
            .map(|pair| usize::from(u16::from_le_bytes(pair)))
            .ok_or_else(|| damaged("an offset past its end", at))
    }

    fn put(&mut self, at: usize, new: &[u8]) -> Result<()> {
        let slot = self.bytes.get_mut(at..at.saturating_add(new.len()));
        slot.map(|slot| slot.copy_from_slice(new)).ok_or_else(|| damaged("an offset past its end", at))
    }

    /// Where the contents of the cell at `offset` begin, and how long they are.
    fn cell(&self, offset: u32) -> Result<(usize, usize)> {
        let at = BASE.saturating_add(offset as usize);
        let size = self.number(at)?.cast_signed();
        let len = usize::try_from(size.unsigned_abs()).unwrap_or(usize::MAX);
        let inside = size < 0 && len >= 8 && at.checked_add(len).is_some_and(|end| end <= self.bytes.len());
        if inside { Ok((at + 4, len - 4)) } else { Err(damaged("a cell", at)) }
    }

    fn node(&self, offset: u32, kind: &[u8; 2], least: usize) -> Result<usize> {
        let (at, len) = self.cell(offset)?;
        if len >= least && self.bytes.get(at..at + 2) == Some(&kind[..]) {
            return Ok(at);
        }
        Err(damaged("another kind of cell than it should be", at))
    }

    /// A name of `len` bytes.
    fn name(&self, at: usize, len: usize, letters: Letters) -> Result<String> {
        let bytes = self.bytes.get(at..at.saturating_add(len));
        let bytes = bytes.ok_or_else(|| damaged("a name past its end", at))?;
        if letters == Letters::Narrow {
            return Ok(bytes.iter().copied().map(char::from).collect());
        }
        let units: Vec<u16> =
            bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        Ok(String::from_utf16_lossy(&units))
    }

    fn key_name(&self, key: usize) -> Result<String> {
        self.name(key + 76, self.short(key + 72)?, Letters::of(self.short(key + 2)?, 0x20))
    }

    /// Offsets of the keys below `key`.
    fn subkeys(&self, key: usize) -> Result<Vec<u32>> {
        if self.number(key + 20)? == 0 {
            return Ok(Vec::new());
        }
        let first = self.number(key + 28)?;
        let (mut lists, mut found) = (vec![first], Vec::new());
        while let Some(list) = lists.pop() {
            let (at, len) = self.cell(list)?;
            let count = self.short(at + 2)?;
            let (step, is_index) = match self.bytes.get(at..at + 2) {
                Some(b"lf" | b"lh") => (8, false),
                Some(b"li") => (4, false),
                Some(b"ri") => (4, true),
                _ => return Err(damaged("a list of keys", at)),
            };
            // An index holds lists, and no index.
            if count * step + 4 > len || found.len() > MAX_KEYS || (is_index && list != first) {
                return Err(damaged("a list of keys that is too long", at));
            }
            for index in 0..count {
                let offset = self.number(at + 4 + index * step)?;
                if is_index { lists.push(offset) } else { found.push(offset) }
            }
        }
        Ok(found)
    }

    /// Finds a key by its path; `CurrentControlSet` at its beginning is that of the next start.
    fn key(&self, path: &str) -> Result<usize> {
        let mut at = self.node(self.number(36)?, b"nk", 76)?;
        for part in path.split('\\') {
            let current = part.eq_ignore_ascii_case("CurrentControlSet");
            let part = if current { format!("ControlSet{:03}", self.current()?) } else { part.to_owned() };
            let mut next = None;
            for offset in self.subkeys(at)? {
                let child = self.node(offset, b"nk", 76)?;
                if self.key_name(child)?.eq_ignore_ascii_case(&part) {
                    next = Some(child);
                    break;
                }
            }
            at = next.ok_or_else(|| HiveError::NoKey(path.to_owned()))?;
        }
        Ok(at)
    }

    fn current(&self) -> Result<u32> {
        match self.get("Select", "Current")? {
            Some(Value::Dword(number)) => Ok(number),
            _ => Err(HiveError::NoKey("Select".to_owned())),
        }
    }

    fn values(&self, key: usize) -> Result<Vec<u32>> {
        let count = self.number(key + 36)? as usize;
        if count == 0 {
            return Ok(Vec::new());
        }
        let (at, len) = self.cell(self.number(key + 40)?)?;
        if count.saturating_mul(4) > len {
            return Err(damaged("a list of values that is too long", at));
        }
        (0..count).map(|index| self.number(at + index * 4)).collect()
    }

    fn value(&self, key: usize, name: &str) -> Result<Option<usize>> {
        for offset in self.values(key)? {
            let at = self.node(offset, b"vk", 20)?;
            let found = self.name(at + 20, self.short(at + 2)?, Letters::of(self.short(at + 16)?, 1))?;
            if found.eq_ignore_ascii_case(name) {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// A value of a key that is there; `None` where there is none, or of another type.
    pub fn get(&self, path: &str, name: &str) -> Result<Option<Value>> {
        let key = self.key(path)?;
        let Some(at) = self.value(key, name)? else { return Ok(None) };
        let (stored, kind) = (self.number(at + 4)?, self.number(at + 12)?);
        let len = (stored & 0x7fff_ffff) as usize;
        let from = if stored & 0x8000_0000 != 0 {
            at + 8
        } else {
            let (from, room) = self.cell(self.number(at + 8)?)?;
            if len > room {
                return Err(damaged("a value longer than its cell", from));
            }
            from
        };
        Ok(match kind {
            DWORD if len == 4 => Some(Value::Dword(self.number(from)?)),
            TEXT => Some(Value::Text(self.name(from, len, Letters::Wide)?.trim_end_matches('\0').to_owned())),
            _ => None,
        })
    }

    /// Sets a value of a key that is there.
    pub fn set(&mut self, path: &str, name: &str, value: &Value) -> Result<()> {
        let key = self.key(path)?;
        let (kind, data) = value.bytes();
        let (len, place) = if data.len() <= 4 {
            let mut inline = [0; 4];
            inline[..data.len()].copy_from_slice(&data);
            (data.len() as u32 | 0x8000_0000, inline)
        } else {
            (data.len() as u32, self.add(&data).to_le_bytes())
        };
        if let Some(at) = self.value(key, name)? {
            self.put(at + 4, &len.to_le_bytes())?;
            self.put(at + 8, &place)?;
            return self.put(at + 12, &kind.to_le_bytes());
        }
        let mut cell = b"vk".to_vec();
        cell.extend_from_slice(&(name.len() as u16).to_le_bytes());
        cell.extend_from_slice(&len.to_le_bytes());
        cell.extend_from_slice(&place);
        cell.extend_from_slice(&kind.to_le_bytes());
        cell.extend_from_slice(&[1, 0, 0, 0]);
        cell.extend_from_slice(name.as_bytes());
        let mut list = self.values(key)?;
        list.push(self.add(&cell));
        let bytes: Vec<u8> = list.iter().flat_map(|offset| offset.to_le_bytes()).collect();
        let list_at = self.add(&bytes);
        self.put(key + 36, &(list.len() as u32).to_le_bytes())?;
        self.put(key + 40, &list_at.to_le_bytes())?;
        for (at, len) in [(key + 60, name.len() * 2), (key + 64, data.len())] {
            let most = self.number(at)?.max(len as u32);
            self.put(at, &most.to_le_bytes())?;
        }
        Ok(())
    }

    /// A cell with these contents in a bin of its own; returns its offset.
    fn add(&mut self, contents: &[u8]) -> u32 {
        let start = self.bytes.len();
        let cell = (contents.len() + 4).next_multiple_of(8);
        let bin = (BIN_HEADER + cell).next_multiple_of(BASE);
        let mut new = vec![0; bin];
        new[..4].copy_from_slice(b"hbin");
        new[4..8].copy_from_slice(&((start - BASE) as u32).to_le_bytes());
        new[8..12].copy_from_slice(&(bin as u32).to_le_bytes());
        new[32..36].copy_from_slice(&(-(cell as i32)).to_le_bytes());
        new[36..36 + contents.len()].copy_from_slice(contents);
        let rest = bin - BIN_HEADER - cell;
        if rest > 0 {
            new[BIN_HEADER + cell..BIN_HEADER + cell + 4].copy_from_slice(&(rest as i32).to_le_bytes());
        }
        self.bytes.extend_from_slice(&new);
        (start - BASE + BIN_HEADER) as u32
    }

    /// The file.
    #[must_use]
    pub fn into_bytes(mut self) -> Vec<u8> {
        let size = (self.bytes.len() - BASE) as u32;
        self.bytes[40..44].copy_from_slice(&size.to_le_bytes());
        let sum = checksum(&self.bytes);
        self.bytes[508..512].copy_from_slice(&sum.to_le_bytes());
        self.bytes
    }
}

/// Of the base block: its first 508 bytes.
fn checksum(bytes: &[u8]) -> u32 {
    let words =
        bytes[..508].chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
    match words.fold(0, |sum, word| sum ^ word) {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        sum => sum,
    }
}

#[cfg(test)]
pub mod tests {
    use std::process::Command;

    use super::*;

    /// A hive with `Select`, `Setup` and two services, one of them with `StartOverride`, in one bin.
    pub fn small() -> Vec<u8> {
        let mut made = Maker { bin: vec![0; BIN_HEADER] };
        let start = made.value("Start", DWORD, 3);
        let atapi = made.key("atapi", &[], &[start]);
        let start = made.value("Start", DWORD, 3);
        let over = made.value("0", DWORD, 3);
        let over = made.key("StartOverride", &[], &[over]);
        let intelide = made.key("intelide", &[over], &[start]);
        let services = made.key("Services", &[atapi, intelide], &[]);
        let set = made.key("ControlSet002", &[services], &[]);
        let current = made.value("Current", DWORD, 2);
        let select = made.key("Select", &[], &[current]);
        let kind = made.value("SetupType", DWORD, 0);
        let setup = made.key("Setup", &[], &[kind]);
        let root = made.key("ROOT", &[set, select, setup], &[]);
        made.finish(root)
    }

    struct Maker {
        bin: Vec<u8>,
    }

    impl Maker {
        fn cell(&mut self, contents: &[u8]) -> u32 {
            let offset = self.bin.len() as u32;
            let size = (contents.len() + 4).next_multiple_of(8);
            self.bin.extend_from_slice(&(-(size as i32)).to_le_bytes());
            self.bin.extend_from_slice(contents);
            self.bin.resize(offset as usize + size, 0);
            offset
        }

        fn value(&mut self, name: &str, kind: u32, number: u32) -> u32 {
            let mut cell = b"vk".to_vec();
            cell.extend_from_slice(&(name.len() as u16).to_le_bytes());
            for part in [0x8000_0004, number, kind, 1] {
                cell.extend_from_slice(&u32::to_le_bytes(part));
            }
            cell.extend_from_slice(name.as_bytes());
            self.cell(&cell)
        }

        fn list(&mut self, offsets: &[u32]) -> u32 {
            if offsets.is_empty() {
                return u32::MAX;
            }
            let bytes: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
            self.cell(&bytes)
        }

        fn key(&mut self, name: &str, subkeys: &[u32], values: &[u32]) -> u32 {
            let keys = if subkeys.is_empty() {
                u32::MAX
            } else {
                let mut list = b"lh".to_vec();
                list.extend_from_slice(&(subkeys.len() as u16).to_le_bytes());
                for offset in subkeys {
                    list.extend_from_slice(&offset.to_le_bytes());
                    list.extend_from_slice(&hash(&self.name_at(*offset)).to_le_bytes());
                }
                self.cell(&list)
            };
            let list = self.list(values);
            let mut cell = vec![0; 76];
            cell[..2].copy_from_slice(b"nk");
            cell[2] = if name == "ROOT" { 0x2c } else { 0x20 };
            for (at, number) in [
                (20, subkeys.len() as u32),
                (28, keys),
                (32, u32::MAX),
                (36, values.len() as u32),
                (40, list),
                (44, u32::MAX),
                (48, u32::MAX),
                (60, 32),
                (64, 4),
            ] {
                cell[at..at + 4].copy_from_slice(&number.to_le_bytes());
            }
            cell[72..74].copy_from_slice(&(name.len() as u16).to_le_bytes());
            cell.extend_from_slice(name.as_bytes());
            let offset = self.cell(&cell);
            for child in subkeys {
                let at = *child as usize + 4 + 16;
                self.bin[at..at + 4].copy_from_slice(&offset.to_le_bytes());
            }
            offset
        }

        fn name_at(&self, key: u32) -> String {
            let at = key as usize + 4;
            let len = usize::from(u16::from_le_bytes([self.bin[at + 72], self.bin[at + 73]]));
            String::from_utf8(self.bin[at + 76..at + 76 + len].to_vec()).unwrap()
        }

        fn finish(mut self, root: u32) -> Vec<u8> {
            let used = self.bin.len();
            self.bin.resize(used.next_multiple_of(BASE), 0);
            let rest = (self.bin.len() - used) as i32;
            if rest > 0 {
                self.bin[used..used + 4].copy_from_slice(&rest.to_le_bytes());
            }
            let size = self.bin.len() as u32;
            self.bin[..4].copy_from_slice(b"hbin");
            self.bin[8..12].copy_from_slice(&size.to_le_bytes());
            let mut base = vec![0; BASE];
            base[..4].copy_from_slice(b"regf");
            for (at, number) in
                [(4, 7), (8, 7), (20, 1), (24, 5), (28, 0), (32, 1), (36, root), (40, size), (44, 1)]
            {
                base[at..at + 4].copy_from_slice(&u32::to_le_bytes(number));
            }
            let sum = checksum(&base);
            base[508..512].copy_from_slice(&sum.to_le_bytes());
            [base, self.bin].concat()
        }
    }

    /// Of a key's name in a list of kind `lh`.
    fn hash(name: &str) -> u32 {
        name.to_ascii_uppercase()
            .bytes()
            .fold(0u32, |sum, letter| sum.wrapping_mul(37).wrapping_add(u32::from(letter)))
    }

    #[test]
    fn values_are_set_and_read_again() {
        let mut hive = Hive::parse(small()).unwrap();
        assert_eq!(hive.get("Setup", "setuptype").unwrap(), Some(Value::Dword(0)));
        let service = "CurrentControlSet\\Services\\intelide";
        hive.set(service, "Start", &Value::Dword(0)).unwrap();
        hive.set("Setup", "SetupType", &Value::Dword(2)).unwrap();
        let command = Value::parse("\"cmd.exe /c C:\\\\xenith\\\\first-boot.cmd\"").unwrap();
        hive.set("Setup", "CmdLine", &command).unwrap();
        assert!(matches!(hive.set("Setup\\None", "x", &command), Err(HiveError::NoKey(_))));
        let bytes = hive.into_bytes();
        let again = Hive::parse(bytes.clone()).unwrap();
        assert_eq!(again.get("ControlSet002\\Services\\intelide", "Start").unwrap(), Some(Value::Dword(0)));
        assert_eq!(again.get("ControlSet002\\Services\\atapi", "Start").unwrap(), Some(Value::Dword(3)));
        let text = Value::Text("cmd.exe /c C:\\xenith\\first-boot.cmd".to_owned());
        assert_eq!(again.get("Setup", "CmdLine").unwrap(), Some(text));

        // Our own reading of our own writing proves little: hivex reads it too.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("SYSTEM");
        std::fs::write(&path, bytes).unwrap();
        for (key, name, expected) in [
            ("\\Setup", "SetupType", "2"),
            ("\\Setup", "CmdLine", "cmd.exe /c C:\\xenith\\first-boot.cmd"),
            ("\\ControlSet002\\Services\\intelide", "Start", "0"),
            ("\\ControlSet002\\Services\\atapi", "Start", "3"),
        ] {
            let Ok(said) = Command::new("hivexget").arg(&path).args([key, name]).output() else {
                eprintln!("hivexget (libhivex-bin) is not installed: this part is not tested");
                return;
            };
            let text = String::from_utf8_lossy(&said.stdout).trim().to_owned();
            assert_eq!(text, expected, "{key} {name}: {}", String::from_utf8_lossy(&said.stderr));
        }
    }

    #[test]
    fn a_hive_that_is_open_or_damaged_is_refused() {
        let good = small();
        let sum = |mut bytes: Vec<u8>| {
            let sum = checksum(&bytes);
            bytes[508..512].copy_from_slice(&sum.to_le_bytes());
            bytes
        };
        let change = |at: usize, with: &[u8]| {
            let mut bytes = good.clone();
            bytes[at..at + with.len()].copy_from_slice(with);
            bytes
        };
        assert!(matches!(Hive::parse(sum(change(8, &[9]))), Err(HiveError::Open)));
        for (name, bytes) in [
            ("empty", Vec::new()),
            ("no magic", change(0, b"x")),
            ("checksum", change(36, &[1])),
            ("bins past the end", sum(change(40, &[0xff; 4]))),
        ] {
            assert!(matches!(Hive::parse(bytes), Err(HiveError::Damaged(_))), "{name}");
        }
        // Whatever a byte of it is: an error or an answer, never a panic or a walk without end.
        for at in (BASE..good.len()).step_by(3) {
            for with in [0, 0x7f, 0xff] {
                if let Ok(mut hive) = Hive::parse(change(at, &[with; 4][..(good.len() - at).min(4)])) {
                    let _any_error_will_do = hive.set("Setup", "CmdLine", &Value::Text("x".to_owned()));
                    let _any_error_will_do = hive.get("CurrentControlSet\\Services\\atapi", "Start");
                }
            }
        }
        assert_eq!(Value::parse("dword:0000001f"), Some(Value::Dword(31)));
        assert_eq!(Value::parse("hex:00"), None);
    }
}
