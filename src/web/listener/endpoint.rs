//! Where connections come from: TCP and Unix sockets. TLS is in `tls`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Something that can be listened on. Dropping it stops listening.
pub trait Endpoint: Send + Sync + 'static {
    type Socket: Socket;

    fn accept(&self) -> impl Future<Output = io::Result<Self::Socket>> + Send;
}

/// A connection as it was accepted.
pub trait Socket: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// What comes before the first request: nothing, a TLS handshake, a look at who is there.
    fn greet(self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Turns the client away at once, politely if that can be done without waiting.
    fn refuse(self);
}

const NO_ROOM: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nretry-after: 1\r\nconnection: close\r\n\r\n";

/// Plain HTTP over TCP.
#[derive(Debug)]
pub struct TcpEndpoint(TcpListener);

impl TcpEndpoint {
    /// Listens on `address`, such as `127.0.0.1:8081`; port 0 takes a free one.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        TcpListener::bind(address).await.map(Self)
    }

    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Endpoint for TcpEndpoint {
    type Socket = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        let (socket, _) = self.0.accept().await?;
        // Answers are small and written whole: waiting to fill a packet only delays them.
        socket.set_nodelay(true).ok();
        Ok(socket)
    }
}

impl Socket for TcpStream {
    type Stream = Self;

    async fn greet(self) -> io::Result<Self> {
        Ok(self)
    }

    fn refuse(self) {
        self.try_write(NO_ROOM).ok();
    }
}

/// HTTP over a Unix socket that only our own user and root may use.
#[derive(Debug)]
pub struct UnixEndpoint {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket file we made.
    file: (u64, u64),
    owner: u32,
}

impl UnixEndpoint {
    /// Makes the socket file, mode 0600. A file left behind by a process that is gone is replaced;
    /// one that somebody listens on, or that is no socket, is an error and stays.
    pub async fn bind(path: &Path) -> io::Result<Self> {
        remove_stale(path).await?;
        let listener = UnixListener::bind(path)?;
        // Until here the mode was the umask's; whoever slipped in is turned away by `greet`.
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let made = std::fs::symlink_metadata(path)?;
        // The file was made by this process, so its owner is our effective user.
        Ok(Self { listener, path: path.to_owned(), file: (made.dev(), made.ino()), owner: made.uid() })
    }
}

async fn remove_stale(path: &Path) -> io::Result<()> {
    let there = match std::fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !there.file_type().is_socket() {
        let message = format!("{} is there and is not a socket", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) => Err(error),
        Ok(_) => {
            let message = format!("another process listens on {}", path.display());
            Err(io::Error::new(io::ErrorKind::AddrInUse, message))
        }
    }
}

impl Drop for UnixEndpoint {
    fn drop(&mut self) {
        // Not if somebody has put another file in its place.
        let ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == self.file);
        if ours {
            std::fs::remove_file(&self.path).ok();
        }
    }
}

impl Endpoint for UnixEndpoint {
    type Socket = LocalSocket;

    async fn accept(&self) -> io::Result<LocalSocket> {
        let (stream, _) = self.listener.accept().await?;
        Ok(LocalSocket { stream, owner: self.owner })
    }
}

/// A connection over a Unix socket whose peer has yet to be looked at.
#[derive(Debug)]
pub struct LocalSocket {
    stream: UnixStream,
    owner: u32,
}

impl Socket for LocalSocket {
    type Stream = UnixStream;

    async fn greet(self) -> io::Result<UnixStream> {
        let peer = self.stream.peer_cred()?.uid();
        if may_use(peer, self.owner) {
            return Ok(self.stream);
        }
        let message = format!("user {peer} may not use the socket of user {}", self.owner);
        Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
    }

    fn refuse(self) {
        self.stream.try_write(NO_ROOM).ok();
    }
}

fn may_use(peer: u32, owner: u32) -> bool {
    peer == owner || peer == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_and_root_may_use_the_socket() {
        assert!(may_use(1000, 1000));
        assert!(may_use(0, 1000));
        assert!(!may_use(1001, 1000));
        assert!(!may_use(1000, 0));
    }

    #[tokio::test]
    async fn the_socket_is_ours_alone_and_goes_with_us() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let endpoint = UnixEndpoint::bind(&path).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        drop(endpoint);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        // Dropping the standard library's listener leaves the file, as a killed process does.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let endpoint = UnixEndpoint::bind(&path).await.unwrap();
        let second = UnixEndpoint::bind(&path).await.unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse, "{second}");
        assert!(path.exists());
        drop(endpoint);
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_never_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        std::fs::write(&path, "precious").unwrap();
        assert!(UnixEndpoint::bind(&path).await.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn the_file_of_a_successor_stays_when_we_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let first = UnixEndpoint::bind(&path).await.unwrap();
        std::fs::rename(&path, directory.path().join("old")).unwrap();
        let _second = UnixEndpoint::bind(&path).await.unwrap();
        drop(first);
        assert!(path.exists());
    }
}
