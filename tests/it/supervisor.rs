//! What whoever starts the real binary sees of it: systemd's notifications and watchdog, its credentials, a
//! certificate that is renewed, and a second instance.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;

use super::process::{Process, binary, log_of, run, write_config};
use super::stage::{PATIENCE, Stage, until, until_async};

/// A service manager: one socket that hears what the service says.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn beside(stage: &Stage) -> Self {
        let path = stage.folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path }
    }

    fn environment(&self) -> [(&str, &str); 2] {
        // Short, so that the test need not wait; the ping comes at half of it.
        [("NOTIFY_SOCKET", self.path.to_str().unwrap()), ("WATCHDOG_USEC", "100000")]
    }

    /// The lines of the next datagram.
    fn hears(&self) -> Vec<String> {
        let mut datagram = [0; 4096];
        let n = self.socket.recv(&mut datagram).expect("the service says something");
        String::from_utf8(datagram[..n].to_vec()).unwrap().lines().map(str::to_owned).collect()
    }

    /// The next datagram that begins with this line; what comes before may only be pings.
    fn waits_for(&self, first: &str) -> Vec<String> {
        loop {
            let lines = self.hears();
            if lines[0] == first {
                return lines;
            }
            assert_eq!(lines[0], "WATCHDOG=1", "{lines:?} instead of {first}");
        }
    }

    /// How many pings have come and were not heard yet.
    fn n_pings_waiting(&self) -> usize {
        self.socket.set_nonblocking(true).unwrap();
        let mut n = 0;
        let mut datagram = [0; 4096];
        loop {
            match self.socket.recv(&mut datagram) {
                Ok(length) => n += usize::from(datagram[..length].starts_with(b"WATCHDOG=1")),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    self.socket.set_nonblocking(false).unwrap();
                    return n;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_told_from_the_start_to_the_end() {
    let mut stage = Stage::new();
    let manager = Manager::beside(&stage);
    let process = Process::start(&stage, &manager.environment()).await;
    // The first thing it says, and by then it can be asked.
    let ready = manager.hears();
    assert_eq!(ready, ["READY=1", "STATUS=serves"]);
    assert!(process.page("/readyz").contains("200 OK"));

    let ping = manager.waits_for("WATCHDOG=1");
    assert!(ping[1].starts_with("STATUS=serves; ") && ping[1].ends_with("held"), "{ping:?}");
    manager.waits_for("WATCHDOG=1");

    process.hang_up();
    let reloading = manager.waits_for("RELOADING=1");
    assert!(reloading[1].starts_with("MONOTONIC_USEC="), "systemd 253 and later needs it: {reloading:?}");
    assert_eq!(manager.waits_for("READY=1")[1], "STATUS=serves, by the configuration it has just read");
    // It serves on by the old one, and says so in every line from then on.
    stage.configuration += "\n[scope]\ngroups = [\"Nobody\"]\n";
    write_config(&stage);
    process.hang_up();
    manager.waits_for("RELOADING=1");
    for line in [manager.waits_for("READY=1"), manager.waits_for("WATCHDOG=1")] {
        assert!(line[1].contains("cannot be used"), "{line:?}");
    }

    assert_eq!(process.terminate(), Some(0));
    manager.waits_for("STOPPING=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_commit_feeds_no_watchdog() {
    let stage = Stage::new();
    let manager = Manager::beside(&stage);
    // Later the kernel refuses what it writes to files; the signal that comes with that is ignored.
    let serve =
        binary(&write_config(&stage)).arg("serve").get_args().map(ToOwned::to_owned).collect::<Vec<_>>();
    let mut child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_cxone-sync")])
        .args(serve)
        .env_clear()
        .envs(manager.environment())
        .env("CXONE_SYNC__SYNC__POLL_INTERVAL", "6d")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    manager.waits_for("READY=1");
    // When the poll of the start is over, nothing but the watchdog makes the store commit.
    let polled = |path: &str| stage.graph().requests().iter().any(|request| request.path == path);
    assert!(until(|| polled("/v1.0/users/delta") && polled("/v1.0/groups/delta")).await);
    for _ in 0..10 {
        manager.waits_for("WATCHDOG=1");
    }

    let limit = Command::new("prlimit").args(["--fsize=1", "--pid", &child.id().to_string()]).status();
    assert!(limit.unwrap().success());
    manager.n_pings_waiting();
    let (mut code, mut n_pings) = (None, 0);
    until(|| {
        n_pings += manager.n_pings_waiting();
        code = child.try_wait().unwrap();
        code.is_some() || n_pings > 1
    })
    .await;
    child.kill().ok();
    child.wait().unwrap();
    assert!(n_pings <= 1, "it fed on although nothing can be stored; one ping may have been on its way");
    assert_eq!(code.expect("it ends").code(), Some(1), "so that it is started again");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_service_manager_nothing_is_said() {
    let stage = Stage::new();
    let manager = Manager::beside(&stage);
    let process = Process::start(&stage, &[("WATCHDOG_USEC", "100000")]).await;
    assert_eq!(process.terminate(), Some(0));
    assert_eq!(manager.n_pings_waiting(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_come_from_the_directory_of_credentials() {
    let mut stage = Stage::new();
    let credentials = stage.folder.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    let (graph, cxone) =
        (stage.graph().options().client_secret.clone(), stage.cxone().options().client_secret.clone());
    for (name, secret) in [("graph", &graph), ("cxone", &cxone)] {
        let path = credentials.join(name);
        std::fs::write(&path, format!("{secret}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o400)).unwrap();
        let (inline, file) = (
            format!("client_secret = \"{secret}\""),
            format!("client_secret_file = \"${{CREDENTIALS_DIRECTORY}}/{name}\""),
        );
        assert!(stage.configuration.contains(&inline));
        stage.configuration = stage.configuration.replacen(&inline, &file, 1);
    }
    let environment = [("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap())];
    let process = Process::start(&stage, &environment).await;
    // Both neighbours have taken them.
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    assert_eq!(process.terminate(), Some(0));

    let output = run(&stage, &["config", "validate"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("CREDENTIALS_DIRECTORY is not set"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_on_the_same_store_ends_at_once_and_harms_nothing() {
    let stage = Stage::new();
    let process = Process::start(&stage, &[]).await;
    // As a second replica would: everything of its own but the volume.
    let second = binary(&write_config(&stage))
        .arg("serve")
        .envs([
            ("CXONE_SYNC__SERVICE__PUBLIC_LISTEN", "127.0.0.1:0"),
            ("CXONE_SYNC__SERVICE__PRIVATE_LISTEN", "127.0.0.1:0"),
            ("CXONE_SYNC__SERVICE__PRIVATE_SOCKET", ""),
        ])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("is in use by another process"), "{said}");
    let ana = stage.hire("Ana");
    stage.arrives(&ana).await;
    assert_eq!(process.terminate(), Some(0), "{}", log_of(&stage));
}

/// A certificate of ours with its key, both PEM.
struct Made {
    certificate: CertificateDer<'static>,
    pem: String,
    key: String,
}

impl Made {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let made =
            CertificateParams::new(vec!["sync.example.com".to_owned()]).unwrap().self_signed(&key).unwrap();
        Self { certificate: made.der().clone(), pem: made.pem(), key: key.serialize_pem() }
    }

    /// Whether whoever trusts only this certificate can talk to the address.
    async fn is_shown_by(&self, address: &str) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        let name = ServerName::try_from("sync.example.com").unwrap();
        let socket = TcpStream::connect(address).await.unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, socket).await.is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let (old, new) = (Made::new(), Made::new());
    let mut stage = Stage::new();
    let (certificate, key) = (stage.folder.path().join("tls.crt"), stage.folder.path().join("tls.key"));
    let write = |made: &Made| {
        std::fs::write(&certificate, &made.pem).unwrap();
        std::fs::write(&key, &made.key).unwrap();
    };
    write(&old);
    let tls = format!(
        "[service]\ntls_certificate_file = \"{}\"\ntls_key_file = \"{}\"\n",
        certificate.display(),
        key.display()
    );
    stage.configuration = stage.configuration.replacen("[service]\n", &tls, 1);
    let listen = stage.configuration.lines().find_map(|line| line.strip_prefix("public_listen = ")).unwrap();
    let address = listen.trim_matches('"').to_owned();

    let process = Process::start(&stage, &[]).await;
    assert!(old.is_shown_by(&address).await, "{}", log_of(&stage));
    assert!(!new.is_shown_by(&address).await);
    write(&new);
    let renewed = Instant::now();
    assert!(until_async(|| new.is_shown_by(&address)).await, "{}", log_of(&stage));
    // It looks at most every ten seconds.
    assert!(renewed.elapsed() < Duration::from_secs(20), "{:?}", renewed.elapsed());
    assert!(!old.is_shown_by(&address).await);
    assert_eq!(process.terminate(), Some(0));
}
