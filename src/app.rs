//! Puts the parts together: a [`config::Config`] becomes an [`App`], and nothing runs until [`App::start`].

mod assemble;
mod configured;
mod credentials;
pub mod doctor;
mod expiry;
mod handshake;
mod operations;
mod supervisor;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::config;
use crate::outbound::Transport;
use crate::random::Random;
use crate::shutdown::{Ended, Shutdown, Tasks};
use crate::store::Store;
use crate::web::listener::{self, Limits, TcpEndpoint, TlsEndpoint, TlsFiles, UnixEndpoint};
use crate::web::operations::Operation;
use crate::web::{self, Router};
use crate::worker::Worker;
pub use assemble::Foreign;
use configured::Configured;
use supervisor::Supervisor;
pub use token::{history_key_file, kept_history_key, token_file};

/// How long what runs may take to finish once the end was asked for.
const GRACE: Duration = Duration::from_secs(20);

/// What comes in from outside the configuration, so that a whole run can be replayed.
#[derive(Clone, Debug)]
pub struct Environment {
    pub clock: Clock,
    pub random: Random,
    /// The way to Graph, CXone and our own public URL.
    pub transport: Transport,
}

impl Environment {
    pub fn system() -> anyhow::Result<Self> {
        Ok(Self { clock: Clock::system(), random: Random::system(), transport: Transport::network()? })
    }
}

/// All parts, wired, nothing running.
#[derive(Debug)]
pub struct App {
    service: config::Service,
    pub store: Store,
    pub worker: Worker,
    transport: Transport,
    configured: Configured,
    asked: mpsc::Receiver<Operation>,
    public: Router,
    private: Router,
    /// The private router without a token, for whoever is let in otherwise: by the socket, and in this
    /// process.
    local: Router,
    offline: Router,
    tasks: Tasks,
    ended: mpsc::UnboundedReceiver<Ended>,
    shutdown: Shutdown,
}

/// A service that runs.
#[derive(Debug)]
pub struct Running {
    /// Where the listeners are; ports that were 0 are filled in.
    pub public_address: SocketAddr,
    pub private_address: SocketAddr,
    pub store: Store,
    pub worker: Worker,
    pub shutdown: Shutdown,
    configured: Arc<Configured>,
    tasks: Tasks,
    ended: mpsc::UnboundedReceiver<Ended>,
}

impl App {
    /// For commands while no service runs: the admin API, called in this process. The queue is not
    /// worked off.
    pub async fn offline(self) -> anyhow::Result<Transport> {
        let Self { worker, transport, configured, asked, offline, tasks, .. } = self;
        worker.settle_roots().await.context("cannot tell the store which groups matter")?;
        tasks.spawn(operations::answer_all(worker, transport, Arc::new(configured), asked));
        Ok(Transport::in_process(web::in_process(offline)))
    }

    /// Binds the listeners and starts every part.
    pub async fn start(self) -> anyhow::Result<Running> {
        let Self {
            service,
            store,
            worker,
            transport,
            configured,
            asked,
            public,
            private,
            local,
            offline: _,
            tasks,
            ended,
            shutdown,
        } = self;
        let configured = Arc::new(configured.serving());
        worker.settle_roots().await.context("cannot tell the store which groups matter")?;
        let limits = Limits { connections: service.max_connections, ..Limits::public() };
        let listen =
            |what: &'static str, address: SocketAddr| move || format!("cannot listen on {address} ({what})");

        let public_address;
        let (stop, spawner) = (shutdown.clone(), tasks.clone());
        let context = listen("service.public_listen", service.public_listen);
        if let Some(tls) = &service.tls {
            let files = TlsFiles { certificate: tls.certificate_file.clone(), key: tls.key_file.clone() };
            let endpoint = TlsEndpoint::bind(service.public_listen, files).await.with_context(context)?;
            public_address = endpoint.local_address()?;
            tasks.part("the public listener", async move {
                listener::serve("the public listener", endpoint, public, limits, stop, spawner).await;
                Ok(())
            });
        } else {
            let endpoint = TcpEndpoint::bind(service.public_listen).await.with_context(context)?;
            public_address = endpoint.local_address()?;
            tasks.part("the public listener", async move {
                listener::serve("the public listener", endpoint, public, limits, stop, spawner).await;
                Ok(())
            });
        }

        let endpoint = TcpEndpoint::bind(service.private_listen)
            .await
            .with_context(listen("service.private_listen", service.private_listen))?;
        let private_address = endpoint.local_address()?;
        let (stop, spawner) = (shutdown.clone(), tasks.clone());
        tasks.part("the private listener", async move {
            listener::serve("the private listener", endpoint, private, Limits::private(), stop, spawner)
                .await;
            Ok(())
        });
        if let Some(path) = &service.private_socket {
            let endpoint = UnixEndpoint::bind(path)
                .await
                .with_context(|| format!("cannot listen on {} (service.private_socket)", path.display()))?;
            let (stop, spawner) = (shutdown.clone(), tasks.clone());
            tasks.part("the private socket", async move {
                listener::serve("the private socket", endpoint, local, Limits::private(), stop, spawner)
                    .await;
                Ok(())
            });
        }
        tasks.part("the worker", worker.clone().run());
        tasks.part("the upkeep", worker.clone().keep_up());
        tasks.part("the credentials", credentials::follow(configured.clone(), worker.clone()));
        tasks.part("the events", worker.clone().keep_telling());
        tasks.part("the clocks", worker.clone().keep_time());
        // Not a part: it ends when the listeners have gone.
        tasks.spawn(operations::answer_all(worker.clone(), transport, configured.clone(), asked));
        info!(public = %public_address, private = %private_address, "cxone-sync {} serves", env!("CARGO_PKG_VERSION"));
        Ok(Running { public_address, private_address, store, worker, shutdown, configured, tasks, ended })
    }
}

impl Running {
    /// Keeps whoever started us told until the end.
    fn keep_told(&self, supervisor: Supervisor) {
        let (store, clock) = (self.store.clone(), self.worker.clock.clone());
        let (metrics, shutdown) = (self.worker.metrics.clone(), self.shutdown.clone());
        self.tasks.spawn(supervisor.tell_of_the_end(shutdown.clone()));
        self.tasks.part("the news for the service manager", async move {
            Ok(supervisor.keep_told(store, clock, metrics, shutdown).await?)
        });
    }

    /// Runs until shutdown is requested and everything has finished, or a part ends unasked.
    pub async fn until_end(mut self) -> anyhow::Result<()> {
        let unasked = tokio::select! {
            biased;
            Some(ended) = self.ended.recv() => Some(ended),
            () = self.shutdown.requested() => None,
        };
        self.shutdown.request();
        if !self.tasks.finish(GRACE).await {
            warn!("something was still running after {} s; the queue has it", GRACE.as_secs());
        }
        // A part that failed while it was asked to stop is a failure too.
        let unasked = unasked.or_else(|| self.ended.try_recv().ok());
        self.store.close().await;
        match unasked {
            None => Ok(()),
            Some(ended) => {
                let ended = anyhow::Error::from(ended);
                error!(error = format!("{ended:#}"), "a part of the service ended: the process ends");
                Err(ended)
            }
        }
    }
}

/// `cxone-sync serve`: runs until SIGTERM or SIGINT; a second signal ends the process at once. SIGHUP
/// reads the configuration again.
pub async fn serve(config: config::Config) -> anyhow::Result<()> {
    // Before anything can be reached: whoever sees us serve may signal, and an unhandled signal ends the
    // process as if it had crashed.
    let handler = |kind| signal(kind).context("cannot handle signals");
    let (mut hung_up, terminate) = (handler(SignalKind::hangup())?, handler(SignalKind::terminate())?);
    let mut ends = [terminate, handler(SignalKind::interrupt())?];
    let app = App::assemble(config, Environment::system()?).await?;
    let shutdown = app.shutdown.clone();
    let supervisor = Supervisor::of_this_process();
    let running = app.start().await?;
    supervisor.ready().await;
    running.keep_told(supervisor);
    let (worker, configured) = (running.worker.clone(), running.configured.clone());
    tokio::spawn(async move {
        while hung_up.recv().await.is_some() {
            supervisor.reloading().await;
            // What it came to has been logged.
            let reloaded = configured.reload(&worker).await;
            supervisor.reloaded(reloaded.is_ok()).await;
        }
    });
    tokio::spawn(async move {
        signalled(&mut ends).await;
        info!("asked to stop: finishing what runs");
        shutdown.request();
        signalled(&mut ends).await;
        warn!("asked again: ending at once");
        std::process::exit(1);
    });
    running.until_end().await
}

async fn signalled([terminate, interrupt]: &mut [Signal; 2]) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
