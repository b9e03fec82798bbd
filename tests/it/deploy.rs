//! What `deploy/` says, held against the program it deploys. `tests/deploy` asks the programs that read it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cxone_sync::config::{Config, GraphCredential, Mode};

use super::process::binary;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn text(path: &str) -> String {
    fs::read_to_string(deploy().join(path)).unwrap()
}

/// The configuration at `path`, with a directory of all credentials and these variables.
fn configuration(path: &str, variables: &[(&str, &str)]) -> Config {
    let credentials = tempfile::tempdir().unwrap();
    for name in ["client-state", "graph", "cxone-client", "cxone-key"] {
        fs::write(credentials.path().join(name), "long enough for its purpose").unwrap();
    }
    let directory = [("CREDENTIALS_DIRECTORY", credentials.path().to_str().unwrap())];
    let variables = directory.iter().chain(variables).copied();
    let config = Config::parse(path, &text(path), variables, &[]).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.warnings, [""; 0], "{path}");
    config
}

/// The files that a text names below the directory of credentials.
fn credentials(text: &str) -> BTreeSet<&str> {
    let directory = "\"${CREDENTIALS_DIRECTORY}/";
    let named = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    named
        .filter_map(|line| line.split_once(directory))
        .map(|(_, name)| name.split('"').next().unwrap())
        .collect()
}

/// What stands between the quotes after each `before`.
fn quoted<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    text.match_indices(before).map(|(at, _)| text[at + before.len()..].split('\'').next().unwrap()).collect()
}

#[test]
fn the_unit_hands_over_what_the_configuration_beside_it_reads() {
    let (unit, file) = (text("systemd/cxone-sync.service"), text("systemd/cxone-sync.toml"));
    let config = configuration("systemd/cxone-sync.toml", &[]);
    let credential = |line: &'static str| {
        let lines = unit.lines().filter_map(move |found| found.strip_prefix(line));
        lines.map(|rest| rest.split(':').next().unwrap().to_owned())
    };
    let handed: BTreeSet<_> = credential("LoadCredentialEncrypted=").collect();
    let read: BTreeSet<_> = credentials(&file).into_iter().map(str::to_owned).collect();
    assert_eq!(handed, read);
    assert!(read.len() >= 4, "{read:?}");

    let line = |line: &str| assert!(unit.lines().any(|found| found == line), "no {line}");
    line("StateDirectory=cxone-sync");
    assert!(config.store.path.starts_with("/var/lib/cxone-sync"));
    line("RuntimeDirectory=cxone-sync");
    assert!(config.service.private_socket.unwrap().starts_with("/run/cxone-sync"));
    line("Type=notify");
    line("ExecReload=/bin/kill -HUP $MAINPID");
    assert_eq!(config.sync.mode, Mode::Observe, "the first start writes nothing");
}

#[test]
fn a_broken_configuration_ends_with_the_code_that_the_unit_does_not_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("broken.toml");
    fs::write(&path, "[service]\npublic_lisen = 1\n").unwrap();
    let code = binary(&path).arg("serve").output().unwrap().status.code().unwrap();
    let unit = text("systemd/cxone-sync.service");
    assert!(unit.lines().any(|line| line == format!("RestartPreventExitStatus={code}")), "{code}");
}

/// The instructions of a Dockerfile, a continued one as one.
fn instructions(dockerfile: &str) -> Vec<(String, String)> {
    let lines = dockerfile.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    let lines = lines.replace("\\\n", " ");
    let split = |line: &str| {
        let (instruction, rest) = line.trim().split_once(char::is_whitespace).unwrap();
        (instruction.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    lines.lines().filter(|line| !line.trim().is_empty()).map(split).collect()
}

#[test]
fn the_image_runs_our_commands_without_privileges() {
    let dockerfile = text("container/Dockerfile");
    let instructions = instructions(&dockerfile);
    let of = |name: &str| -> Vec<&str> {
        instructions.iter().filter(|(found, _)| found == name).map(|(_, rest)| rest.as_str()).collect()
    };
    assert_eq!(of("USER"), ["65532:65532"], "a number: Kubernetes cannot tell that a name is not root");
    assert_eq!(of("ADD"), [""; 0]);
    for base in of("FROM") {
        let image = base.split(' ').next().unwrap();
        let tag = image.rsplit_once(':').expect("a tag").1;
        assert!(tag != "latest", "{image}");
    }
    // What is run is what the program knows.
    let command = |line: &str| -> Vec<String> { serde_json::from_str(line).unwrap() };
    let [entrypoint, serve] = [of("ENTRYPOINT"), of("CMD")].map(|lines| command(lines.last().unwrap()));
    let check = of("HEALTHCHECK")[0].split_once(" CMD ").unwrap().1;
    let check = command(check);
    assert_eq!(check[0], entrypoint[0]);
    assert!(dockerfile.contains(&format!("/image{} {}", entrypoint[0], entrypoint[0])), "it is put there");
    for subcommand in [&serve[0], &check[1]] {
        let known = binary(Path::new("none.toml")).args([subcommand.as_str(), "--help"]).output().unwrap();
        assert!(known.status.success(), "{subcommand}");
    }
    // The store and the socket have no other place than the working directory.
    let config = configuration("container/cxone-sync.toml", &[]);
    assert_eq!(of("WORKDIR").last(), Some(&"/var/lib/cxone-sync"));
    assert_eq!(of("VOLUME"), [r#"["/var/lib/cxone-sync"]"#]);
    assert!(config.store.path.is_relative() && config.service.private_socket.unwrap().is_relative());
    assert_eq!(of("EXPOSE"), [config.service.public_listen.port().to_string()]);
    // What is not let into the build cannot get into the image.
    let ignored = fs::read_to_string(deploy().join("../.dockerignore")).unwrap();
    let rules: Vec<_> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(rules, ["*", "!Cargo.toml", "!Cargo.lock", "!src"]);
    for copied in of("COPY").iter().filter(|copied| !copied.starts_with("--from")) {
        let sources = copied.rsplit_once(' ').unwrap().0;
        for source in sources.split(' ') {
            assert!(rules.contains(&format!("!{source}").as_str()), "{source} is not let into the build");
        }
    }
    let version = concat!("cxone-sync:", env!("CARGO_PKG_VERSION"));
    assert!(text("container/compose.yaml").contains(version), "compose.yaml names another version");
}

#[test]
fn in_kubernetes_the_private_listener_is_the_pods_own_address() {
    let config = configuration("kubernetes/cxone-sync.toml", &[("POD_IP", "10.1.2.3")]);
    // By which the kubelet and Prometheus call it, and which it therefore serves.
    assert_eq!(config.service.private_listen, "10.1.2.3:8081".parse().unwrap());
    assert_eq!(config.service.public_listen.port(), 8080);
    let set = text("kubernetes/statefulset.yaml");
    for variable in ["POD_IP", "CREDENTIALS_DIRECTORY", "CXONE_SYNC_CONFIG"] {
        assert!(set.contains(&format!("- name: {variable}\n")), "{variable}");
    }
    let version = concat!("newTag: \"", env!("CARGO_PKG_VERSION"), '"');
    assert!(text("kubernetes/kustomization.yaml").contains(version));
}

#[test]
fn on_container_apps_environment_and_file_make_one_configuration() {
    let bicep = text("azure/container-apps.bicep");
    let id = "3f0c2a9e-1111-4222-8333-444455556666";
    let value = |name: &str| match name {
        "CXONE_SYNC__SERVICE__PUBLIC_URL" => "https://cxone-sync.example.com",
        "CXONE_SYNC__CXONE__SUBDOMAIN" => "contoso",
        "CXONE_SYNC__SYNC__MODE" => "observe",
        _ => id,
    };
    let names: Vec<_> =
        quoted(&bicep, "name: '").into_iter().filter(|name| name.starts_with("CXONE_SYNC__")).collect();
    assert!(names.len() >= 6, "{names:?}");
    let endpoint = [("IDENTITY_ENDPOINT", "http://localhost:42356/msi/token"), ("IDENTITY_HEADER", "x")];
    let variables: Vec<_> = names.iter().map(|name| (*name, value(name))).chain(endpoint).collect();
    let config = configuration("azure/cxone-sync.toml", &variables);
    let GraphCredential::ManagedIdentity { client_id, endpoint } = config.graph.credential else {
        panic!("the identity of the app is used");
    };
    assert_eq!((client_id.as_deref(), endpoint.is_some()), (Some(id), true));
    assert_eq!(config.service.private_socket, None, "a share holds no socket");

    // Every secret that the configuration reads is fetched, and nothing else.
    let fetched = bicep.lines().find(|line| line.starts_with("var secretNames = ")).unwrap();
    let file = text("azure/cxone-sync.toml");
    let fetched: BTreeSet<_> = fetched.split('\'').skip(1).step_by(2).collect();
    assert_eq!(fetched, credentials(&file));
    for line in ["minReplicas: 1", "maxReplicas: 1", "external: true", "allowInsecure: false"] {
        assert_eq!(bicep.matches(line).count(), 1, "{line}");
    }
    assert!(bicep.contains(&format!("targetPort: {}\n", config.service.public_listen.port())));
    assert_eq!(bicep.matches("port: 8081").count(), 3, "the probes ask the private listener");
    // For a probe from outside, the one name that the private listener serves.
    assert_eq!(bicep.matches("{ name: 'Host', value: 'localhost' }").count(), 3);

    // What is given is asked for, and what must be given is.
    let parameters = text("azure/container-apps.bicepparam");
    let named = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("param "));
        lines.map(|rest| rest.split(' ').next().unwrap().to_owned()).collect()
    };
    let asked = named(&bicep);
    let given = named(&parameters);
    assert!(given.is_subset(&asked), "{given:?} of {asked:?}");
    for line in bicep.lines().filter_map(|line| line.strip_prefix("param ")) {
        let name = line.split(' ').next().unwrap();
        assert!(line.contains(" = ") || given.contains(name), "{name} is given no value");
    }
}

#[test]
fn what_a_proxy_lets_through_is_what_the_service_takes() {
    let config = configuration("systemd/cxone-sync.toml", &[]);
    assert_eq!(config.service.max_body_bytes, 4 << 20);
    let (nginx, caddy) = (text("proxy/nginx.conf"), text("proxy/Caddyfile"));
    let ingress = text("kubernetes/ingress.yaml");
    assert!(nginx.contains("client_max_body_size 4m;"));
    assert!(caddy.contains("max_size 4MiB"));
    assert!(ingress.contains("proxy-body-size: 4m"));
    for proxy in [&nginx, &caddy, &ingress] {
        assert!(proxy.contains("notifications") && proxy.contains("lifecycle"));
        assert!(!proxy.contains("8081"), "the private listener is behind no proxy");
    }
}
