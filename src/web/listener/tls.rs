//! HTTPS over TCP, with a certificate that is read again when its files change.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Endpoint, Socket};

/// How often, at most, the files are looked at. A renewed certificate is in use this long after the
/// first connection that follows it.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The certificate chain and its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} does not hold what it should, in PEM", path.display())]
    Pem {
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("{} holds no certificate", path.display())]
    Empty { path: PathBuf },
    #[error("the certificate and the private key cannot be used together")]
    Unusable(#[source] rustls::Error),
}

/// HTTPS (TLS 1.2 and 1.3) over TCP.
#[derive(Debug)]
pub struct TlsEndpoint {
    listener: TcpListener,
    certificate: Arc<Certificate>,
}

impl TlsEndpoint {
    /// Listens on `address`. Fails when the files cannot be used; later, a broken file only keeps
    /// the certificate that was read before.
    pub async fn bind(address: SocketAddr, files: TlsFiles) -> anyhow::Result<Self> {
        Self::looking_every(LOOK_EVERY, address, files).await
    }

    pub(super) async fn looking_every(
        interval: Duration,
        address: SocketAddr,
        files: TlsFiles,
    ) -> anyhow::Result<Self> {
        let certificate = Arc::new(Certificate::read(files, interval).await?);
        Ok(Self { listener: TcpListener::bind(address).await?, certificate })
    }

    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Endpoint for TlsEndpoint {
    type Socket = TlsSocket;

    async fn accept(&self) -> io::Result<TlsSocket> {
        let (socket, _) = self.listener.accept().await?;
        socket.set_nodelay(true).ok();
        Ok(TlsSocket { socket, certificate: self.certificate.clone() })
    }
}

/// A connection whose handshake is still to come.
#[derive(Debug)]
pub struct TlsSocket {
    socket: TcpStream,
    certificate: Arc<Certificate>,
}

impl Socket for TlsSocket {
    type Stream = TlsStream<TcpStream>;

    async fn greet(self) -> io::Result<Self::Stream> {
        self.certificate.look_again().await;
        TlsAcceptor::from(self.certificate.current()).accept(self.socket).await
    }

    // Without a handshake there is no way to say anything that would be understood.
    fn refuse(self) {}
}

#[derive(Debug)]
struct Certificate {
    files: TlsFiles,
    interval: Duration,
    current: RwLock<Arc<ServerConfig>>,
    seen: Mutex<Seen>,
}

/// What was in the files when they were last looked at, good or bad. Compared whole: the times of
/// files lie when a secret is mounted by a symbolic link.
#[derive(Debug)]
struct Seen {
    at: Instant,
    contents: Option<Contents>,
}

#[derive(Debug, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Certificate {
    async fn read(files: TlsFiles, interval: Duration) -> Result<Self, TlsError> {
        let contents = read(&files).await?;
        let current = RwLock::new(Arc::new(config(&files, &contents)?));
        let seen = Mutex::new(Seen { at: Instant::now(), contents: Some(contents) });
        Ok(Self { files, interval, current, seen })
    }

    fn current(&self) -> Arc<ServerConfig> {
        self.current.read().expect("no panic while the certificate is held").clone()
    }

    /// Takes over what the files hold now, if it is new and can be used.
    async fn look_again(&self) {
        // Whoever finds somebody else looking goes on with what there is.
        let Ok(mut seen) = self.seen.try_lock() else { return };
        if seen.at.elapsed() < self.interval {
            return;
        }
        seen.at = Instant::now();
        let contents = match read(&self.files).await {
            Ok(contents) if seen.contents.as_ref() == Some(&contents) => return,
            Ok(contents) => contents,
            // Told once, not at every look.
            Err(_) if seen.contents.is_none() => return,
            Err(error) => {
                seen.contents = None;
                return keep_old(&error);
            }
        };
        let made = config(&self.files, &contents);
        seen.contents = Some(contents);
        match made {
            Ok(config) => {
                *self.current.write().expect("no panic while the certificate is held") = Arc::new(config);
                tracing::info!("the TLS certificate has been read again");
            }
            Err(error) => keep_old(&error),
        }
    }
}

fn keep_old(error: &TlsError) {
    let error = error as &dyn std::error::Error;
    tracing::error!(error, "the new TLS certificate cannot be used; the old one stays in use");
}

async fn read(files: &TlsFiles) -> Result<Contents, TlsError> {
    let read = async |path: &PathBuf| {
        tokio::fs::read(path).await.map_err(|source| TlsError::Read { path: path.clone(), source })
    };
    Ok(Contents { certificate: read(&files.certificate).await?, key: read(&files.key).await? })
}

fn config(files: &TlsFiles, contents: &Contents) -> Result<ServerConfig, TlsError> {
    let broken = |path: &PathBuf| {
        let path = path.clone();
        move |source| TlsError::Pem { path, source }
    };
    let chain = CertificateDer::pem_slice_iter(&contents.certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(broken(&files.certificate))?;
    if chain.is_empty() {
        return Err(TlsError::Empty { path: files.certificate.clone() });
    }
    let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(broken(&files.key))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(TlsError::Unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
