//! The route tables: one slice per call family, all searched here. A new kind adds its slice to [`FAMILIES`].

use percent_encoding::percent_decode_str;

use super::reply::{Call, Reply};
use super::world::World;
use super::{alerts, audit_sink, auth, configs, conversations, profiles, prompts, user_details};

/// One call of the contract.
pub(super) struct Route {
    /// Its name in contract 1, as in the journal.
    pub(super) call: &'static str,
    pub(super) method: &'static str,
    /// The path; `{…}` stands for exactly one segment.
    pub(super) pattern: &'static str,
    /// Scopes that a token needs; none: the call takes no token.
    pub(super) scopes: Option<&'static [&'static str]>,
    /// Whether it can change the state (and so can be dropped silently).
    pub(super) write: bool,
    pub(super) handle: fn(&World, &Call) -> Reply,
}

/// Every route, by family.
const FAMILIES: &[&[Route]] = &[
    auth::ROUTES,
    configs::ROUTES,
    conversations::ROUTES,
    prompts::ROUTES,
    profiles::ROUTES,
    user_details::ROUTES,
    alerts::ROUTES,
    audit_sink::ROUTES,
];

/// What a method and a path lead to.
pub(super) enum Found {
    /// A route and its percent-decoded parameters.
    Route(&'static Route, Vec<String>),
    /// The path exists under other methods.
    OtherMethod,
    Nothing,
}

/// Finds the route of a raw (still encoded) path.
pub(super) fn find(method: &str, path: &str) -> Found {
    let mut found = Found::Nothing;
    for route in FAMILIES.iter().copied().flatten() {
        let Some(params) = capture(route.pattern, path) else { continue };
        if route.method == method {
            return Found::Route(route, params);
        }
        found = Found::OtherMethod;
    }
    found
}

/// Every scope that some call asks for.
pub(super) fn all_scopes() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().copied().flatten().filter_map(|route| route.scopes).flatten().copied()
}

/// The parameters of `path` under `pattern`. Segments are decoded after the split, so an encoded slash stays inside its segment.
fn capture(pattern: &str, path: &str) -> Option<Vec<String>> {
    let mut params = Vec::new();
    let mut segments = path.split('/');
    for expected in pattern.split('/') {
        let segment = segments.next()?;
        if expected.starts_with('{') {
            let decoded = percent_decode_str(segment).decode_utf8().ok()?;
            if decoded.is_empty() {
                return None;
            }
            params.push(decoded.into_owned());
        } else if segment != expected {
            return None;
        }
    }
    segments.next().is_none().then_some(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_slash_stays_inside_its_segment() {
        let pattern = "/api/v2/agentassist/configs/{id}";
        assert_eq!(capture(pattern, "/api/v2/agentassist/configs/a%2Fb"), Some(vec!["a/b".to_owned()]));
        assert_eq!(capture(pattern, "/api/v2/agentassist/configs/a/b"), None);
        assert_eq!(capture(pattern, "/api/v2/agentassist/configs/"), None);
        assert_eq!(capture(pattern, "/api/v2/agentassist/configs/%ff"), None);
    }

    #[test]
    fn a_known_path_under_another_method_is_told_apart() {
        assert!(matches!(find("PUT", "/api/v2/agentassist/configs/a"), Found::Route(route, _) if route.call == "C3"));
        assert!(matches!(find("DELETE", "/api/v2/agentassist/configs/a"), Found::OtherMethod));
        assert!(matches!(find("GET", "/api/v2/nothing"), Found::Nothing));
    }
}
