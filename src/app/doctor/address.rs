//! The public URL, as Graph would come to it: name, TLS, certificate, and the handshake.

use std::net::IpAddr;

use crate::domain::checkup::{self, Check, Finding, Kind};
use crate::outbound::tls::{Offer, addresses_of, certificate_of};
use crate::outbound::{self, Transport, Url};
use crate::worker::WebhookUrls;
use crate::worker::failure::words;

use super::{Patient, within};
use crate::app::handshake;

const ALL: [Check; 5] = [
    Check::PublicDns,
    Check::PublicTls,
    Check::PublicCertificate,
    Check::PublicHandshake,
    Check::PublicLatency,
];

impl Patient {
    pub(super) async fn address(&self) -> Vec<Finding> {
        let Some(urls) = &self.urls else {
            let why =
                "service.public_url is not configured: Graph cannot call us, and only the poll finds changes";
            return ALL.map(|check| Finding::skipped(check, why)).to_vec();
        };
        let (mut handshake, name, tls) =
            tokio::join!(self.shake(urls), self.name(&urls.notification), self.tls(&urls.notification));
        let mut findings = vec![name];
        findings.extend(tls);
        findings.append(&mut handshake);
        findings
    }

    async fn shake(&self, urls: &WebhookUrls) -> Vec<Finding> {
        if !self.serves {
            let why = "no service runs here, so that nobody answers";
            return [Check::PublicHandshake, Check::PublicLatency]
                .map(|check| Finding::skipped(check, why))
                .to_vec();
        }
        let check = |url| {
            let (transport, clock, metrics) =
                (self.transport.clone(), self.clock.clone(), self.metrics.clone());
            async move { Ok::<_, ()>(handshake::check(url, transport, clock, &self.random, metrics).await) }
        };
        let both = async { tokio::try_join!(check(&urls.notification), check(&urls.lifecycle)) };
        let means = "Graph refuses to subscribe, and delivers nothing";
        let both = match within(both).await {
            Ok(Ok((notification, lifecycle))) => [notification, lifecycle],
            Ok(Err(())) => unreachable!("a check has no error"),
            Err(late) => {
                let todo =
                    "open the port to the internet, and let the proxy forward to service.public_listen";
                let shaken = late.finding(Check::PublicHandshake, means, todo);
                return vec![shaken, Finding::skipped(Check::PublicLatency, "see public-handshake")];
            }
        };
        match both.iter().find(|check| !check.echoed) {
            Some(wrong) => {
                let problem = wrong.problem.as_deref().unwrap_or("it does not answer as it must");
                let found = format!("{}: {problem}", wrong.url);
                let todo = wrong.todo.clone().unwrap_or_default();
                vec![
                    Finding::fail(Check::PublicHandshake, Kind::Other, found, means, todo),
                    Finding::skipped(Check::PublicLatency, "see public-handshake"),
                ]
            }
            None => {
                let slowest = both.iter().map(|check| check.latency_ms).max().unwrap_or_default();
                let found = format!("{} and {} echo the token", both[0].url, both[1].url);
                vec![Finding::ok(Check::PublicHandshake, found), checkup::latency(slowest)]
            }
        }
    }

    async fn name(&self, url: &Url) -> Finding {
        let check = Check::PublicDns;
        if matches!(self.transport, Transport::InProcess(_)) {
            return Finding::skipped(check, "there is no network");
        }
        let host = url.host_str().unwrap_or_default();
        match within(addresses_of(url)).await {
            Ok(Ok(addresses)) if !addresses.is_empty() => judge_addresses(host, &addresses),
            Ok(Ok(_)) => unknown(host, "it has no address"),
            Ok(Err(error)) => unknown(host, &error.to_string()),
            Err(late) => unknown(host, &late.words),
        }
    }

    /// Two requests: one offers every version, one only what Graph is known to speak.
    async fn tls(&self, url: &Url) -> [Finding; 2] {
        let both = [Check::PublicTls, Check::PublicCertificate];
        let skipped = |why: &str| both.map(|check| Finding::skipped(check, why));
        if matches!(self.transport, Transport::InProcess(_)) {
            return skipped("there is no network");
        }
        if url.scheme() != "https" {
            return skipped("no TLS: only simulators on this host can call this address");
        }
        let any = within(certificate_of(url, Offer::All));
        let old = within(certificate_of(url, Offer::Tls12));
        let (any, old) = tokio::join!(any, old);
        let (Ok(any), Ok(old)) = (any, old) else { return skipped("nothing answers in time") };
        let (any, old) = (any.map_err(|error| fault(&error)), old.map_err(|error| fault(&error)));
        let tls = match (&any, &old) {
            // Who shows a certificate, good or bad, has agreed on a version.
            (_, Ok(_) | Err(Broken::Certificate(_))) => Finding::ok(Check::PublicTls, "TLS 1.2 is offered"),
            (Ok(_) | Err(Broken::Certificate(_)), Err(Broken::Other(words))) => Finding::fail(
                Check::PublicTls,
                Kind::Other,
                format!("TLS 1.2 is not offered: {words}"),
                "Graph refuses to subscribe: it does not come with TLS 1.3 alone",
                "let the proxy in front, or whatever ends TLS, offer TLS 1.2 beside 1.3",
            ),
            (Err(Broken::Other(words)), Err(Broken::Other(_))) => {
                return skipped(&format!("nothing answers with TLS: {words}"));
            }
        };
        let certificate = match any.or(old) {
            Ok(Some(not_after)) => checkup::certificate(not_after, self.clock.now()),
            Ok(None) => Finding::ok(Check::PublicCertificate, "trusted; until when cannot be read"),
            Err(Broken::Certificate(words)) => distrusted(&words),
            Err(Broken::Other(words)) => Finding::skipped(Check::PublicCertificate, words),
        };
        [tls, certificate]
    }
}

enum Broken {
    Certificate(String),
    Other(String),
}

fn fault(error: &outbound::Error) -> Broken {
    let words = words(error);
    match words.contains("peer certificate") {
        true => Broken::Certificate(words),
        false => Broken::Other(words),
    }
}

/// What is wrong with a certificate, by what rustls says of it.
fn distrusted(words: &str) -> Finding {
    let (found, todo) = if words.contains("UnknownIssuer") {
        (
            "the certificate is not trusted: its authority is not known, or the chain is not whole",
            "use a certificate of a public authority, and serve it with all intermediate certificates (fullchain.pem)",
        )
    } else if words.contains("not valid for name") || words.contains("NotValidForName") {
        ("the certificate is for another name", "get one for the host in service.public_url, or correct that")
    } else if words.contains("expired") || words.contains("Expired") {
        ("the certificate has expired", "renew it, and see why that was not done by itself")
    } else {
        ("the certificate is not accepted", "use a certificate of a public authority")
    };
    let found = format!("{found} ({words})");
    Finding::fail(Check::PublicCertificate, Kind::Other, found, "Graph delivers nothing", todo)
}

fn unknown(host: &str, why: &str) -> Finding {
    Finding::fail(
        Check::PublicDns,
        Kind::Other,
        format!("{host} does not resolve: {why}"),
        "Graph cannot find us",
        "add the host to the public DNS, or correct service.public_url",
    )
}

fn judge_addresses(host: &str, addresses: &[IpAddr]) -> Finding {
    let check = Check::PublicDns;
    let told = addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ");
    if addresses.iter().all(IpAddr::is_loopback) {
        return Finding::ok(check, format!("{told}: this host, for simulators"));
    }
    if addresses.iter().all(is_private) {
        return Finding::warn(
            check,
            format!("{host} is {told} here, which is not reached from the internet"),
            "where the public DNS says the same, Graph cannot find us",
            "ask a public name server; if it says the same, publish the address of the proxy in front",
        );
    }
    Finding::ok(check, format!("{host} is {told}"))
}

/// Not reached from outside (RFC 1918, 3927, 4193, 4291, 6598).
fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::checkup::State;

    #[test]
    fn an_address_that_is_not_reached_from_outside_is_told() {
        let judged = |addresses: &[&str]| {
            let addresses: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
            judge_addresses("sync.example.com", &addresses).state
        };
        assert_eq!(judged(&["203.0.113.7"]), State::Ok);
        assert_eq!(judged(&["10.1.2.3", "203.0.113.7"]), State::Ok, "one is enough");
        assert_eq!(judged(&["10.1.2.3"]), State::Warn);
        assert_eq!(judged(&["100.64.0.1"]), State::Warn);
        assert_eq!(judged(&["fd00::1"]), State::Warn);
        assert_eq!(judged(&["127.0.0.1", "::1"]), State::Ok);
        assert_eq!(unknown("x.invalid", "no such name").state, State::Fail);
    }

    #[test]
    fn each_fault_of_a_certificate_has_its_remedy() {
        let todo = |words: &str| distrusted(words).todo.unwrap();
        assert!(todo("invalid peer certificate: UnknownIssuer").contains("intermediate"));
        assert!(
            todo("invalid peer certificate: certificate not valid for name \"x\"").contains("public_url")
        );
        assert!(todo("invalid peer certificate: certificate expired").contains("renew"));
        assert!(todo("invalid peer certificate: BadSignature").contains("public authority"));
    }
}
