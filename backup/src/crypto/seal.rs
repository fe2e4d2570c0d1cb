//! Sealing to a public key: X25519 with a fresh key each time, so that whoever sealed something cannot open it again.
//!
//! The key that wraps is derived from the agreed secret and both public keys, as RFC 7748 section 6.1 asks for. All
//! zeros, which a public key of small order would lead to, is refused by the agreement itself.

use aws_lc_rs::agreement::{
    EphemeralPrivateKey, PrivateKey, UnparsedPublicKey, X25519, agree, agree_ephemeral,
};
use aws_lc_rs::rand::SystemRandom;

use super::{KEY_LEN, NotAuthentic, Secret32, WrapKey};

/// The public half of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealPublic([u8; KEY_LEN]);

fn wrap_key(agreed: &[u8], ephemeral: &[u8; KEY_LEN], recipient: &SealPublic) -> WrapKey {
    let mut hasher = blake3::Hasher::new_derive_key("xenith-backup format 1 seal");
    hasher.update(agreed).update(ephemeral).update(&recipient.0);
    WrapKey::new(&Secret32::new(*hasher.finalize().as_bytes()))
}

impl SealPublic {
    /// `None` for one that nothing can be sealed to.
    #[must_use]
    pub fn parse(bytes: [u8; KEY_LEN]) -> Option<Self> {
        let public = Self(bytes);
        public.try_seal().ok().map(|_| public)
    }

    #[must_use]
    pub const fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    fn try_seal(&self) -> Result<([u8; KEY_LEN], WrapKey), NotAuthentic> {
        let mine = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(|_| NotAuthentic)?;
        let public = mine.compute_public_key().map_err(|_| NotAuthentic)?;
        let public: [u8; KEY_LEN] = public.as_ref().try_into().map_err(|_| NotAuthentic)?;
        let theirs = UnparsedPublicKey::new(&X25519, self.0);
        let key = agree_ephemeral(mine, theirs, NotAuthentic, |agreed| Ok(wrap_key(agreed, &public, self)))?;
        Ok((public, key))
    }

    /// A fresh public key to put beside what is wrapped, and the key to wrap it with.
    #[must_use]
    pub fn seal(&self) -> ([u8; KEY_LEN], WrapKey) {
        self.try_seal().expect("it was tried when the key was parsed")
    }
}

/// The secret half.
#[derive(Debug, Clone)]
pub struct SealSecret(Secret32);

impl SealSecret {
    #[must_use]
    pub fn random() -> Self {
        Self(Secret32::random())
    }

    #[must_use]
    pub const fn new(secret: Secret32) -> Self {
        Self(secret)
    }

    #[must_use]
    pub const fn expose(&self) -> &[u8; KEY_LEN] {
        self.0.expose()
    }

    fn key(&self) -> Result<PrivateKey, NotAuthentic> {
        PrivateKey::from_private_key(&X25519, self.0.expose()).map_err(|_| NotAuthentic)
    }

    #[must_use]
    pub fn public(&self) -> SealPublic {
        let key = self.key().expect("any 32 bytes are a key of X25519");
        let public = key.compute_public_key().expect("every key has a public half");
        SealPublic(public.as_ref().try_into().expect("public keys of X25519 have 32 bytes"))
    }

    /// The key that was used with `ephemeral`.
    pub fn open(&self, ephemeral: &[u8; KEY_LEN]) -> Result<WrapKey, NotAuthentic> {
        let (mine, recipient) = (self.key()?, self.public());
        let theirs = UnparsedPublicKey::new(&X25519, ephemeral);
        agree(&mine, theirs, NotAuthentic, |agreed| Ok(wrap_key(agreed, ephemeral, &recipient)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secret_half_opens_it() {
        let (secret, other) = (SealSecret::random(), SealSecret::random());
        let public = SealPublic::parse(*secret.public().bytes()).unwrap();
        let key = Secret32::random();
        let (ephemeral, wrap) = public.seal();
        let wrapped = wrap.wrap(b"pack", &key);
        assert_eq!(secret.open(&ephemeral).unwrap().unwrap(b"pack", &wrapped), Ok(key));
        assert_eq!(other.open(&ephemeral).unwrap().unwrap(b"pack", &wrapped), Err(NotAuthentic));
        assert_ne!(public.seal().0, ephemeral, "each time another key");
        let (foreign, _) = public.seal();
        assert_eq!(secret.open(&foreign).unwrap().unwrap(b"pack", &wrapped), Err(NotAuthentic));
    }

    #[test]
    fn keys_of_small_order_are_refused() {
        let mut one = [0; 32];
        one[0] = 1;
        for bytes in [[0; 32], one] {
            assert_eq!(SealPublic::parse(bytes), None);
            assert!(SealSecret::random().open(&bytes).is_err());
        }
    }
}
