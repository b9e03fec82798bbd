//! The documentation is true: every command in it is understood, and run or marked with why not; every
//! link leads somewhere; every key, metric and reason it names exists.
//!
//! Commands stand in blocks of `console`. Each page has a scene of its own: both simulators, some people,
//! and the real binary serving them; its blocks are run in their order, as somebody would who reads it.
//! What cannot be run here has a comment before its block, which readers of the page do not see:
//! `<!-- not run: needs an Azure tenant -->`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Parser as _;
use cxone_sync::cli::Cli;
use cxone_sync::config::Config;
use serde_json::{Value, json};

use super::process::{Process, log_of, run};
use super::stage::{Stage, until};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

struct Page {
    /// Relative to the repository.
    path: PathBuf,
    text: String,
}

impl Page {
    fn read(path: &Path) -> Self {
        Self { path: path.to_owned(), text: fs::read_to_string(root().join(path)).unwrap() }
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn blocks(&self) -> Vec<Block> {
        blocks(&self.name(), &self.text)
    }
}

/// Everything that somebody reads, but the reference of commands: it is their help, and tested there.
fn pages() -> Vec<Page> {
    let mut paths = vec![PathBuf::from("README.md"), PathBuf::from("ARCHITECTURE.md")];
    for folder in ["docs", "deploy"] {
        find(
            Path::new(folder),
            &|path| path.extension().is_some_and(|extension| extension == "md"),
            &mut paths,
        );
    }
    assert!(paths.len() > 15, "{paths:?}");
    paths.iter().map(|path| Page::read(path)).collect()
}

/// The files below a folder of the repository, in order.
fn find(folder: &Path, wanted: &dyn Fn(&Path) -> bool, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| folder.join(entry.unwrap().file_name()))
        .collect();
    entries.sort();
    for path in entries {
        if root().join(&path).is_dir() {
            find(&path, wanted, found);
        } else if wanted(&path) {
            found.push(path);
        }
    }
}

/// A fenced block.
struct Block {
    /// `page:line` of its first line.
    place: String,
    language: String,
    text: String,
    /// Why it is not run.
    marked: Option<String>,
}

fn blocks(page: &str, text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<(Block, String)> = None;
    let mut before = "";
    for (n, line) in text.lines().enumerate() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let Some((mut block, fence)) = open.take() else {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                let marked =
                    before.trim().strip_prefix("<!-- not run:").and_then(|it| it.strip_suffix("-->"));
                let block = Block {
                    place: format!("{page}:{}", n + 2),
                    language: language.trim().to_owned(),
                    text: String::new(),
                    marked: marked.map(|reason| reason.trim().to_owned()),
                };
                open = Some((block, indent.to_owned()));
            }
            if !line.trim().is_empty() {
                before = line;
            }
            continue;
        };
        if line.trim() == "```" {
            found.push(block);
            before = "";
            continue;
        }
        block.text += line.strip_prefix(&fence).unwrap_or(line);
        block.text += "\n";
        open = Some((block, fence));
    }
    assert!(open.is_none(), "{page}: a block has no end");
    found
}

/// The commands of a block: lines that go on are joined, comments dropped.
fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let mut found = Vec::new();
    // A quotation may go over several lines.
    let mut command = String::new();
    for line in joined.lines() {
        command += &without_comment(line);
        if command.matches('\'').count() % 2 == 1 {
            command += " ";
            continue;
        }
        if !command.trim().is_empty() {
            found.push(command.trim().to_owned());
        }
        command.clear();
    }
    found
}

fn without_comment(line: &str) -> String {
    let mut quoted = None;
    let mut last = ' ';
    for (at, c) in line.char_indices() {
        match quoted {
            Some(quote) if c == quote => quoted = None,
            None if c == '\'' || c == '"' => quoted = Some(c),
            None if c == '#' && last.is_whitespace() => return line[..at].trim_end().to_owned(),
            _ => {}
        }
        last = c;
    }
    line.trim_end().to_owned()
}

/// The words of our own call in a command line, without the program: of `cargo run … -- demo` those
/// after `--`. `None`: it calls something else.
fn our_words(command: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut begun) = (String::new(), None, false);
    for c in command.chars() {
        match quoted {
            Some(quote) if c == quote => quoted = None,
            Some(_) => word.push(c),
            None if c == '\'' || c == '"' => (quoted, begun) = (Some(c), true),
            None if c.is_whitespace() => {
                if begun || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            None => word.push(c),
        }
    }
    if begun || !word.is_empty() {
        words.push(word);
    }
    let is_end = |word: &String| matches!(word.as_str(), "|" | ">" | ">>" | "<" | "&" | "&&" | "||" | ";");
    let end = |words: &[String]| words.iter().position(is_end).unwrap_or(words.len());
    if words.first().is_some_and(|word| word == "cargo") {
        let from = words.iter().position(|word| word == "--")? + 1;
        let rest = &words[from..];
        return words[..from].contains(&"run".to_owned()).then(|| rest[..end(rest)].to_vec());
    }
    // What may stand before it: variables, and the user it runs as.
    let at = words.iter().position(|word| word == "cxone-sync" || word.ends_with("/cxone-sync"))?;
    let before = |word: &String| {
        word.contains('=') || ["sudo", "-u", "cxone-sync", "-E", "--", "exec"].contains(&word.as_str())
    };
    // `sudo -u cxone-sync cxone-sync …`: the user is called as the program is.
    let at = at + words[at + 1..].iter().position(|word| word == "cxone-sync").map_or(0, |more| more + 1);
    if !words[..at].iter().all(before) {
        return None;
    }
    let rest = &words[at + 1..];
    Some(rest[..end(rest)].to_vec())
}

fn understood(words: &[String]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("cxone-sync".to_owned()).chain(words.iter().cloned()))
}

/// Help and the version are told as errors by clap.
fn is_help(error: &clap::Error) -> bool {
    error.exit_code() == 0
}

#[test]
fn every_command_in_the_documentation_is_understood() {
    let mut wrong = Vec::new();
    let mut n_commands = 0;
    for page in pages() {
        for block in page.blocks().iter().filter(|block| is_for_a_shell(&block.language)) {
            for words in commands(&block.text).iter().filter_map(|command| our_words(command)) {
                n_commands += 1;
                if let Err(error) = understood(&words)
                    && !is_help(&error)
                {
                    wrong.push(format!("{}: cxone-sync {}: {error}", block.place, words.join(" ")));
                }
            }
        }
        for call in quoted_calls(&page) {
            n_commands += 1;
            if let Err(error) = understood(&our_words(&call).unwrap())
                && !is_help(&error)
                // `cxone-sync held` names a family.
                && error.kind() != clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
            {
                wrong.push(format!("{}: `{call}`: {error}", page.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n_commands > 100, "only {n_commands} commands were found");
}

/// Calls in the running text, such as `cxone-sync config validate`. What is left out in one (`…`) or
/// named in capitals cannot be parsed.
fn quoted_calls(page: &Page) -> Vec<String> {
    let mut calls = Vec::new();
    let mut fenced = false;
    for line in page.text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        let spans = line.split('`').skip(1).step_by(2);
        if !fenced {
            let is_call = |span: &&str| span.starts_with("cxone-sync ") && !span.contains(['…', '<']);
            calls.extend(spans.filter(is_call).map(str::to_owned));
        }
    }
    calls.retain(|call| {
        !call.split(' ').any(|word| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase()))
    });
    calls
}

fn is_for_a_shell(language: &str) -> bool {
    matches!(language, "console" | "sh" | "bash" | "shell" | "zsh")
}

#[test]
fn what_is_not_run_says_why() {
    let mut wrong = Vec::new();
    let mut n_marked = 0;
    for page in pages() {
        for block in page.blocks() {
            if !is_for_a_shell(&block.language) {
                if block.marked.is_some() {
                    wrong.push(format!("{}: a mark before what is no command", block.place));
                }
                continue;
            }
            if block.language != "console" {
                wrong.push(format!("{}: commands stand in a block of `console`", block.place));
            }
            if block.text.lines().any(|line| line.trim_start().starts_with("$ ")) {
                wrong.push(format!("{}: no prompt, so that it can be copied", block.place));
            }
            match &block.marked {
                Some(reason) if reason.len() < 8 => {
                    wrong.push(format!("{}: {reason} is no reason", block.place))
                }
                Some(_) => n_marked += 1,
                None => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n_marked > 5, "only {n_marked} blocks are marked");
}

/// What is called besides our own program in a block that is run.
const HARMLESS: [&str; 2] = ["cp", "export"];
/// Stands for somebody in the examples.
const SOMEBODY: &str = "3f0c2a9e-1111-4222-8333-444455556666";
const SOME_GROUP: &str = "11111111-2222-4333-8444-555566667777";
const SOME_SUBSCRIPTION: &str = "7f105c7d-2dc5-4530-97cd-4e7ae6534c07";

/// Commands that rightly end otherwise in the scene, and with what.
const ENDS_OTHERWISE: [(&str, i32); 1] = [
    // The guard holds Ben.
    ("apply plan.json", 4),
];

/// Where the commands of one page are run.
struct Scene {
    /// Where they are run; files they write go there.
    folder: PathBuf,
    config: PathBuf,
    /// Holds nothing but our program, by its name.
    programs: tempfile::TempDir,
    /// What an example stands for, and what is there instead.
    stands_for: Vec<(&'static str, String)>,
}

impl Scene {
    fn new(folder: &Path, config: &Path) -> Self {
        let programs = tempfile::tempdir().unwrap();
        let program = programs.path().join("cxone-sync");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_cxone-sync"), program).unwrap();
        let (folder, config) = (folder.to_owned(), config.to_owned());
        Self { folder, config, programs, stands_for: Vec::new() }
    }

    /// Runs a line as a shell would. The exit code, and what was printed.
    fn shell(&self, line: &str) -> (i32, String) {
        let output = Command::new("sh")
            .arg("-c")
            .arg(line)
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", format!("{}:/usr/bin:/bin", self.programs.path().display()))
            .env("HOME", &self.folder)
            .env("USER", "ana")
            .env("CXONE_SYNC_CONFIG", &self.config)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let printed =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.code().unwrap_or(-1), printed.concat())
    }

    fn json(&self, line: &str) -> Value {
        let (code, printed) = self.shell(&format!("{line} -o json 2>&-"));
        assert_eq!(code, 0, "{line}: {printed}");
        serde_json::from_str(&printed).unwrap()
    }

    /// The line with those who are there, and with the consent that a person would give on a terminal.
    fn adapted(&self, line: &str) -> String {
        let mut line = line.to_owned();
        let called = |line: &str, families: &[&str]| {
            let words = our_words(line).unwrap_or_default().join(" ");
            families.iter().any(|family| words == *family || words.starts_with(&format!("{family} ")))
        };
        if called(&line, &["held"]) {
            line = line.replace(SOMEBODY, "ben@example.com").replace("ana@", "ben@");
        }
        for (example, there) in &self.stands_for {
            line = line.replace(example, there);
        }
        if line.starts_with("cargo ") {
            line = format!("cxone-sync {}", our_words(&line).expect("it is a call of ours").join(" "));
        }
        if called(&line, &["undo", "apply", "queue replay", "queue drop", "held approve", "held reject"])
            && ![" --yes", " -y", " --dry-run"].iter().any(|flag| line.contains(flag))
        {
            line += " --yes";
        }
        if called(&line, &["held approve", "held reject"]) {
            let held = self.json("cxone-sync held list");
            let set = held["set"].as_str().expect("something is held");
            line = line.replace("5f0c…", set);
            if !line.contains(" --set ") {
                line += &format!(" --set {set}");
            }
        }
        line
    }

    /// Runs a command of a page. What is wrong with how it ended.
    fn run(&self, command: &str) -> Result<(), String> {
        let program = command.split_whitespace().next().unwrap_or_default();
        if our_words(command).is_none() && !HARMLESS.contains(&program) {
            return Err(format!("{program} is not run by this test: mark the block with why"));
        }
        let line = self.adapted(command);
        let (code, printed) = self.shell(&line);
        let otherwise = ENDS_OTHERWISE.iter().find(|(call, _)| command.contains(call));
        let expected = otherwise.map_or(0, |(_, code)| *code);
        if code == expected { Ok(()) } else { Err(format!("{line}\nended with {code}: {printed}")) }
    }
}

/// A scene with people: Ana is there and right; Ben has left, and the guard holds him.
struct Theatre {
    stage: Stage,
    ben: String,
    process: Process,
    scene: Scene,
}

impl Theatre {
    async fn open() -> Self {
        let stage = Stage::new();
        let (ana, ben) = (stage.hire("Ana"), stage.hire("Ben"));
        let environment =
            [("CXONE_SYNC__GUARD__DEACTIVATIONS__PER_DAY", "0"), ("CXONE_SYNC__SYNC__RECHECK_AFTER", "0s")];
        let process = Process::start(&stage, &environment).await;
        assert!(run(&stage, &["subscribe"]).status.success());
        stage.converge(&[ana.clone(), ben.clone()]).await;
        let folder = stage.folder.path();
        let mut scene = Scene::new(folder, &folder.join("cxone-sync.toml"));
        let subscriptions = scene.json("cxone-sync subscriptions list");
        let subscription = subscriptions["subscriptions"][0]["id"].as_str().unwrap().to_owned();
        fs::copy(folder.join("cxone-sync.toml"), folder.join("new.toml")).unwrap();
        scene.stands_for =
            vec![(SOMEBODY, ana), (SOME_GROUP, stage.roles[0].0.clone()), (SOME_SUBSCRIPTION, subscription)];
        let theatre = Self { stage, ben, process, scene };
        theatre.hold_ben().await;
        theatre
    }

    fn is_anything_held(&self) -> bool {
        self.scene.json("cxone-sync held list")["set"].is_string()
    }

    /// Ben comes back, where he is gone or was rejected, and leaves.
    async fn hold_ben(&self) {
        self.stage.graph().enable(&self.ben);
        let back = until(|| {
            let is_active = self.stage.account(&self.ben).is_some_and(|account| account["active"] == true);
            is_active && self.scene.json("cxone-sync held list")["restraints"] == json!([])
        });
        assert!(back.await, "Ben does not come back:\n{}", log_of(&self.stage));
        self.stage.graph().disable(&self.ben);
        assert!(until(|| self.is_anything_held()).await, "Ben is not held:\n{}", log_of(&self.stage));
    }

    async fn play(&self, command: &str) -> Result<(), String> {
        let words = our_words(command).unwrap_or_default();
        if words.iter().any(|word| word == "serve") {
            // It does so already.
            return Ok(());
        }
        let rules = matches!(&words[..], [held, rule, ..] if held == "held" && (rule == "approve" || rule == "reject"));
        if rules && !self.is_anything_held() {
            self.hold_ben().await;
        }
        self.scene.run(command)?;
        if rules {
            // What is approved is written, what is rejected is not held any more.
            assert!(until(|| !self.is_anything_held()).await, "{command}: still held");
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_in_the_documentation_that_can_be_run_is() {
    let mut wrong = Vec::new();
    let mut n_run = 0;
    for page in pages().iter().filter(|page| page.path != Path::new("docs/quickstart.md")) {
        let to_run: Vec<Block> = page
            .blocks()
            .into_iter()
            .filter(|block| is_for_a_shell(&block.language) && block.marked.is_none())
            .collect();
        if to_run.is_empty() {
            continue;
        }
        let theatre = Theatre::open().await;
        for block in to_run {
            for command in commands(&block.text) {
                n_run += 1;
                if let Err(fault) = theatre.play(&command).await {
                    wrong.push(format!("{}: {fault}", block.place));
                }
            }
        }
        let log = || log_of(&theatre.stage);
        assert!(!theatre.process.has_ended(), "{}: the service has ended:\n{}", page.name(), log());
        assert_eq!(theatre.process.terminate(), Some(0), "{}:\n{}", page.name(), log());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n_run > 60, "only {n_run} commands were run");
}

/// A demo that stays up, as in the quickstart.
struct Demo(std::process::Child);

impl Demo {
    fn interrupt(mut self) -> Option<i32> {
        Command::new("kill").args(["-INT", &self.0.id().to_string()]).status().unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart_works_as_it_stands() {
    let page = Page::read(Path::new("docs/quickstart.md"));
    let folder = tempfile::tempdir().unwrap();
    let (mut demo, mut scene) = (None, None);
    for block in page.blocks() {
        if !is_for_a_shell(&block.language) || block.marked.is_some() {
            continue;
        }
        for command in commands(&block.text) {
            if command == "cxone-sync demo --keep" {
                let told = folder.path().join("told");
                let child = Command::new(env!("CARGO_BIN_EXE_cxone-sync"))
                    .env_clear()
                    .args(["demo", "--keep"])
                    .stdin(Stdio::null())
                    .stdout(fs::File::create(&told).unwrap())
                    .spawn();
                demo = Some(Demo(child.unwrap()));
                let config = || {
                    let told = fs::read_to_string(&told).unwrap();
                    let line =
                        told.lines().find_map(|line| line.trim().strip_prefix("export CXONE_SYNC_CONFIG="));
                    line.map(PathBuf::from).filter(|_| told.contains("cxone-sync queue stats"))
                };
                assert!(until(|| config().is_some()).await, "the demo does not say where it is");
                scene = Some(Scene::new(folder.path(), &config().unwrap()));
                continue;
            }
            let scene = scene.as_ref().expect("the demo comes first");
            if command.starts_with("export CXONE_SYNC_CONFIG=") {
                continue;
            }
            scene.run(&command).unwrap_or_else(|fault| panic!("{}: {fault}", block.place));
            if command == r#"cp "$CXONE_SYNC_CONFIG" mine.toml"# {
                let change = page.blocks().into_iter().find(|block| block.language == "toml").unwrap();
                let mine = folder.path().join("mine.toml");
                fs::write(&mine, fs::read_to_string(&mine).unwrap() + "\n" + &change.text).unwrap();
            }
        }
    }
    // The change of the mapping arrives.
    let scene = scene.unwrap();
    let arrived = until(|| scene.json("cxone-sync history --limit 1000").to_string().contains("(Entra)"));
    assert!(arrived.await, "the new mapping was not written");
    assert_eq!(demo.unwrap().interrupt(), Some(0));
    assert!(!scene.config.exists(), "the demo leaves something behind");
}

/// A link of a page: where it leads.
fn links(page: &Page) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in page.text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let target = &line[at + 2..];
            let end = target.find(')').unwrap_or_else(|| panic!("{}: {line}", page.name()));
            found.push(target[..end].to_owned());
        }
    }
    found
}

/// What can be linked to on a page, as GitHub makes it of its headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        let heading = line.trim_start_matches('#');
        if fenced || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let slug: String = heading.trim().to_lowercase().chars().filter(kept).collect();
        let slug = slug.replace(' ', "-");
        let twice = (1..).map(|n| format!("{slug}-{n}")).find(|numbered| !anchors.contains(numbered));
        anchors.insert(if anchors.contains(&slug) { twice.unwrap() } else { slug });
    }
    anchors
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    let mut n_links = 0;
    for page in pages() {
        for link in links(&page) {
            n_links += 1;
            if link.starts_with("https://") {
                continue;
            }
            let (path, anchor) =
                link.split_once('#').map_or((link.as_str(), None), |(path, it)| (path, Some(it)));
            let target = match path {
                "" => root().join(&page.path),
                path => root().join(&page.path).parent().unwrap().join(path),
            };
            if !target.exists() {
                wrong.push(format!("{}: {link}: there is no such file", page.name()));
            } else if let Some(anchor) = anchor
                && !anchors(&fs::read_to_string(&target).unwrap()).contains(anchor)
            {
                wrong.push(format!("{}: {link}: there is no such heading", page.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n_links > 50, "only {n_links} links were found");
}

#[test]
fn the_readme_leads_to_every_page() {
    let readme = Page::read(Path::new("README.md"));
    let linked: BTreeSet<String> =
        links(&readme).iter().map(|link| link.split('#').next().unwrap().to_owned()).collect();
    let missing: Vec<String> =
        pages().iter().map(Page::name).filter(|name| name != "README.md" && !linked.contains(name)).collect();
    assert!(missing.is_empty(), "README.md does not link {missing:?}");
}

/// What is linked to from alerts and elsewhere: never renamed.
const RUNBOOKS: [&str; 16] = [
    "queue-old",
    "subscription-lost",
    "delta-old",
    "delta-token-expired",
    "coverage-low",
    "leaver-held",
    "guard-tripped",
    "mass-change-undo",
    "circuit-open",
    "token-rotated",
    "credential-expiring",
    "reload-failed",
    "store-damaged",
    "restore-from-backup",
    "disk-full",
    "user-parked",
];

#[test]
fn every_runbook_says_what_to_see_to_do_and_to_prevent() {
    let text = fs::read_to_string(root().join("docs/runbooks.md")).unwrap();
    let parts: Vec<&str> = text.split("\n## ").skip(1).collect();
    let mut found = Vec::new();
    for part in parts {
        let heading = anchors(&format!("# {}", part.lines().next().unwrap())).pop_first().unwrap();
        let mut at = 0;
        for words in ["**You see**", "**It means**", "**Do**", "**It is over**", "**Prevent it:**"] {
            let next = part[at..].find(words).unwrap_or_else(|| panic!("{heading}: no {words} in its place"));
            at += next;
        }
        found.push(heading);
    }
    assert_eq!(found, RUNBOOKS);
}

/// Alerts, units and the code lead to runbooks too.
#[test]
fn whoever_is_sent_to_a_runbook_finds_it() {
    let mut paths = Vec::new();
    for folder in ["deploy", "src"] {
        find(Path::new(folder), &|_| true, &mut paths);
    }
    for path in paths {
        let text = String::from_utf8_lossy(&fs::read(root().join(&path)).unwrap()).into_owned();
        for (at, _) in text.match_indices("runbooks.md#") {
            let rest = &text[at + "runbooks.md#".len()..];
            let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '-')).unwrap_or(rest.len());
            assert!(RUNBOOKS.contains(&&rest[..end]), "{}: runbooks.md#{}", path.display(), &rest[..end]);
        }
    }
}

/// What a runbook quotes of the log, and of errors, is what the program says. Left out is `…`.
#[test]
fn what_runbooks_quote_is_really_said() {
    let mut paths = Vec::new();
    find(Path::new("src"), &|path| path.extension().is_some_and(|extension| extension == "rs"), &mut paths);
    let mut said = String::new();
    for path in paths {
        let text = fs::read_to_string(root().join(path)).unwrap();
        // A text that goes on in the next line.
        let mut lines = text.split("\\\n");
        said += lines.next().unwrap_or_default();
        lines.for_each(|line| said += line.trim_start());
    }
    let text = fs::read_to_string(root().join("docs/runbooks.md")).unwrap();
    let mut n_quoted = 0;
    for quoted in text.split('`').skip(1).step_by(2) {
        let is_a_sentence = quoted.split(' ').count() > 3 && !quoted.contains(['\n', '=', '-', '{']);
        if !is_a_sentence {
            continue;
        }
        n_quoted += 1;
        for part in quoted.split('…').map(str::trim).filter(|part| !part.is_empty()) {
            assert!(said.contains(part), "nothing says: {part}");
        }
    }
    assert!(n_quoted > 8, "only {n_quoted} quotations were found");
}

#[test]
fn every_configuration_that_is_shown_can_be_used() {
    let mut wrong = Vec::new();
    let mut n_shown = 0;
    for page in pages() {
        for block in page.blocks().iter().filter(|block| block.language == "toml") {
            n_shown += 1;
            let no_environment = std::iter::empty::<(String, String)>();
            let text: String = block.text.lines().map(|line| with_ids(line) + "\n").collect();
            let Err(errors) = Config::parse(&block.place, &text, no_environment, &[]) else { continue };
            // A part of a configuration lacks the rest; and what only its reader has: files, variables.
            let lacks = |what: &str| {
                let missing = what.contains(" is missing") || what.contains("has no credential");
                missing || what.contains("cannot read") || what.contains(" is not set")
            };
            for problem in errors.problems().iter().filter(|problem| !lacks(&problem.what)) {
                wrong.push(problem.to_string());
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n_shown > 10, "only {n_shown} configurations were found");
}

/// A configuration that claims to be enough is: with ids for what stands in angle brackets, and files.
#[test]
fn every_whole_configuration_that_is_shown_is_enough() {
    let mut n_whole = 0;
    for page in pages() {
        for block in page.blocks().iter().filter(|block| block.language == "toml") {
            if !["[service]", "[graph]", "[cxone]"].iter().all(|section| block.text.contains(section)) {
                continue;
            }
            n_whole += 1;
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("secret");
            fs::write(&file, "long enough for every purpose").unwrap();
            let mut text = String::new();
            for line in block.text.lines() {
                let named = line.split_once(" = ").filter(|(key, _)| key.ends_with("_file"));
                match named {
                    Some((key, _)) => text += &format!("{key} = \"{}\"\n", file.display()),
                    None => text += &format!("{}\n", with_ids(line)),
                }
            }
            let no_environment = std::iter::empty::<(String, String)>();
            let config = Config::parse(&block.place, &text, no_environment, &[])
                .unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(config.warnings, [""; 0], "{}", block.place);
        }
    }
    assert!(n_whole > 0, "no whole configuration is shown");
}

/// An id in the place of every `<…>`.
fn with_ids(line: &str) -> String {
    let Some((before, rest)) = line.split_once('<') else { return line.to_owned() };
    let (_, after) = rest.split_once('>').unwrap();
    format!("{before}{SOME_GROUP}{}", with_ids(after))
}

/// The paths of all keys, and of the tables they are in.
fn keys(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    let schema = schema.get("items").unwrap_or(schema);
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        keys(below, &path, found);
        found.insert(path);
    }
}

#[test]
fn every_key_that_is_named_exists() {
    let mut known = BTreeSet::new();
    keys(&cxone_sync::config::schema(), "", &mut known);
    let sections: BTreeSet<&str> =
        known.iter().filter(|key| !key.contains('.')).map(String::as_str).collect();
    let (mut wrong, mut n_named) = (Vec::new(), 0);
    // The page of keys is made from them, and names them by section; the map of the code names spans.
    let others = ["docs/configuration.md", "ARCHITECTURE.md"].map(Path::new);
    let events = ["guard.tripped"];
    for page in pages().iter().filter(|page| !others.contains(&page.path.as_path())) {
        let mut fenced = false;
        for line in page.text.lines() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            }
            for span in line.split('`').skip(1).step_by(2).filter(|_| !fenced) {
                let key = span.split(" = ").next().unwrap_or_default();
                let is_a_key = key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'))
                    && key.split_once('.').is_some_and(|(section, _)| sections.contains(section))
                    && !events.contains(&key)
                    && ![".md", ".rs", ".crt", ".key", ".toml", ".com"].iter().any(|end| key.ends_with(end));
                if is_a_key {
                    n_named += 1;
                    if !known.contains(key) {
                        wrong.push(format!("{}: {key}", page.name()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n_named > 50, "only {n_named} keys were found");
}

/// Names as Prometheus shows them, and of histograms what their series begin with.
fn metrics() -> BTreeSet<String> {
    let exported = cxone_sync::telemetry::exported();
    let begins = exported.iter().filter_map(|name| name.strip_suffix("_bucket")).map(str::to_owned);
    begins.chain(exported.iter().cloned()).collect()
}

#[test]
fn every_metric_that_is_named_exists() {
    let known = metrics();
    let mut paths: Vec<PathBuf> = pages().into_iter().map(|page| page.path).collect();
    for folder in ["deploy/prometheus", "deploy/grafana"] {
        find(Path::new(folder), &|_| true, &mut paths);
    }
    let (mut wrong, mut n_named) = (Vec::new(), 0);
    for path in paths {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        for (at, _) in text.match_indices("cxone_sync_") {
            let rest = &text[at..];
            let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_')).unwrap_or(rest.len());
            let name = rest[..end].trim_end_matches('_');
            n_named += 1;
            if !known.contains(name) {
                wrong.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(n_named > 15, "only {n_named} metrics were found");
}

#[test]
fn a_command_is_found_in_its_line() {
    for (line, words) in [
        ("cxone-sync queue stats", Some("queue stats")),
        ("cargo run --release -- demo --users 5", Some("demo --users 5")),
        ("cargo test --lib", None),
        ("A=b cxone-sync serve &", Some("serve")),
        ("sudo -u cxone-sync cxone-sync held list", Some("held list")),
        ("cxone-sync completions bash > file", Some("completions bash")),
        ("az ad app create --display-name cxone-sync", None),
        ("cxone-sync plan --all | head", Some("plan --all")),
    ] {
        assert_eq!(our_words(line).map(|words| words.join(" ")).as_deref(), words, "{line}");
    }
    assert_eq!(commands("a b \\\n  c   # d\n\n# e\nf '#' \"g # h\"\n"), ["a b    c", "f '#' \"g # h\""]);
}
