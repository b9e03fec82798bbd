//! `[[events]]`: who is told of what, and how it is signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::Receiver;
use super::kind::parse_receiver;
use super::settings::Settings;
use crate::domain::event::Kind;

/// What a secret of Standard Webhooks begins with.
const PREFIX: &str = "whsec_";
/// Source: Standard Webhooks, "Signature scheme": between 24 and 64 bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

pub fn events(settings: &mut Settings) -> Vec<Receiver> {
    (0..settings.n_rows("events")).filter_map(|n| receiver(settings, n)).collect()
}

fn receiver(settings: &mut Settings, n: usize) -> Option<Receiver> {
    let path = |name| format!("events[{n}].{name}");
    let slack = settings.text(&path("format")) == Some("slack");
    let url = settings.secret(&path("url"));
    if let Some(url) = &url
        && let Err(complaint) = parse_receiver(url.expose_secret())
    {
        settings.problem(&path("url"), format!("{}: {}", path("url"), complaint.what), complaint.todo);
    } else if settings.given(&path("url")).is_none() {
        let what = format!("{} is missing", path("url"));
        settings.problem(&format!("events[{n}]"), what, "say where to: url or url_file");
    }
    let mut secrets = Vec::new();
    for secret in settings.secrets(&path("secret")) {
        match read_secret(&secret) {
            Ok(secret) => secrets.push(secret),
            Err(what) => {
                let todo = "make one with: echo whsec_$(openssl rand -base64 32)";
                settings.problem(&path("secret"), format!("{}: {what}", path("secret")), todo);
            }
        }
    }
    if !slack && settings.given(&path("secret")).is_none() {
        let what = format!("{} is missing: by it a receiver knows that an event is ours", path("secret"));
        settings.problem(
            &format!("events[{n}]"),
            what,
            "make one with: echo whsec_$(openssl rand -base64 32)",
        );
    }
    let types = settings.texts(&path("types"));
    Some(Receiver {
        url: url?,
        secrets,
        slack,
        quiet_window: settings.duration(&path("quiet_window")),
        types: types.iter().filter_map(|name| Kind::by_name(name)).collect(),
    })
}

fn read_secret(secret: &SecretString) -> Result<SecretSlice<u8>, String> {
    let text = secret.expose_secret();
    let key = text.strip_prefix(PREFIX).unwrap_or(text);
    let bytes = STANDARD.decode(key).map_err(|_| format!("not {PREFIX} and base64"))?;
    if SECRET_BYTES.contains(&bytes.len()) {
        return Ok(bytes.into());
    }
    let (least, most) = (SECRET_BYTES.start(), SECRET_BYTES.end());
    Err(format!("the secret is {} bytes of base64, and must be {least} to {most}", bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_base64_of_24_to_64_bytes_with_or_without_its_prefix() {
        let check = |secret: String| read_secret(&secret.into()).map(|key| key.expose_secret().len());
        let of = |n: usize| STANDARD.encode(vec![7_u8; n]);
        assert_eq!(check(format!("whsec_{}", of(24))), Ok(24));
        assert_eq!(check(of(64)), Ok(64));
        assert!(check(format!("whsec_{}", of(23))).unwrap_err().contains("23 bytes"));
        assert!(check(of(65)).is_err());
        assert!(check("whsec_not base64".to_owned()).is_err());
    }
}
