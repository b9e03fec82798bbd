//! What a host shows to whoever comes in from outside: its addresses, and its certificate over TLS 1.2,
//! which is the newest that Graph is known to speak to a webhook.

use std::net::IpAddr;

use jiff::Timestamp;

use super::{Error, Url, client, failure};

/// Which versions of TLS we offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Nothing newer than 1.2.
    Tls12,
    All,
}

/// Sends one request and says until when the certificate is good; `None`: it could not be read. The
/// status of the answer does not matter.
///
/// # Errors
/// When there is no answer: also when the certificate is not trusted.
pub async fn certificate_of(url: &Url, offer: Offer) -> Result<Option<Timestamp>, Error> {
    const NAME: &str = "the public URL";
    let mut builder = client().tls_info(true);
    if offer == Offer::Tls12 {
        builder = builder.tls_version_max(reqwest::tls::Version::TLS_1_2);
    }
    let unreachable = |source: reqwest::Error| Error::Unreachable { api: NAME, source: source.into() };
    let network = builder.build().map_err(unreachable)?;
    let answer = network.head(url.clone()).send().await.map_err(|error| failure(NAME, error))?;
    let shown = answer.extensions().get::<reqwest::tls::TlsInfo>().and_then(|tls| tls.peer_certificate());
    Ok(shown.and_then(validity).map(|(_, not_after)| not_after))
}

/// From when and until when a certificate in DER is good (RFC 5280, 4.1.2.5).
pub fn validity(der: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let at = |time: x509_parser::time::ASN1Time| Timestamp::from_second(time.timestamp()).ok();
    let validity = certificate.validity();
    Some((at(validity.not_before)?, at(validity.not_after)?))
}

/// The addresses of the host of this URL, as they are known here.
pub async fn addresses_of(url: &Url) -> std::io::Result<Vec<IpAddr>> {
    let missing = || std::io::Error::other("the address has no host");
    let host = url.host_str().ok_or_else(missing)?.trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(443);
    Ok(tokio::net::lookup_host((host, port)).await?.map(|address| address.ip()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read_and_nonsense_is_none() {
        let mut wanted = rcgen::CertificateParams::new(vec!["sync.example.com".to_owned()]).unwrap();
        wanted.not_after = rcgen::date_time_ymd(2027, 2, 3);
        let key = rcgen::KeyPair::generate().unwrap();
        let made = wanted.self_signed(&key).unwrap();
        let (_, not_after) = validity(made.der()).unwrap();
        assert_eq!(not_after, "2027-02-03T00:00:00Z".parse().unwrap());
        assert_eq!(validity(b"no certificate"), None);
    }

    #[tokio::test]
    async fn addresses_need_no_name_server_where_they_stand_in_the_url() {
        let of = async |url: &str| addresses_of(&Url::parse(url).unwrap()).await.unwrap();
        assert_eq!(of("http://127.0.0.1:8080/x").await, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(of("https://[::1]/x").await, ["::1".parse::<IpAddr>().unwrap()]);
    }
}
