//! The ciphers and the randomness, and nothing else.
//!
//! A [`DataKey`] encrypts one object and is fresh for it, so that its nonces can be the byte offsets of the
//! frames: they never repeat and need no store. A [`WrapKey`] encrypts other keys, with random nonces; at most
//! 2^32 objects may be written under one of them, which `key rotate` starts anew long before. A [`SealPublic`] gives such
//! a key for one use to somebody who cannot get it a second time.

mod seal;

use aws_lc_rs::aead::{
    AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};

pub use seal::{SealPublic, SealSecret};

/// Bytes an encrypted frame is longer than its plain text.
pub const TAG_LEN: usize = 16;
/// Bytes of a wrapped key: nonce, key, tag.
pub const WRAPPED_LEN: usize = NONCE_LEN + KEY_LEN + TAG_LEN;
pub const KEY_LEN: usize = 32;

/// The cipher of an object; the number is in its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Cipher {
    Aes256Gcm = 1,
    ChaCha20Poly1305 = 2,
}

impl Cipher {
    #[must_use]
    pub const fn parse(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Aes256Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// AES where the processor has it, as 5 GB/s a core say; otherwise `ChaCha20`, which is faster and leaks no
    /// timing without it.
    #[must_use]
    pub fn for_this_machine() -> Self {
        #[cfg(target_arch = "x86_64")]
        let aes = std::arch::is_x86_feature_detected!("aes");
        #[cfg(target_arch = "aarch64")]
        let aes = std::arch::is_aarch64_feature_detected!("aes");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let aes = false;
        if aes { Self::Aes256Gcm } else { Self::ChaCha20Poly1305 }
    }

    fn algorithm(self) -> &'static Algorithm {
        match self {
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        }
    }
}

/// Bytes did not decrypt: wrong key, or not what was written there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("authentication failed")]
pub struct NotAuthentic;

/// Key material that is wiped when dropped and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret32([u8; KEY_LEN]);

impl Secret32 {
    #[must_use]
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub fn random() -> Self {
        Self(random())
    }

    #[must_use]
    pub const fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Another key for `context`, from which this one cannot be found.
    #[must_use]
    pub fn derive(&self, context: &str) -> Self {
        Self(blake3::derive_key(context, &self.0))
    }
}

impl Drop for Secret32 {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

impl std::fmt::Debug for Secret32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret32(..)")
    }
}

fn less_safe(cipher: Cipher, key: &Secret32) -> LessSafeKey {
    let key = UnboundKey::new(cipher.algorithm(), key.expose()).expect("both ciphers take 32 bytes");
    LessSafeKey::new(key)
}

/// The key of one object.
#[derive(Debug)]
pub struct DataKey {
    key: LessSafeKey,
}

impl DataKey {
    #[must_use]
    pub fn new(cipher: Cipher, key: &Secret32) -> Self {
        Self { key: less_safe(cipher, key) }
    }

    fn nonce(offset: u64) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&offset.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    /// Encrypts the bytes of `buf` from `start` on in place and appends the tag. `offset` is where they will
    /// lie in the object.
    pub fn seal(&self, offset: u64, aad: &[u8], buf: &mut Vec<u8>, start: usize) {
        let tag = self
            .key
            .seal_in_place_separate_tag(Self::nonce(offset), Aad::from(aad), &mut buf[start..])
            .expect("frames are far below the cipher's limit of 64 GiB");
        buf.extend_from_slice(tag.as_ref());
    }

    /// Encrypts all but the last [`TAG_LEN`] bytes of `slot` in place and puts the tag there.
    pub fn seal_slot(&self, offset: u64, slot: &mut [u8]) {
        let (body, tag_slot) = slot.split_at_mut(slot.len() - TAG_LEN);
        let tag = self
            .key
            .seal_in_place_separate_tag(Self::nonce(offset), Aad::from(&[]), body)
            .expect("frames are far below the cipher's limit of 64 GiB");
        tag_slot.copy_from_slice(tag.as_ref());
    }

    /// Decrypts in place; gives the plain part.
    pub fn open<'a>(&self, offset: u64, aad: &[u8], buf: &'a mut [u8]) -> Result<&'a [u8], NotAuthentic> {
        let plain = self.key.open_in_place(Self::nonce(offset), Aad::from(aad), buf);
        plain.map(|plain| &*plain).map_err(|_| NotAuthentic)
    }
}

/// A key that encrypts keys.
#[derive(Debug)]
pub struct WrapKey {
    key: LessSafeKey,
}

impl WrapKey {
    #[must_use]
    pub fn new(key: &Secret32) -> Self {
        Self { key: less_safe(Cipher::Aes256Gcm, key) }
    }

    /// Nonce, ciphertext, tag.
    #[must_use]
    pub fn seal(&self, aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = random();
        let mut out = Vec::with_capacity(NONCE_LEN + plain.len() + TAG_LEN);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plain);
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad),
                &mut out[NONCE_LEN..],
            )
            .expect("keys are far below the cipher's limit of 64 GiB");
        out.extend_from_slice(tag.as_ref());
        out
    }

    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, NotAuthentic> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(NotAuthentic)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotAuthentic)?;
        let mut body = body.to_vec();
        let plain = self.key.open_in_place(nonce, Aad::from(aad), &mut body).map_err(|_| NotAuthentic)?;
        let len = plain.len();
        body.truncate(len);
        Ok(body)
    }

    #[must_use]
    pub fn wrap(&self, aad: &[u8], key: &Secret32) -> [u8; WRAPPED_LEN] {
        self.seal(aad, key.expose()).try_into().expect("nonce, key and tag have fixed lengths")
    }

    pub fn unwrap(&self, aad: &[u8], wrapped: &[u8; WRAPPED_LEN]) -> Result<Secret32, NotAuthentic> {
        let plain: [u8; KEY_LEN] = self.open(aad, wrapped)?.try_into().map_err(|_| NotAuthentic)?;
        Ok(Secret32::new(plain))
    }
}

/// Bytes from the system's generator.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system's random generator works, or nothing is safe");
    bytes
}

/// A name nobody else has: 32 hex digits.
#[must_use]
pub fn random_hex() -> String {
    crate::id::hex(&random::<16>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_open_only_where_and_as_they_were_sealed() {
        for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
            let secret = Secret32::random();
            let key = DataKey::new(cipher, &secret);
            let mut sealed = b"keep|payload".to_vec();
            key.seal(128, b"aad", &mut sealed, 5);
            assert_eq!(sealed.len(), 12 + TAG_LEN);
            assert_eq!(&sealed[..5], b"keep|");
            let frame = sealed[5..].to_vec();
            let open = |offset, aad: &[u8], frame: &[u8]| {
                key.open(offset, aad, &mut frame.to_vec()).map(<[u8]>::to_vec)
            };
            assert_eq!(open(128, b"aad", &frame).unwrap(), b"payload");
            assert_eq!(open(129, b"aad", &frame), Err(NotAuthentic));
            assert_eq!(open(128, b"bad", &frame), Err(NotAuthentic));
            let mut flipped = frame.clone();
            flipped[2] ^= 1;
            assert_eq!(open(128, b"aad", &flipped), Err(NotAuthentic));
            assert_eq!(open(128, b"aad", &frame[..10]), Err(NotAuthentic));
        }
    }

    #[test]
    fn wrapped_keys_are_bound_to_their_context() {
        let (outer, inner) = (WrapKey::new(&Secret32::random()), Secret32::random());
        let wrapped = outer.wrap(b"pack", &inner);
        assert_eq!(outer.unwrap(b"pack", &wrapped), Ok(inner));
        assert_eq!(outer.unwrap(b"index", &wrapped), Err(NotAuthentic));
        assert_eq!(outer.open(b"", &[0; 5]), Err(NotAuthentic));
    }
}
