//! Sets the stage: both simulators and the real service on loopback, in a folder of its own.

use std::net::TcpListener;
use std::path::Path;

use anyhow::Context as _;

use crate::app::{App, Environment, Running};
use crate::clock::Clock;
use crate::config::Config;
use crate::outbound::Transport;
use crate::random::Random;
use crate::sim::{CxoneOptions, CxoneSim, DeliveryOptions, Faults, GraphOptions, GraphSim};

/// The neighbours. They end when this is dropped.
pub struct Neighbours {
    pub graph: GraphSim,
    pub cxone: CxoneSim,
}

impl Neighbours {
    pub fn start(seed: u64, faults: &Faults) -> anyhow::Result<Self> {
        let graph = GraphOptions { seed, faults: faults.clone(), ..GraphOptions::default() };
        let cxone = CxoneOptions { seed, faults: faults.clone(), ..CxoneOptions::default() };
        Self::start_with(graph, cxone)
    }

    /// Notifications are delivered and retried within milliseconds.
    pub fn start_with(graph: GraphOptions, cxone: CxoneOptions) -> anyhow::Result<Self> {
        let graph = GraphOptions { delivery: DeliveryOptions::fast(), ..graph };
        Ok(Self {
            graph: GraphSim::start(graph).context("cannot start the simulated Graph")?,
            cxone: CxoneSim::start(cxone).context("cannot start the simulated CXone")?,
        })
    }
}

/// Two ports that nobody listens on. Both are held until both are known: a port that was let go can be
/// given again at once.
fn free_ports() -> anyhow::Result<(u16, u16)> {
    let bind = || TcpListener::bind("127.0.0.1:0").context("cannot find a free port");
    let (one, other) = (bind()?, bind()?);
    Ok((one.local_addr()?.port(), other.local_addr()?.port()))
}

/// What an operator would write for these neighbours. Intervals are short, so that what a
/// notification did not tell is seen within a demo's patience; the guard is wide open, because a
/// demo deactivates a great many.
///
/// `roles` are pairs of a group and the role it gives.
pub fn configuration(
    folder: &Path,
    neighbours: &Neighbours,
    roles: &[(String, String)],
) -> anyhow::Result<String> {
    let (graph, cxone) = (&neighbours.graph, &neighbours.cxone);
    let roles: String = roles
        .iter()
        .map(|(group, role)| format!("[[roles]]\ngroup = \"{group}\"\nrole = \"{role}\"\n"))
        .collect();
    let (public, private) = free_ports()?;
    let folder = folder.display();
    let (tenant, client, secret) =
        (&graph.options().tenant_id, &graph.options().client_id, &graph.options().client_secret);
    let (cxone_client, cxone_secret) = (&cxone.options().client_id, &cxone.options().client_secret);
    Ok(format!(
        r#"
[service]
public_listen = "127.0.0.1:{public}"
private_listen = "127.0.0.1:{private}"
private_socket = "{folder}/demo.sock"
public_url = "http://127.0.0.1:{public}"
client_state_secret = "only-for-the-demo-and-never-elsewhere"
[store]
path = "{folder}/demo.redb"
[graph]
tenant_id = "{tenant}"
client_id = "{client}"
client_secret = "{secret}"
base_url = "{base_url}"
login_url = "{login_url}"
[cxone]
scim_url = "{scim_url}"
token_url = "{token_url}"
client_id = "{cxone_client}"
client_secret = "{cxone_secret}"
[sync]
poll_interval = "3s"
recheck_after = "3s"
[attributes.roles]
owner = "entra"
[guard]
deactivations = {{ per_hour = 1000000, per_day = 1000000, percent_per_day = 100 }}
role_removals = {{ per_hour = 1000000, per_day = 1000000, percent_per_day = 100 }}
{roles}"#,
        base_url = graph.base_url(),
        login_url = graph.login_url(),
        scim_url = cxone.scim_url(),
        token_url = cxone.token_url(),
    ))
}

/// The service, as `cxone-sync serve` starts it. `flags` are laid over the configuration.
pub async fn service(
    configuration: &str,
    flags: &[(String, String)],
    clock: Clock,
) -> anyhow::Result<Running> {
    let no_environment = std::iter::empty::<(std::ffi::OsString, std::ffi::OsString)>();
    service_of(Config::parse("the demo's configuration", configuration, no_environment, flags)?, clock).await
}

pub async fn service_of(config: Config, clock: Clock) -> anyhow::Result<Running> {
    let environment = Environment { clock, random: Random::system(), transport: Transport::direct()? };
    App::assemble(config, environment).await?.start().await
}
