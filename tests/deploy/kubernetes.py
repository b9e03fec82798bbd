"""Checks deploy/kubernetes: against Kubernetes' own schemas, and by what the objects say of each other.

    python kubernetes.py FOLDER
"""

import sys
from pathlib import Path

import kubernetes_validate
import yaml

# The oldest that has everything used, and the newest there are schemas of.
VERSIONS = ["1.30.0", "1.37.0"]
CLUSTER_WIDE = {"Namespace", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}

problems = []


def expect(so, problem):
    if not so:
        problems.append(problem)


def read(path):
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def labels(selector):
    return (selector.get("matchLabels") or selector).items()


def main(folder):
    kustomization = read(folder / "kustomization.yaml")[0]
    objects = [found for name in kustomization["resources"] for found in read(folder / name)]
    unused = {path.name for path in folder.glob("*.yaml")} - set(kustomization["resources"])
    expect(unused == {"kustomization.yaml", "service-monitor.yaml"}, f"not in the kustomization: {unused}")

    for found in objects:
        where = f"{found['kind']} {found['metadata']['name']}"
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(found, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                problems.append(f"{where}, Kubernetes {version}: {error}")
        expect("namespace" not in found["metadata"], f"{where}: the kustomization says the namespace")

    def of(kind):
        return {found["metadata"]["name"]: found for found in objects if found["kind"] == kind}

    [(name, stateful)] = of("StatefulSet").items()
    spec = stateful["spec"]
    template = spec["template"]
    pod = template["spec"]
    [container] = pod["containers"]

    # One replica, whose volume nobody else gets.
    expect(spec["replicas"] == 1, "more than one replica")
    expect("volumeClaimTemplates" not in spec, "every replica would get a store of its own")
    claims = of("PersistentVolumeClaim")
    for claim in claims.values():
        expect(claim["spec"]["accessModes"] == ["ReadWriteOncePod"], "another pod could mount the store")
    expect(of("Namespace").keys() == {kustomization["namespace"]}, "the namespace is another")
    for binding in of("ValidatingAdmissionPolicyBinding").values():
        expect(binding["spec"]["policyName"] in of("ValidatingAdmissionPolicy"), "no such policy")
        selector = binding["spec"]["matchResources"]["namespaceSelector"]["matchLabels"]
        expect(selector == {"kubernetes.io/metadata.name": kustomization["namespace"]}, f"{selector}")

    # Pod Security "restricted", and more.
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/
    [namespace] = of("Namespace").values()
    expect(namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted", "not restricted")
    for key in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"]:
        expect(key not in pod, key)
    expect(pod.get("automountServiceAccountToken") is False, "it needs no token for the API server")
    security, own = pod["securityContext"], container["securityContext"]
    expect(security.get("runAsNonRoot") is True and own.get("runAsNonRoot") is True, "might be root")
    expect(security["runAsUser"] == security["runAsGroup"] == security["fsGroup"] == 65532, "not the image's user")
    expect(security.get("seccompProfile") == {"type": "RuntimeDefault"}, "no seccomp profile")
    expect(own.get("allowPrivilegeEscalation") is False and own.get("privileged") is False, "privileges")
    expect(own.get("readOnlyRootFilesystem") is True, "its root can be written")
    expect(own.get("capabilities") == {"drop": ["ALL"]}, "capabilities")
    expect("memory" in container["resources"]["limits"], "no limit of memory")
    kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
    expect(kinds == {"persistentVolumeClaim", "configMap", "secret"}, f"volumes of {kinds}")

    # Names that must fit.
    expect(spec["serviceName"] in of("Service"), "no headless service")
    expect(of("Service")[spec["serviceName"]]["spec"]["clusterIP"] == "None", "not headless")
    expect(pod["serviceAccountName"] in of("ServiceAccount"), "no such account")
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    expect(volumes.keys() == mounts.keys(), f"volumes {volumes.keys()}, mounts {mounts.keys()}")
    expect(volumes["store"]["persistentVolumeClaim"]["claimName"] in claims, "no such claim")
    generated = {made["name"] for made in kustomization["configMapGenerator"]}
    expect(volumes["configuration"]["configMap"]["name"] in generated, "no such configuration")
    for made in kustomization["configMapGenerator"]:
        for file in made["files"]:
            expect((folder / file).exists(), f"no {file}")
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    expect(environment["CREDENTIALS_DIRECTORY"] == mounts["secrets"]["mountPath"], "secrets are elsewhere")
    expect(environment["CXONE_SYNC_CONFIG"].startswith(mounts["configuration"]["mountPath"] + "/"), "no config")
    expect({image["name"] for image in kustomization["images"]} == {container["image"]}, "another image")
    pod_labels = template["metadata"]["labels"].items()
    for kind in ["Service", "NetworkPolicy", "PodDisruptionBudget", "StatefulSet"]:
        for where, found in of(kind).items():
            selector = found["spec"].get("selector") or found["spec"].get("podSelector")
            expect(labels(selector) <= pod_labels, f"{kind} {where} selects other pods")

    # The private port: probes and Prometheus, and no way from outside.
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    expect(ports == {"notifications": 8080, "private": 8081}, f"{ports}")
    for probe, path in [("startupProbe", "/readyz"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]:
        expect(container[probe]["httpGet"] == {"path": path, "port": "private"}, probe)
    for where, service in of("Service").items():
        for port in service["spec"]["ports"]:
            expect(port["targetPort"] in ports, f"Service {where}: {port['targetPort']}")
    for where, ingress in of("Ingress").items():
        paths = [path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
        expect({path["path"] for path in paths} == {"/notifications", "/lifecycle"}, f"Ingress {where}: paths")
        expect({path["pathType"] for path in paths} == {"Exact"}, f"Ingress {where}: more than the paths")
        for path in paths:
            backend = path["backend"]["service"]
            served = of("Service")[backend["name"]]["spec"]["ports"]
            by_name = {port["name"]: port["targetPort"] for port in served}
            expect(by_name.get(backend["port"]["name"]) == "notifications", f"Ingress {where}: the wrong port")
    policies = of("NetworkPolicy").values()
    default = [policy["spec"] for policy in policies if policy["spec"]["podSelector"] == {}]
    expect(default == [{"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}], "not everything is denied")
    for policy in policies:
        for rule in policy["spec"].get("ingress", []):
            expect(rule.get("from") and rule.get("ports"), "anybody is let in")
        for rule in policy["spec"].get("egress", []):
            expect(rule.get("to") and rule.get("ports"), "anything is let out")

    for problem in problems:
        print(f"{folder}: {problem}", file=sys.stderr)
    if problems:
        sys.exit(1)
    print(f"{len(objects)} objects by the schemas of Kubernetes {' and '.join(VERSIONS)}")


main(Path(sys.argv[1]))
