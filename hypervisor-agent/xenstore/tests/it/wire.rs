//! The codec: what it makes it reads, and what is no message it refuses without harm.

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;
use xenith_hypervisor_agent_xenstore::wire::{
    DIRECTORY_MAX, Decoder, ErrorCode, HEADER_LEN, Incoming, Message, MessageType, PAYLOAD_MAX, RequestId,
    TxId, WireError, encode, nul_terminated, parse_watch_event, strings,
};

fn message() -> impl Strategy<Value = Message> {
    let kind = proptest::sample::select(MessageType::ALL);
    let payload = proptest::collection::vec(any::<u8>(), 0..=PAYLOAD_MAX);
    (kind, any::<u32>(), any::<u32>(), payload).prop_map(|(kind, request, transaction, payload)| Message {
        kind,
        request: RequestId(request),
        transaction: TxId(transaction),
        payload: Bytes::from(payload),
    })
}

fn decode_all(decoder: &mut Decoder, input: &mut BytesMut) -> Result<Vec<Incoming>, WireError> {
    std::iter::from_fn(|| decoder.take(input).transpose()).collect()
}

proptest! {
    #[test]
    fn a_stream_survives_any_fragmentation(
        messages in proptest::collection::vec(message(), 0..8),
        cuts in proptest::collection::vec(1usize..6000, 1..40),
    ) {
        let mut stream = BytesMut::new();
        for message in &messages {
            encode(message, &mut stream).unwrap();
        }
        let (mut decoder, mut input, mut seen) = (Decoder::default(), BytesMut::new(), Vec::new());
        let mut cuts = cuts.into_iter().cycle();
        while !stream.is_empty() {
            let piece = stream.split_to(cuts.next().unwrap().min(stream.len()));
            input.extend_from_slice(&piece);
            seen.extend(decode_all(&mut decoder, &mut input).unwrap());
        }
        let messages: Vec<Incoming> = messages.into_iter().map(Incoming::Message).collect();
        prop_assert_eq!(seen, messages);
        prop_assert!(input.is_empty());
    }

    #[test]
    fn any_bytes_are_messages_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut input = BytesMut::from(&bytes[..]);
        if let Ok(messages) = decode_all(&mut Decoder::default(), &mut input) {
            for incoming in messages {
                let Incoming::Message(message) = incoming else { continue };
                let _ = (parse_watch_event(&message.payload), ErrorCode::parse(&message.payload));
                prop_assert!(strings(&message.payload).count() <= message.payload.len());
            }
        }
    }

    #[test]
    fn strings_come_back(list in proptest::collection::vec("[a-z/@-]{0,20}", 0..10)) {
        let list: Vec<&str> = list.iter().map(String::as_str).collect();
        let payload = nul_terminated(&list);
        let seen: Vec<&[u8]> = strings(&payload).collect();
        prop_assert_eq!(seen, list.iter().map(|s| s.as_bytes()).collect::<Vec<_>>());
    }
}

fn header(kind: u32, len: u32) -> BytesMut {
    let mut bytes = BytesMut::new();
    for word in [kind, 1, 0, len] {
        bytes.put_u32_ne(word);
    }
    bytes
}

#[test]
fn adversarial_headers() {
    let oversize = PAYLOAD_MAX as u32 + 1;
    for (name, kind, len, expected) in [
        ("largest payload, not there yet", 2, PAYLOAD_MAX as u32, Ok(None)),
        ("one byte too long", 2, oversize, Err(WireError::Oversize(PAYLOAD_MAX + 1))),
        ("a directory that is longer, not there yet", 1, oversize, Ok(None)),
        ("the longest directory, not there yet", 1, DIRECTORY_MAX as u32, Ok(None)),
        (
            "a directory that is skipped",
            1,
            DIRECTORY_MAX as u32 + 1,
            Ok(Some(Incoming::TooLong { request: RequestId(1) })),
        ),
        ("a part of a directory has its limit", 22, oversize, Err(WireError::Oversize(PAYLOAD_MAX + 1))),
        ("length of all ones", 2, u32::MAX, Err(WireError::Oversize(u32::MAX as usize))),
        ("length that is negative in C", 2, 1 << 31, Err(WireError::Oversize(1 << 31))),
        ("the type that was removed", 20, 0, Err(WireError::UnknownType(20))),
        ("first type past the end", 23, 0, Err(WireError::UnknownType(23))),
        ("the invalid type", 0xffff, 0, Err(WireError::UnknownType(0xffff))),
        ("type of all ones", u32::MAX, 0, Err(WireError::UnknownType(u32::MAX))),
        ("the other byte order", 2u32.swap_bytes(), 4, Err(WireError::UnknownType(2u32.swap_bytes()))),
    ] {
        let mut input = header(kind, len);
        let skipped = matches!(&expected, Ok(Some(_)));
        assert_eq!(Decoder::default().take(&mut input), expected, "{name}");
        assert_eq!(input.len(), if skipped { 0 } else { HEADER_LEN }, "{name}");
        assert!(input.capacity() < PAYLOAD_MAX, "{name}: nothing set aside");
    }
    for len in 0..HEADER_LEN {
        let seen = Decoder::default().take(&mut header(99, 0).split_to(len));
        assert_eq!(seen, Ok(None), "{len} bytes are no header");
    }
}

/// In pieces of several sizes, each of which is gone when it was looked at.
#[test]
fn a_payload_that_is_skipped_is_not_kept_and_the_stream_goes_on_behind_it() {
    let len = DIRECTORY_MAX + 5000;
    let behind = Message {
        kind: MessageType::Read,
        request: RequestId(2),
        transaction: TxId::NONE,
        payload: Bytes::new(),
    };
    let mut stream = header(MessageType::Directory as u32, len as u32);
    stream.put_bytes(b'x', len);
    encode(&behind, &mut stream).unwrap();
    for piece in [1000, 16 * 1024, len + 2 * HEADER_LEN] {
        let (mut decoder, mut input, mut seen) = (Decoder::default(), BytesMut::new(), Vec::new());
        for piece in stream.chunks(piece) {
            input.extend_from_slice(piece);
            seen.extend(decode_all(&mut decoder, &mut input).unwrap());
            assert!(input.len() < HEADER_LEN, "{} bytes are kept", input.len());
        }
        let expected = [Incoming::TooLong { request: RequestId(1) }, Incoming::Message(behind.clone())];
        assert_eq!(seen, expected, "pieces of {piece}");
    }
}

#[test]
fn an_oversize_message_is_not_written() {
    let payload = Bytes::from(vec![0; PAYLOAD_MAX + 1]);
    let message =
        Message { kind: MessageType::Write, request: RequestId(1), transaction: TxId::NONE, payload };
    let mut out = BytesMut::new();
    assert_eq!(encode(&message, &mut out), Err(WireError::Oversize(PAYLOAD_MAX + 1)));
    assert!(out.is_empty());
}

#[test]
fn watch_events() {
    type Parsed = Option<(&'static str, &'static str)>;
    let cases: [(&str, &[u8], Parsed); 9] = [
        ("ordinary", b"/a/b\0token\0", Some(("/a/b", "token"))),
        ("without the last NUL", b"/a\x007", Some(("/a", "7"))),
        ("special", b"@releaseDomain\x003\0", Some(("@releaseDomain", "3"))),
        ("with more behind", b"/a\0t\0more\0", Some(("/a", "t"))),
        ("no token", b"/a\0", None),
        ("empty", b"", None),
        ("only NULs", b"\0\0", None),
        ("path not UTF-8", b"/\xff\0t\0", None),
        ("token not UTF-8", b"/a\0\xff\0", None),
    ];
    for (name, payload, expected) in cases {
        assert_eq!(parse_watch_event(payload).ok(), expected, "{name}");
    }
}

#[test]
fn error_codes() {
    for (name, payload, expected) in [
        ("with NUL", b"ENOENT\0".as_slice(), ErrorCode::Enoent),
        ("without NUL", b"EAGAIN", ErrorCode::Eagain),
        ("of oxenstored alone", b"EQUOTA\0", ErrorCode::Equota),
        ("longer than known", b"ENOENTX\0", ErrorCode::Unknown),
        ("empty", b"", ErrorCode::Unknown),
        ("binary", b"\xff\xfe", ErrorCode::Unknown),
    ] {
        assert_eq!(ErrorCode::parse(payload), expected, "{name}");
    }
}
