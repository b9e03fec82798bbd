//! Where a configuration came from, so that it can be read again, or another tried in its place.

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use super::errors::{ConfigErrors, Problem};
use super::settings::Settings;
use super::tree::Variables;
use super::{Config, Guard, layers, rules, sections};
use crate::domain::rules::Rules;

/// File, environment and flags of a configuration. `Debug` shows none of the environment.
#[derive(Clone)]
pub struct Sources {
    pub(super) file: File,
    pub(super) environment: Variables,
    pub(super) flags: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
pub(super) enum File {
    /// With what was in it when it was read.
    Path {
        path: PathBuf,
        text: SecretString,
    },
    /// A text that was handed over, with the name it goes by.
    Text {
        name: String,
        text: SecretString,
    },
    None,
}

impl File {
    pub fn text((name, text): (&str, &str)) -> Self {
        Self::Text { name: name.to_owned(), text: text.into() }
    }
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources").field("file", &self.file).finish_non_exhaustive()
    }
}

/// The parts of a configuration that decide about users.
#[derive(Clone, Debug)]
pub struct Deciding {
    pub rules: Rules,
    pub guard: Guard,
}

/// Whether a key is one of those that [`Deciding`] is made of.
pub(super) fn decides(path: &str) -> bool {
    ["attributes.", "scope.", "roles[", "guard."].iter().any(|section| path.starts_with(section))
        || ["roles", "sync.create", "sync.on_delete", "cxone.match"].contains(&path)
}

impl Sources {
    /// Reads all of it again, as it is now; the environment of a process does not change.
    pub fn load(&self) -> Result<Config, ConfigErrors> {
        let path = match &self.file {
            File::Path { path, .. } => Some(path.as_path()),
            File::None => None,
            File::Text { .. } => {
                let what = "the configuration did not come from a file".to_owned();
                let todo = "start the service with --config".to_owned();
                return Err(ConfigErrors::new(vec![Problem { place: None, what, todo }]));
            }
        };
        Config::load(path, self.environment.clone(), &self.flags)
    }

    /// The same configuration, with what the files that it names hold now.
    pub fn reread(&self) -> Result<Config, ConfigErrors> {
        let (name, text) = match &self.file {
            File::Path { path, text } => (path.display().to_string(), text),
            File::Text { name, text } => (name.clone(), text),
            File::None => {
                return Config::build(None, self.environment.clone(), &self.flags).map(|(it, _)| it);
            }
        };
        let file = Some((name.as_str(), text.expose_secret()));
        let (mut config, _) = Config::build(file, self.environment.clone(), &self.flags)?;
        config.sources.file = self.file.clone();
        Ok(config)
    }

    /// Reads what decides out of another file, with our environment and flags over it. Everything else
    /// may be missing or wrong in it, secrets above all.
    pub fn deciding(&self, name: &str, text: &str) -> Result<Deciding, ConfigErrors> {
        let mut problems = Vec::new();
        let merged = layers::merge(Some((name, text)), &self.environment, &self.flags, &mut problems)
            .map_err(ConfigErrors::new)?;
        let mut settings = Settings::collect_some(merged, problems, decides);
        let rules = rules::rules(&mut settings);
        let guard = sections::guard(&settings);
        match rules {
            Some(rules) if settings.problems.is_empty() => Ok(Deciding { rules, guard }),
            _ => Err(ConfigErrors::new(settings.problems)),
        }
    }
}
