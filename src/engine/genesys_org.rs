//! Rules of `GenesysOrg`, and who may refer to one.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use url::{Host, Url};

use super::finding::Finding;
use crate::api::genesys_org::{AllowedNamespaces, From, GenesysOrgSpec, KeyRef};

/// Which custom endpoints the operator was started for.
#[derive(Clone, Debug, Default)]
pub struct AllowedEndpoints {
    /// All of them: for tests.
    pub all: bool,
    /// These.
    pub urls: Vec<Url>,
}

impl AllowedEndpoints {
    /// Whether tokens may be sent there: scheme, host and port are those of an allowed URL.
    pub fn allows(&self, url: &Url) -> bool {
        self.all || self.urls.iter().any(|allowed| allowed.origin() == url.origin())
    }
}

/// Where an org is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a region, by its id.
    Region(String),
    /// At custom base URLs.
    Custom {
        /// Login service.
        login: Url,
        /// API.
        api: Url,
        /// PEM certificates to trust.
        ca_bundle: Option<String>,
    },
}

/// Where the org is, or all findings.
pub fn validate(spec: &GenesysOrgSpec, allowed: &AllowedEndpoints) -> Result<Place, Vec<Finding>> {
    let mut findings = Vec::new();
    if let Some(limit) = spec.requests_per_minute.filter(|n| !(10..=3000).contains(n)) {
        findings.push(Finding::new("/spec/requestsPerMinute", format!("{limit} is out of range"), "set 10 to 3000"));
    }
    if let Some(limit) = spec.change_limit.as_ref().and_then(|l| l.per_hour).filter(|n| *n < 1) {
        findings.push(Finding::new(
            "/spec/changeLimit/perHour",
            format!("{limit} allows nothing"),
            "set at least 1; to stop all writes set suspend",
        ));
    }
    secret_rule("/spec/credentials/secretRef/name", &spec.credentials.secret_ref.name, &mut findings);
    webhook(spec, allowed, &mut findings);
    let place = match (&spec.region, &spec.endpoints) {
        (Some(region), None) => Some(Place::Region(region.id())),
        (None, Some(endpoints)) => {
            let login = base_url("/spec/endpoints/login", &endpoints.login, allowed, &mut findings);
            let api = base_url("/spec/endpoints/api", &endpoints.api, allowed, &mut findings);
            login.zip(api).map(|(login, api)| Place::Custom { login, api, ca_bundle: endpoints.ca_bundle.clone() })
        }
        _ => {
            findings.push(Finding::new(
                "/spec",
                "exactly one of region and endpoints is required",
                "set region for Genesys Cloud, endpoints for a custom server",
            ));
            None
        }
    };
    match place {
        Some(place) if findings.is_empty() => Ok(place),
        _ => Err(findings),
    }
}

/// Where audit records go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// The URL that they are posted to.
    pub url: Url,
    /// Whether a private address is meant: the operator was started for this endpoint.
    pub private: bool,
    /// The key that signs them.
    pub key: Option<KeyRef>,
}

/// The webhook of an org, where it has one without findings. Plain http and private addresses are for endpoints that the operator
/// was started for: a record must not reach what only the operator can reach. Names are checked when they are resolved.
pub fn webhook(spec: &GenesysOrgSpec, allowed: &AllowedEndpoints, findings: &mut Vec<Finding>) -> Option<Hook> {
    let webhook = spec.audit.as_ref()?.webhook.as_ref()?;
    let path = "/spec/audit/webhook/url";
    let before = findings.len();
    if let Some(key) = &webhook.signing_key_ref {
        secret_rule("/spec/audit/webhook/signingKeyRef/name", &key.name, findings);
    }
    let url = match Url::parse(&webhook.url) {
        Ok(url) => url,
        Err(error) => {
            findings.push(Finding::new(
                path,
                format!("it is not a URL ({error})"),
                "write it as https://audit.example.com/records",
            ));
            return None;
        }
    };
    if !url.username().is_empty() || url.password().is_some() {
        findings.push(Finding::new(path, "it holds a user", "remove it, and sign the records with signingKeyRef"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        findings.push(Finding::new(path, "it holds a query or fragment", "remove it; URLs are shown in conditions and logs"));
    }
    let private = allowed.allows(&url);
    if url.scheme() != "https" && !(url.scheme() == "http" && private) {
        let remedy = "use https; http is for a URL that the operator was started for with --allow-endpoint";
        findings.push(Finding::new(path, format!("scheme {} is not allowed", super::display::escape(url.scheme())), remedy));
    }
    if findings.len() == before && !is_written_out(&webhook.url) {
        findings.push(Finding::new(path, NOT_WRITTEN_OUT, "write it as https://audit.example.com/records"));
    }
    (findings.len() == before).then(|| Hook { url, private, key: webhook.signing_key_ref.clone() })
}

const NOT_WRITTEN_OUT: &str = "it does not begin with https:// and a host, in small letters";

/// Whether a text that a URL parser takes has the form that the API server asks for: the parser also takes `HTTPS:host`, spaces around it, and
/// an empty user.
fn is_written_out(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next());
    host.is_some_and(|host| !host.is_empty() && !host.contains('@'))
}

/// The name goes into a URL path of the API server.
fn secret_rule(path: &str, name: &str, findings: &mut Vec<Finding>) {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let inner = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
    if !inner || !edge(name.bytes().next()) || !edge(name.bytes().last()) || name.len() > 253 {
        let shown = super::display::escape(name);
        findings.push(Finding::new(path, format!("{shown:?} is no name of a Secret"), "use lower-case letters, digits, - and ."));
    }
}

fn base_url(path: &str, text: &str, allowed: &AllowedEndpoints, findings: &mut Vec<Finding>) -> Option<Url> {
    let mut refuse = |problem: String, remedy: &str| {
        findings.push(Finding::new(path, problem, remedy));
        None
    };
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return refuse(format!("it is not a URL ({error})"), "write it as https://api.example.com"),
    };
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
        || url.path() != "/"
    {
        return refuse("it is more than a base URL".into(), "remove user, path, query and fragment");
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => return refuse("plain http would send the token unprotected".into(), "use https; http is for loopback only"),
        other => return refuse(format!("scheme {} is not supported", super::display::escape(other)), "use https"),
    }
    if !is_written_out(text) {
        return refuse(NOT_WRITTEN_OUT.into(), "write it as https://api.example.com");
    }
    if !allowed.allows(&url) {
        let shown = super::display::escape(url.as_str());
        return refuse(
            format!("{shown} is not an endpoint that this operator was started for"),
            "start the operator with --allow-endpoint for this URL, or use region",
        );
    }
    Some(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// A request to use an org.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Kind of the object.
    pub kind: &'a str,
    /// Namespace of the object.
    pub namespace: &'a str,
    /// Labels of that namespace, where they are known.
    pub labels: Option<&'a BTreeMap<String, String>>,
}

/// Whether an object may use an org of namespace `home`. In its own namespace it always may.
pub fn grants(home: &str, allowed: Option<&AllowedNamespaces>, request: &Request<'_>) -> bool {
    if home == request.namespace {
        return true;
    }
    let Some(allowed) = allowed else { return false };
    let kind = allowed.kinds.as_ref().is_none_or(|kinds| kinds.iter().any(|k| k == request.kind));
    kind && match allowed.from.unwrap_or_default() {
        From::Same => false,
        From::All => true,
        From::Selector => {
            allowed.selector.as_ref().zip(request.labels).is_some_and(|(selector, labels)| selects(selector, labels))
        }
    }
}

/// Whether a label selector matches. An empty selector matches everything; an unknown operator nothing.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    equal
        && selector.match_expressions.iter().flatten().all(|e| {
            let value = labels.get(&e.key);
            let listed = value.is_some_and(|v| e.values.iter().flatten().any(|x| x == v));
            match e.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::genesys_org::{Endpoints, Region};
    use serde_json::json;

    fn credentials() -> crate::api::genesys_org::Credentials {
        crate::api::genesys_org::Credentials { secret_ref: crate::api::genesys_org::SecretRef { name: "genesys".into() } }
    }

    #[test]
    fn a_secret_name_is_no_path() {
        for name in ["../../x", "a?b", "", "A", "-a"] {
            let mut spec = GenesysOrgSpec { region: Some(Region::EuCentral1), ..Default::default() };
            spec.credentials.secret_ref.name = name.into();
            assert!(validate(&spec, &AllowedEndpoints::default()).is_err(), "{name}");
        }
    }

    fn custom(url: &str) -> GenesysOrgSpec {
        GenesysOrgSpec {
            endpoints: Some(Endpoints { login: url.into(), api: url.into(), ca_bundle: None }),
            credentials: credentials(),
            ..Default::default()
        }
    }

    #[test]
    fn a_region_needs_no_permission() {
        let spec = GenesysOrgSpec { region: Some(Region::EuCentral1), credentials: credentials(), ..Default::default() };
        assert_eq!(validate(&spec, &AllowedEndpoints::default()), Ok(Place::Region("eu-central-1".into())));
    }

    #[test]
    fn custom_endpoints_are_refused_unless_the_operator_was_started_for_them() {
        let findings = validate(&custom("https://api.example.com"), &AllowedEndpoints::default()).unwrap_err();
        assert_eq!(findings.len(), 2);
        let allowed = AllowedEndpoints { all: false, urls: vec![Url::parse("https://api.example.com:443/").unwrap()] };
        assert!(validate(&custom("https://api.example.com"), &allowed).is_ok());
        assert!(validate(&custom("https://api.example.com.evil.net"), &allowed).is_err());
        assert!(validate(&custom("https://api.example.com:8443"), &allowed).is_err());
    }

    #[test]
    fn hostile_urls_are_refused_even_where_all_are_allowed() {
        let all = AllowedEndpoints { all: true, urls: Vec::new() };
        for url in [
            "http://169.254.169.254",
            "http://example.com",
            "https://user:pw@example.com",
            "https://example.com/path",
            "https://example.com?x",
            "file:///etc/passwd",
            "gopher://x",
            "",
            "http://localhost.evil.net",
            "http://127.0.0.1.nip.io",
        ] {
            assert!(validate(&custom(url), &all).is_err(), "{url}");
        }
        for url in ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:9", "https://example.com"] {
            assert!(validate(&custom(url), &all).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_grant_names_namespaces_and_kinds() {
        let request = Request { kind: "AgentAssistConfig", namespace: "team", labels: None };
        let labels = BTreeMap::from([("team".to_owned(), "retail".to_owned())]);
        let grant = |value| serde_json::from_value::<AllowedNamespaces>(value).unwrap();
        assert!(grants("team", None, &request));
        assert!(!grants("home", None, &request));
        assert!(!grants("home", Some(&grant(json!({}))), &request));
        assert!(grants("home", Some(&grant(json!({"from": "All"}))), &request));
        assert!(!grants("home", Some(&grant(json!({"from": "All", "kinds": ["PromptTemplate"]}))), &request));
        let selector = grant(
            json!({"from": "Selector", "selector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["retail"]}]}}),
        );
        assert!(!grants("home", Some(&selector), &request));
        assert!(grants("home", Some(&selector), &Request { labels: Some(&labels), ..request }));
    }
}
