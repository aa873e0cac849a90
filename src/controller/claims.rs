//! One remote object belongs to one custom resource: the older by creation time, then by UID. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The rank of a claimant: smaller is older.
pub fn rank(meta: &ObjectMeta) -> (Option<jiff::Timestamp>, &str) {
    (meta.creation_timestamp.as_ref().map(|t| t.0), meta.uid.as_deref().unwrap_or_default())
}

/// The claimant that an object must yield to, where there is one. An object that is being deleted claims nothing.
pub fn owner<'a>(own: &ObjectMeta, claimants: impl IntoIterator<Item = &'a ObjectMeta>) -> Option<&'a ObjectMeta> {
    let older = |m: &&ObjectMeta| m.uid != own.uid && m.deletion_timestamp.is_none() && rank(m) < rank(own);
    claimants.into_iter().filter(older).min_by(|a, b| rank(a).cmp(&rank(b)))
}

/// The message for the younger one. Objects of foreign namespaces are not named.
pub fn message(own: &ObjectMeta, owner: &ObjectMeta, remote_id: &str) -> String {
    let who = if own.namespace == owner.namespace {
        format!("{} of this namespace", owner.name.as_deref().unwrap_or_default())
    } else {
        "an object of another namespace".to_owned()
    };
    format!("{remote_id} is already managed by {who}, which is older; delete one of the two")
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn meta(name: &str, namespace: &str, created: i64) -> ObjectMeta {
        let time = Time(jiff::Timestamp::from_second(created).unwrap());
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some(namespace.into()),
            uid: Some(format!("uid-{name}")),
            creation_timestamp: Some(time),
            ..Default::default()
        }
    }

    #[test]
    fn the_older_keeps_it_and_the_uid_breaks_a_tie() {
        let (a, b, c) = (meta("a", "n", 1), meta("b", "n", 1), meta("c", "n", 0));
        let all = [a.clone(), b.clone(), c.clone()];
        assert_eq!(owner(&b, &all[..2]).and_then(|m| m.name.as_deref()), Some("a"));
        assert_eq!(owner(&a, &all).and_then(|m| m.name.as_deref()), Some("c"));
        assert!(owner(&c, &all).is_none());
    }

    #[test]
    fn an_object_of_a_foreign_namespace_is_not_named() {
        let text = message(&meta("mine", "n", 2), &meta("secret-project", "other", 1), "c1");
        assert!(!text.contains("secret-project") && !text.contains("other/"), "{text}");
    }
}
