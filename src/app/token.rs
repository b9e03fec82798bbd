//! The admin token, made at first start when the configuration gives none.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::SecretString;

use crate::random::Random;

/// Where the made token is: beside the store.
pub fn token_file(store: &Path) -> PathBuf {
    store.with_file_name("admin-token")
}

/// The token in the file, made with mode 0600 if there is none.
pub fn made_token(store: &Path, random: &Random) -> anyhow::Result<SecretString> {
    let path = token_file(store);
    let shown = path.display();
    let token = BASE64_URL_SAFE_NO_PAD.encode(random.secret::<32>());
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
        Ok(mut file) => {
            file.write_all(token.as_bytes())
                .with_context(|| format!("cannot write the admin token to {shown}"))?;
            file.sync_all().with_context(|| format!("cannot write the admin token to {shown}"))?;
            Ok(token.into())
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let token = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read the admin token in {shown}"))?;
            let token = token.trim();
            anyhow::ensure!(
                !token.is_empty(),
                "the admin token in {shown} is empty: delete the file, and a new one is made"
            );
            Ok(token.to_owned().into())
        }
        Err(error) => Err(error).with_context(|| format!("cannot make the admin token {shown}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;
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
