//! Who may be given bytes that are here already. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use types::{Digest, HubName, TenantId};

/// What the operator thinks of a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HubStanding {
    /// Its listings are believed: who may read a file there has a right to its bytes.
    Trusted,
    /// Anyone may run it; what it lists proves nothing.
    Untrusted,
}

/// Who brings bytes or asks for them: a tenant, through a hub.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Supplier {
    /// The hub.
    pub hub: HubName,
    /// The tenant on whose behalf the hub is asked.
    pub tenant: TenantId,
    /// What the operator thinks of the hub, at the time of asking.
    pub standing: HubStanding,
}

/// Returns whether bytes with this digest that these suppliers brought satisfy a request without being fetched again.
///
/// They do when the asking tenant brought them itself, or when it asks a trusted hub. Under a SHA-1 name the latter
/// needs bytes that came from a trusted hub: whoever writes two files can make their SHA-1 collide.
pub fn satisfies(digest: &Digest, brought_by: &BTreeSet<Supplier>, asking: &Supplier) -> bool {
    let own = brought_by.iter().any(|supplier| supplier.tenant == asking.tenant);
    let from_trusted = brought_by.iter().any(|supplier| supplier.standing == HubStanding::Trusted);
    match (asking.standing, digest) {
        (HubStanding::Untrusted, _) => own,
        (HubStanding::Trusted, Digest::Sha256(_)) => true,
        (HubStanding::Trusted, Digest::GitSha1(_)) => from_trusted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_given_to_whom_they_are_due() {
        use HubStanding::{Trusted, Untrusted};
        let sha256 = Digest::Sha256([1; 32]);
        let sha1 = Digest::GitSha1([1; 20]);
        let who = |hub: &str, tenant: &str, standing| Supplier {
            hub: hub.parse().unwrap(),
            tenant: tenant.parse().unwrap(),
            standing,
        };
        let anna_main = who("main", "tn_anna", Trusted);
        let anna_own = who("10.0.0.1:80", "tn_anna", Untrusted);
        let bert_main = who("main", "tn_bert", Trusted);
        let bert_own = who("10.0.0.2:80", "tn_bert", Untrusted);
        let check = |digest: &Digest, brought_by: &[&Supplier], asking: &Supplier, expected: bool| {
            let set = brought_by.iter().map(|supplier| (*supplier).clone()).collect();
            assert_eq!(
                satisfies(digest, &set, asking),
                expected,
                "{digest:?} by {brought_by:?} for {asking:?}"
            );
        };
        for digest in [&sha256, &sha1] {
            // Knowing a digest is no right: an own hub that lists a foreign file gets nothing.
            check(digest, &[&anna_main], &bert_own, false);
            check(digest, &[&anna_own], &bert_own, false);
            check(digest, &[], &bert_own, false);
            // What a tenant brought itself is its own, by whatever hub it asks again.
            check(digest, &[&anna_own], &anna_own, true);
            check(digest, &[&anna_main], &anna_own, true);
            // A trusted hub's listing is believed, whoever brought the bytes from a trusted hub.
            check(digest, &[&anna_main], &bert_main, true);
        }
        // Bytes that hash to a SHA-256 are the bytes, even when nobody knows any more who brought them.
        check(&sha256, &[], &bert_main, true);
        check(&sha256, &[&anna_own], &bert_main, true);
        // Bytes that hash to a SHA-1 may be one of two twins: those of a trusted hub are asked for.
        check(&sha1, &[], &bert_main, false);
        check(&sha1, &[&anna_own], &bert_main, false);
        check(&sha1, &[&anna_own, &anna_main], &bert_main, true);
    }
}
