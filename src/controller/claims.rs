//! One remote object belongs to one custom resource: the older by creation time, then by UID. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// One object that claims a remote object.
#[derive(Clone, Debug)]
pub struct Claimant {
    /// Its metadata.
    pub meta: ObjectMeta,
    /// Whether its status says that it already manages the remote object: creation times have seconds only, and who holds it
    /// keeps it among those of the same second.
    pub holds: bool,
    /// What it claims that the other one claims too.
    pub claimed: String,
}

impl Claimant {
    /// Smaller is older.
    fn rank(&self) -> (Option<jiff::Timestamp>, bool, &str) {
        (self.meta.creation_timestamp.as_ref().map(|t| t.0), !self.holds, self.meta.uid.as_deref().unwrap_or_default())
    }
}

/// The claimant that an object must yield to, where there is one. An object that is being deleted claims nothing.
pub fn owner<'a>(own: &Claimant, claimants: &'a [Claimant]) -> Option<&'a Claimant> {
    let older = |c: &&Claimant| c.meta.uid != own.meta.uid && c.meta.deletion_timestamp.is_none() && c.rank() < own.rank();
    claimants.iter().filter(older).min_by(|a, b| a.rank().cmp(&b.rank()))
}

/// The message for the younger one. Objects of foreign namespaces are not named.
pub fn message(own: &ObjectMeta, owner: &Claimant) -> String {
    let who = if own.namespace == owner.meta.namespace {
        format!("{} of this namespace", owner.meta.name.as_deref().unwrap_or_default())
    } else {
        "an object of another namespace".to_owned()
    };
    let claimed = &owner.claimed;
    format!("{claimed} is already managed by {who}, which is older; delete one of the two")
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn claimant(name: &str, namespace: &str, created: i64, holds: bool) -> Claimant {
        let time = Time(jiff::Timestamp::from_second(created).unwrap());
        let meta = ObjectMeta {
            name: Some(name.into()),
            namespace: Some(namespace.into()),
            uid: Some(format!("uid-{name}")),
            creation_timestamp: Some(time),
            ..Default::default()
        };
        Claimant { meta, holds, claimed: "c1".into() }
    }

    #[test]
    fn the_older_keeps_it_then_who_holds_it_then_the_uid() {
        let (a, b, c) = (claimant("a", "n", 1, false), claimant("b", "n", 1, false), claimant("c", "n", 0, false));
        let all = [a.clone(), b.clone(), c.clone()];
        assert_eq!(owner(&b, &all[..2]).and_then(|c| c.meta.name.as_deref()), Some("a"));
        assert_eq!(owner(&a, &all).and_then(|c| c.meta.name.as_deref()), Some("c"));
        assert!(owner(&c, &all).is_none());
        let holder = claimant("b", "n", 1, true);
        assert!(owner(&holder, &[a.clone(), holder.clone()]).is_none());
        assert_eq!(owner(&a, &[a.clone(), holder]).and_then(|c| c.meta.name.as_deref()), Some("b"));
    }

    #[test]
    fn an_object_of_a_foreign_namespace_is_not_named() {
        let text = message(&claimant("mine", "n", 2, false).meta, &claimant("secret-project", "other", 1, false));
        assert!(!text.contains("secret-project") && !text.contains("other/"), "{text}");
    }
}
