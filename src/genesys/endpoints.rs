//! Where an org is: the closed list of regions, or two custom base URLs that pass the checks here.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// AWS region id and domain of every region (`genesys-published` 3.2). `api.` and `login.` go in front of the domain.
pub const REGIONS: &[(&str, &str)] = &[
    ("ap-northeast-1", "mypurecloud.jp"),
    ("ap-northeast-2", "apne2.pure.cloud"),
    ("ap-northeast-3", "apne3.pure.cloud"),
    ("ap-south-1", "aps1.pure.cloud"),
    ("ap-southeast-1", "apse1.pure.cloud"),
    ("ap-southeast-2", "mypurecloud.com.au"),
    ("ca-central-1", "cac1.pure.cloud"),
    ("eu-central-1", "mypurecloud.de"),
    ("eu-central-2", "euc2.pure.cloud"),
    ("eu-west-1", "mypurecloud.ie"),
    ("eu-west-2", "euw2.pure.cloud"),
    ("eusc-de-east-1", "edee1.eusc-pure.cloud"),
    ("me-central-1", "mec1.pure.cloud"),
    ("mx-central-1", "mxc1.pure.cloud"),
    ("sa-east-1", "sae1.pure.cloud"),
    ("us-east-1", "mypurecloud.com"),
    ("us-east-2", "use2.us-gov-pure.cloud"),
    ("us-west-2", "usw2.pure.cloud"),
];

/// The base URLs of an org.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// Where T1 goes.
    pub login: Url,
    /// Where every other call goes.
    pub api: Url,
    /// PEM certificates that are trusted instead of the system's; unset: the system's.
    pub ca_bundle: Option<String>,
}

impl Endpoints {
    /// Custom endpoints; both URLs pass [`base_url`].
    ///
    /// # Errors
    /// The first rule that one of the URLs breaks.
    pub fn custom(login: &str, api: &str, ca_bundle: Option<String>) -> Result<Endpoints, EndpointError> {
        Ok(Endpoints { login: base_url(login)?, api: base_url(api)?, ca_bundle })
    }
}

/// Why a base URL is refused. The text never repeats the URL, which may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It cannot be parsed, or has no host.
    #[error("the endpoint is no absolute URL with a host: write it as https://host[:port]")]
    NotAUrl,
    /// Neither https, nor http to loopback.
    #[error("the endpoint must use https (http is allowed to a loopback address only)")]
    Insecure,
    /// `user:password@`.
    #[error("the endpoint must not hold a user name or a password: credentials belong into the Secret")]
    UserInfo,
    /// Anything behind the host and port.
    #[error("the endpoint must end after host and port: remove path, query and fragment")]
    NotABase,
}

/// The endpoints of a region of the closed list; None for any other name.
#[must_use]
pub fn region(name: &str) -> Option<Endpoints> {
    let (_, domain) = REGIONS.iter().find(|(id, _)| *id == name)?;
    let host = |prefix: &str| Url::parse(&format!("https://{prefix}.{domain}/")).ok();
    Some(Endpoints { login: host("login")?, api: host("api")?, ca_bundle: None })
}

/// Parses and checks one custom base URL: https (http to loopback only), no userinfo, nothing behind the host but `/`.
///
/// # Errors
/// The first rule that it breaks.
pub fn base_url(text: &str) -> Result<Url, EndpointError> {
    let url = Url::parse(text).map_err(|_| EndpointError::NotAUrl)?;
    check(&url)?;
    Ok(url)
}

/// The rules of [`base_url`] for a URL that is already parsed.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(url: &Url) -> Result<(), EndpointError> {
    if url.host().is_none() {
        return Err(EndpointError::NotAUrl);
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(url) => {}
        _ => return Err(EndpointError::Insecure),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(EndpointError::UserInfo);
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(EndpointError::NotABase);
    }
    Ok(())
}

/// Whether the host is a loopback address, or `localhost` by name. Other names are never resolved to find out.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => is_loopback_v6(ip),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn is_loopback_v6(ip: Ipv6Addr) -> bool {
    ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip: Ipv4Addr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_gives_two_valid_https_hosts() {
        for (name, domain) in REGIONS {
            let endpoints = region(name).unwrap();
            assert_eq!(endpoints.api.as_str(), format!("https://api.{domain}/"));
            assert_eq!(endpoints.login.as_str(), format!("https://login.{domain}/"));
            check(&endpoints.api).unwrap();
        }
        assert_eq!(REGIONS.len(), 18);
        assert_eq!(region("us-east-9"), None);
        assert_eq!(region(""), None);
    }

    #[test]
    fn good_base_urls_pass() {
        for url in [
            "https://api.mypurecloud.ie",
            "https://api.mypurecloud.ie/",
            "https://genesys.internal:8443",
            "https://10.0.0.1",
            "http://127.0.0.1:8080",
            "http://127.9.9.9",
            "http://[::1]:80",
            "http://[::ffff:127.0.0.1]",
            "http://localhost:8080",
            "HTTP://LOCALHOST",
        ] {
            assert!(base_url(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn bad_base_urls_are_refused_with_the_rule() {
        for (url, rule) in [
            ("", EndpointError::NotAUrl),
            ("api.mypurecloud.ie", EndpointError::NotAUrl),
            ("https://", EndpointError::NotAUrl),
            ("http://example.com", EndpointError::Insecure),
            ("http://169.254.169.254", EndpointError::Insecure),
            ("http://0.0.0.0", EndpointError::Insecure),
            ("http://localhost.example.com", EndpointError::Insecure),
            ("http://127.0.0.1.nip.io", EndpointError::Insecure),
            ("ftp://127.0.0.1", EndpointError::Insecure),
            ("file://localhost/etc/passwd", EndpointError::NotAUrl),
            ("https://user@api.example.com", EndpointError::UserInfo),
            ("https://:pw@api.example.com", EndpointError::UserInfo),
            ("https://127.0.0.1@evil.example", EndpointError::UserInfo),
            ("https://api.example.com/v2", EndpointError::NotABase),
            ("https://api.example.com/?a=b", EndpointError::NotABase),
            ("https://api.example.com/#x", EndpointError::NotABase),
        ] {
            assert_eq!(base_url(url), Err(rule), "{url}");
        }
    }

    #[test]
    fn the_refusal_never_repeats_a_password() {
        let error = base_url("https://bob:hunter2@api.example.com").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
