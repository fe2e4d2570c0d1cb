//! Passwords: Argon2id with the library's parameters (19 MiB, two passes: OWASP's advice), on blocking threads,
//! few at a time so that a storm of logins cannot take all memory.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;
use xenith_orchestrator_types::ApiError;

/// 19 MiB each.
static PLACES: Semaphore = Semaphore::const_new(4);
const SHORTEST: usize = 12;
const LONGEST: usize = 1024;

/// Length is what counts; rules about digits and signs make passwords worse. `field` is where the request has it.
pub fn check(field: &str, password: &str) -> Result<(), ApiError> {
    match password.chars().count() {
        SHORTEST..=LONGEST => Ok(()),
        count if count < SHORTEST => {
            Err(ApiError::invalid(field, format_args!("is too short; use at least {SHORTEST} characters")))
        }
        _ => Err(ApiError::invalid(field, format_args!("is longer than {LONGEST} characters"))),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let _place = PLACES.acquire().await.map_err(ApiError::internal)?;
    tokio::task::spawn_blocking(work).await.map_err(ApiError::internal)?
}

/// In PHC form, with a new salt.
pub async fn hash(password: String) -> Result<String, ApiError> {
    blocking(move || {
        let hash = Argon2::default().hash_password(password.as_bytes()).map_err(ApiError::internal)?;
        Ok(hash.to_string())
    })
    .await
}

pub async fn verify(password: String, hash: String) -> Result<bool, ApiError> {
    // Nobody has a longer one, and hashing megabytes for strangers is not our business.
    if password.chars().count() > LONGEST {
        return Ok(false);
    }
    blocking(move || {
        let hash = PasswordHash::new(&hash).map_err(ApiError::internal)?;
        Ok(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_stored_is_argon2id_with_a_salt_of_its_own() {
        let password = "correct horse battery";
        let [one, other] =
            [hash(password.to_owned()).await.unwrap(), hash(password.to_owned()).await.unwrap()];
        for hash in [&one, &other] {
            assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
            assert!(verify(password.to_owned(), hash.clone()).await.unwrap());
            assert!(!verify("correct horse batterx".to_owned(), hash.clone()).await.unwrap());
        }
        assert_ne!(one, other);
    }

    #[test]
    fn length_is_all_that_counts() {
        for (length, taken) in
            [(SHORTEST - 1, false), (SHORTEST, true), (LONGEST, true), (LONGEST + 1, false)]
        {
            let checked = check("new", &"ä".repeat(length));
            assert_eq!(checked.is_ok(), taken, "{length}");
        }
        assert_eq!(check("new", "short").unwrap_err().data.field.as_deref(), Some("new"));
    }
}
