//! `docs/configuration.md` is the table of keys. `UPDATE_EXPECT=1` writes it anew.

use expect_test::expect_file;

use super::*;
use crate::config::changes::can_be_exchanged;
use crate::config::kind::Kind;

const HEAD: &str = "\
# Configuration

Every key, with its default. Made from the code: `UPDATE_EXPECT=1 cargo test --lib the_page_of_keys` writes it \
anew. [deploy/cxone-sync.example.toml](../deploy/cxone-sync.example.toml) has the same with more words; why one \
would change what decides about people is in [safety.md](safety.md), [mapping.md](mapping.md) and \
[conflicts.md](conflicts.md).

## Where values come from

TOML first; over it the environment; over both the flags. Tables merge key by key, lists are replaced. Unknown keys \
are errors that name the nearest known key. In the file, `${VAR}` is an environment variable and `$$` a dollar sign. \
Every secret can be given as a file (`…_file`). Relative paths start at the working directory. Durations: `500ms`, \
`90s`, `15m`, `24h`, `7d`, `1h30m`.

```console
cxone-sync config validate               # every mistake, with its place and what to do
cxone-sync config print                  # what is in force, and where each value is from; secrets are left out
cxone-sync config reload                 # have the running service read it again, as SIGHUP does
```

## Without a restart

A running service exchanges the keys that say *at once* below. A file that is wrong changes nothing, and what has \
changed in other keys is named as waiting for a restart. Files of credentials are followed without that: \
[rotation.md](rotation.md).
";

/// What a value must be, in a few words.
fn words(kind: Kind) -> String {
    let choice = |words: &[&str]| words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    match kind {
        Kind::Text(_) => "text".to_owned(),
        Kind::Texts(_) => "list".to_owned(),
        Kind::Choice(words) => choice(words),
        Kind::Choices(words) => format!("some of {}", choice(words)),
        Kind::Flag => "`true`, `false`".to_owned(),
        Kind::Number(least, most, _) if most == u64::from(u32::MAX) => format!("{least} and more"),
        Kind::Number(least, most, _) => format!("{least} to {most}"),
        Kind::Size(..) => "size".to_owned(),
        Kind::Duration(..) => "duration".to_owned(),
        Kind::Secret(1) => "secret".to_owned(),
        Kind::Secret(least) => format!("secret, at least {least} bytes"),
        Kind::Secrets(least) => format!("one or a list of secrets, at least {least} bytes each"),
        Kind::SecretFile(_) => "path".to_owned(),
        Kind::SecretFiles(_) => "path, or a list of paths".to_owned(),
        Kind::Refused(_) => unreachable!("refused keys are left out"),
    }
}

#[test]
fn the_page_of_keys_is_up_to_date() {
    let mut page = HEAD.to_owned();
    let mut section = "";
    for key in keys::all().iter().filter(|key| !matches!(key.kind, Kind::Refused(_))) {
        let of = key.path.split(['.', '[']).next().expect("a split has a first part");
        if of != section {
            section = of;
            let heading = if key.path.starts_with(&format!("{of}[]")) {
                format!("[[{of}]]")
            } else {
                format!("[{of}]")
            };
            page += &format!(
                "\n## {heading}\n\n| key | what it is | takes | default | change | environment |\n|---|---|---|---|---|---|\n"
            );
        }
        let name = key.path.split_once('.').map_or(key.path.as_str(), |(_, name)| name);
        let default = key.default.map_or_else(|| "none".to_owned(), |default| format!("`{default}`"));
        let change = if can_be_exchanged(&key.path) { "at once" } else { "restart" };
        let row = format!(
            "| `{name}` | {} | {} | {default} | {change} | `{}` |\n",
            key.doc,
            words(key.kind),
            key.variable()
        );
        assert_eq!(row.matches('|').count(), 7, "a table cannot show {row}");
        page += &row;
    }
    expect_file!["../../../docs/configuration.md"].assert_eq(&page);
}
