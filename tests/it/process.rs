//! The real binary as a process of its own.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use super::stage::{Stage, until};

/// A service that can be killed from any thread, at any moment.
#[derive(Clone)]
pub struct Process {
    child: Arc<Mutex<Child>>,
    socket: PathBuf,
}

pub fn binary(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cxone-sync"));
    command.env_clear().arg("--config").arg(config).stdin(Stdio::null());
    command
}

impl Process {
    /// Starts `serve` with the stage's configuration and waits until it answers.
    pub async fn start(stage: &Stage, environment: &[(&str, &str)]) -> Self {
        let config = write_config(stage);
        let log = File::options().create(true).append(true).open(stage.folder.path().join("log")).unwrap();
        let child = binary(&config)
            .arg("serve")
            .envs(environment.iter().copied())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let process =
            Self { child: Arc::new(Mutex::new(child)), socket: stage.folder.path().join("demo.sock") };
        let up = until(|| UnixStream::connect(&process.socket).is_ok() || process.has_ended()).await;
        assert!(up && !process.has_ended(), "the service did not start:\n{}", log_of(stage));
        process
    }

    /// SIGKILL: nothing of the process runs any more when this returns.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().ok();
        child.wait().unwrap();
    }

    /// SIGTERM, and the exit code.
    pub fn terminate(&self) -> Option<i32> {
        let mut child = self.child.lock().unwrap();
        signal(&child, "-TERM");
        child.wait().unwrap().code()
    }

    /// SIGHUP: the service reads its configuration again, some time after this returns.
    pub fn hang_up(&self) {
        signal(&self.child.lock().unwrap(), "-HUP");
    }

    /// A page of the private listener.
    pub fn page(&self, path: &str) -> String {
        let mut connection = UnixStream::connect(&self.socket).unwrap();
        write!(connection, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn has_ended(&self) -> bool {
        self.child.lock().unwrap().try_wait().unwrap().is_some()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(mut child) = self.child.lock() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn signal(child: &Child, signal: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
}

pub fn write_config(stage: &Stage) -> PathBuf {
    let path = stage.folder.path().join("cxone-sync.toml");
    std::fs::write(&path, &stage.configuration).unwrap();
    path
}

pub fn log_of(stage: &Stage) -> String {
    std::fs::read_to_string(stage.folder.path().join("log")).unwrap_or_default()
}

/// Runs one command to its end.
pub fn run(stage: &Stage, arguments: &[&str]) -> Output {
    binary(&write_config(stage)).args(arguments).output().unwrap()
}
