//! The negotiation before the first request.

use std::io::{self, Read, Write};

use super::Export;
use super::wire::*;

/// What client and server agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Agreed {
    pub structured: bool,
    pub block_status: bool,
}

/// The id of `base:allocation`, the one context there is.
pub const CONTEXT: u32 = 1;

fn read_array<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn flags(export: &Export) -> u16 {
    let common = HAS_FLAGS | CAN_MULTI_CONN;
    match export.disk.overlay() {
        None => common | READ_ONLY,
        Some(_) => common | SEND_FLUSH | SEND_FUA | SEND_TRIM | SEND_WRITE_ZEROES,
    }
}

/// Negotiates until the client starts sending requests, or leaves (`None`).
pub fn negotiate(stream: &mut (impl Read + Write), export: &Export) -> io::Result<Option<Agreed>> {
    let mut hello = NBD_MAGIC.to_be_bytes().to_vec();
    hello.extend_from_slice(&OPTION_MAGIC.to_be_bytes());
    hello.extend_from_slice(&(FIXED_NEWSTYLE | NO_ZEROES).to_be_bytes());
    stream.write_all(&hello)?;
    let client = u32::from_be_bytes(read_array(stream)?);
    if client & u32::from(FIXED_NEWSTYLE) == 0 || client & !u32::from(FIXED_NEWSTYLE | NO_ZEROES) != 0 {
        return Err(bad("the client does not speak fixed newstyle"));
    }
    let mut agreed = Agreed::default();
    loop {
        if u64::from_be_bytes(read_array(stream)?) != OPTION_MAGIC {
            return Err(bad("the client sent no option"));
        }
        let option = u32::from_be_bytes(read_array(stream)?);
        let len = u32::from_be_bytes(read_array(stream)?);
        if len > MAX_OPTION {
            return Err(bad("the client sent an overlong option"));
        }
        let mut data = vec![0; len as usize];
        stream.read_exact(&mut data)?;
        match option {
            OPT_ABORT => {
                reply(stream, option, REP_ACK, &[])?;
                return Ok(None);
            }
            OPT_EXPORT_NAME => {
                if !is_ours(&data, export) {
                    return Err(bad("the client asked for another export"));
                }
                let mut answer = export.disk.size().to_be_bytes().to_vec();
                answer.extend_from_slice(&flags(export).to_be_bytes());
                if client & u32::from(NO_ZEROES) == 0 {
                    answer.extend_from_slice(&[0; 124]);
                }
                stream.write_all(&answer)?;
                return Ok(Some(agreed));
            }
            OPT_GO if go(stream, option, &data, export)? => return Ok(Some(agreed)),
            OPT_GO => {}
            OPT_INFO => {
                go(stream, option, &data, export)?;
            }
            OPT_LIST => {
                let mut entry = (export.name.len() as u32).to_be_bytes().to_vec();
                entry.extend_from_slice(export.name.as_bytes());
                reply(stream, option, REP_SERVER, &entry)?;
                reply(stream, option, REP_ACK, &[])?;
            }
            OPT_STRUCTURED_REPLY => {
                agreed.structured = true;
                reply(stream, option, REP_ACK, &[])?;
            }
            OPT_LIST_META_CONTEXT | OPT_SET_META_CONTEXT => {
                agreed.block_status |= contexts(stream, option, &data, export)? && agreed.structured;
            }
            _ => reply(stream, option, REP_ERR_UNSUP, &[])?,
        }
    }
}

fn reply(stream: &mut impl Write, option: u32, kind: u32, data: &[u8]) -> io::Result<()> {
    let mut out = OPTION_REPLY_MAGIC.to_be_bytes().to_vec();
    out.extend_from_slice(&option.to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&(data.len() as u32).to_be_bytes());
    out.extend_from_slice(data);
    stream.write_all(&out)
}

/// The empty name is the default export.
fn is_ours(name: &[u8], export: &Export) -> bool {
    name.is_empty() || name == export.name.as_bytes()
}

/// A string with its length before it, and what follows.
fn string(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = data.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_be_bytes(*len) as usize)
}

fn go(stream: &mut impl Write, option: u32, data: &[u8], export: &Export) -> io::Result<bool> {
    let Some((name, _)) = string(data) else {
        reply(stream, option, REP_ERR_INVALID, &[])?;
        return Ok(false);
    };
    if !is_ours(name, export) {
        reply(stream, option, REP_ERR_UNKNOWN, &[])?;
        return Ok(false);
    }
    let mut info = INFO_EXPORT.to_be_bytes().to_vec();
    info.extend_from_slice(&export.disk.size().to_be_bytes());
    info.extend_from_slice(&flags(export).to_be_bytes());
    reply(stream, option, REP_INFO, &info)?;
    let mut sizes = INFO_BLOCK_SIZE.to_be_bytes().to_vec();
    for size in [1, 64 * 1024, MAX_REQUEST] {
        sizes.extend_from_slice(&size.to_be_bytes());
    }
    reply(stream, option, REP_INFO, &sizes)?;
    reply(stream, option, REP_ACK, &[])?;
    Ok(true)
}

/// Answers with `base:allocation` if the client asked for it, or for all.
fn contexts(stream: &mut impl Write, option: u32, data: &[u8], export: &Export) -> io::Result<bool> {
    let parsed = string(data).and_then(|(name, rest)| {
        let (count, mut rest) = rest.split_first_chunk::<4>()?;
        let mut wanted = u32::from_be_bytes(*count) == 0 && option == OPT_LIST_META_CONTEXT;
        for _ in 0..u32::from_be_bytes(*count).min(MAX_OPTION / 4) {
            let (query, tail) = string(rest)?;
            wanted |= matches!(query, b"base:allocation" | b"base:");
            rest = tail;
        }
        Some((is_ours(name, export), wanted))
    });
    match parsed {
        None => reply(stream, option, REP_ERR_INVALID, &[])?,
        Some((false, _)) => reply(stream, option, REP_ERR_UNKNOWN, &[])?,
        Some((true, wanted)) => {
            if wanted {
                let mut entry = CONTEXT.to_be_bytes().to_vec();
                entry.extend_from_slice(b"base:allocation");
                reply(stream, option, REP_META_CONTEXT, &entry)?;
            }
            reply(stream, option, REP_ACK, &[])?;
            return Ok(wanted && option == OPT_SET_META_CONTEXT);
        }
    }
    Ok(false)
}
