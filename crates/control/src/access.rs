//! Who calls, and what they may do.

use std::collections::BTreeSet;

use api::Problem;
use state::KeyScope;
use types::{ErrorCode, Fault, KeyId, TenantId};

/// Whoever holds a key that is known. Only [`crate::Handle::authenticate`] makes one for a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose endpoints, jobs and models they see.
    pub tenant: TenantId,
    /// The key.
    pub key: KeyId,
    /// What the key allows.
    pub scopes: BTreeSet<KeyScope>,
}

impl Caller {
    /// Returns whether the key allows something. Admin keys allow everything; whoever may invoke may also look.
    pub fn may(&self, scope: KeyScope) -> bool {
        self.scopes.iter().any(|held| match held {
            KeyScope::Admin => true,
            KeyScope::Invoke => matches!(scope, KeyScope::Invoke | KeyScope::Read),
            KeyScope::Read => scope == KeyScope::Read,
        })
    }

    /// Refuses a caller whose key does not allow something.
    pub(crate) fn needs(&self, scope: KeyScope) -> Result<(), Problem> {
        if self.may(scope) {
            return Ok(());
        }
        let word = match scope {
            KeyScope::Admin => "admin",
            KeyScope::Invoke => "invoke",
            KeyScope::Read => "read",
        };
        let fault = Fault::new(ErrorCode::KeyForbidden, format!("the key lacks the scope {word}"))
            .with_hint("use a key that has it; the admin key stands in admin.key in the data folder");
        Err(fault.into())
    }
}
