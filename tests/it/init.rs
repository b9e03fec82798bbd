//! A newcomer's first configuration: made by `init` for the demo's simulators, then used.

use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::process::binary;
use super::stage::until;

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The simulators as a process of their own, and what they print.
fn simulators() -> (Ended, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cxone-sync"));
    let arguments = ["demo", "--simulators", "--users", "6", "--changes", "2", "-o", "json"];
    command.env_clear().args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut printed = String::new();
    let out = child.stdout.as_mut().unwrap();
    let described = loop {
        let mut next = [0; 1];
        assert_eq!(out.read(&mut next).unwrap(), 1, "{printed}");
        printed.push(char::from(next[0]));
        if let Ok(described) = serde_json::from_str(&printed) {
            break described;
        }
    };
    (Ended(child), described)
}

fn run(config: &Path, arguments: &[&str]) -> (i32, String) {
    let output = binary(config).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code().unwrap(), said.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_sync_with_a_configuration_of_ones_own_takes_five_commands() {
    let (_simulators, described) = simulators();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("try/cxone-sync.toml");
    // Just what is printed, but for ports that are free here.
    let (public, private) = {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let both = [bind(), bind()];
        let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        (address(&both[0]), address(&both[1]))
    };
    let arguments: Vec<String> = described["init"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap().replace("127.0.0.1:8080", &public))
        .collect();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["--private-listen", &private]);
    let (exit, said) = run(&config, &arguments);
    assert_eq!(exit, 0, "{said}");
    assert!(
        said.contains("az ad app permission admin-consent") && said.contains("secrets/client-state"),
        "{said}"
    );
    let (exit, said) = run(&config, &["config", "validate"]);
    assert_eq!(exit, 0, "{said}");
    let (exit, said) = run(&config, &["doctor"]);
    assert_eq!(exit, 0, "{said}");

    let mut serve = binary(&config);
    let _service = Ended(serve.arg("serve").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    assert!(until(|| run(&config, &["healthcheck"]).0 == 0).await);
    let (exit, said) = run(&config, &["subscribe"]);
    assert_eq!(exit, 0, "{said}");
    let everybody_is_there = || {
        let (_, printed) = run(&config, &["history", "-o", "json"]);
        let history: Value = serde_json::from_str(&printed).unwrap_or_default();
        let writes = history["writes"].as_array().cloned().unwrap_or_default();
        writes.iter().filter(|write| write["operation"] == json!("create")).count() >= 6
    };
    assert!(until(everybody_is_there).await);
    let (exit, said) = run(&config, &["doctor"]);
    assert_eq!(exit, 0, "{said}");
    assert!(said.contains("echo the token"), "{said}");
}
