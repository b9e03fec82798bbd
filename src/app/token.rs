//! The admin token and the key of the history, made at first start when the configuration gives none.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use crate::random::Random;
use crate::store::ChainKey;

/// Where the made token is: beside the store.
pub fn token_file(store: &Path) -> PathBuf {
    store.with_file_name("admin-token")
}

/// Where the made key of the history is: beside the store too.
pub fn history_key_file(store: &Path) -> PathBuf {
    store.with_file_name("history-key")
}

/// The token in the file, made with mode 0600 if there is none.
pub fn made_token(store: &Path, random: &Random) -> anyhow::Result<SecretString> {
    made(&token_file(store), "admin token", random)
}

/// What seals the history: configured, or made beside the store. A store whose key is lost still
/// works; its history cannot be verified any more.
pub fn history_key(
    configured: Option<&SecretString>,
    store: &Path,
    random: &Random,
) -> anyhow::Result<ChainKey> {
    let secret = match configured {
        Some(secret) => secret.clone(),
        None => made(&history_key_file(store), "key of the history", random)?,
    };
    Ok(sealing(&secret))
}

/// What seals the history, if there is such a key already: none is made.
pub fn kept_history_key(configured: Option<&SecretString>, store: &Path) -> anyhow::Result<Option<ChainKey>> {
    if let Some(secret) = configured {
        return Ok(Some(sealing(secret)));
    }
    let file = history_key_file(store);
    if !file.try_exists().with_context(|| format!("cannot look for {}", file.display()))? {
        return Ok(None);
    }
    kept(&file, "key of the history").map(|secret| Some(sealing(&secret)))
}

/// Of any length, so it is brought to that of a key.
fn sealing(secret: &SecretString) -> ChainKey {
    ChainKey::new(Sha256::digest(secret.expose_secret().as_bytes()).into())
}

fn made(path: &Path, what: &str, random: &Random) -> anyhow::Result<SecretString> {
    let shown = path.display();
    let secret = BASE64_URL_SAFE_NO_PAD.encode(random.secret::<32>());
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            file.write_all(secret.as_bytes())
                .and_then(|()| file.sync_all())
                .with_context(|| format!("cannot write the {what} to {shown}"))?;
            Ok(secret.into())
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => kept(path, what),
        Err(error) => Err(error).with_context(|| format!("cannot make the {what} {shown}")),
    }
}

fn kept(path: &Path, what: &str) -> anyhow::Result<SecretString> {
    let shown = path.display();
    let secret =
        std::fs::read_to_string(path).with_context(|| format!("cannot read the {what} in {shown}"))?;
    let secret = secret.trim();
    anyhow::ensure!(
        !secret.is_empty(),
        "the {what} in {shown} is empty: delete the file, and a new one is made"
    );
    Ok(secret.to_owned().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn it_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("queue.redb");
        let made = made_token(&store, &Random::system()).unwrap();
        let again = made_token(&store, &Random::system()).unwrap();
        assert_eq!(made.expose_secret(), again.expose_secret());
        assert!(made.expose_secret().len() >= 32);
        let mode = std::fs::metadata(token_file(&store)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(token_file(&store), "\n").unwrap();
        assert!(made_token(&store, &Random::system()).unwrap_err().to_string().contains("is empty"));
    }
}
