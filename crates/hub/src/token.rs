//! A token that may be replaced while it is in use: an old one that the hub refuses need not end a long fetch.

use base::Redacted;
use tokio::sync::watch;

type Value = Option<Redacted<String>>;

/// What readers hold: the token of now. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LiveToken(watch::Receiver<Value>);

/// What the owner holds: replaces the token for everyone who reads with it. Dropping it leaves the last one.
#[derive(Debug)]
pub struct TokenHolder(watch::Sender<Value>);

impl TokenHolder {
    /// Holds a token, or none.
    pub fn new(token: Option<Redacted<String>>) -> Self {
        Self(watch::Sender::new(token))
    }

    /// Returns the token for readers.
    pub fn token(&self) -> LiveToken {
        LiveToken(self.0.subscribe())
    }

    /// Replaces the token, for questions from now on.
    pub fn replace(&self, token: Option<Redacted<String>>) {
        self.0.send_if_modified(|known| {
            let is_new = *known != token;
            *known = token;
            is_new
        });
    }
}

impl LiveToken {
    /// Returns the token of now.
    pub(crate) fn now(&self) -> Value {
        self.0.borrow().clone()
    }

    /// Waits until the token is another than `old`; returns `false` when that can't happen any more.
    pub(crate) async fn is_replaced(&self, old: &Value) -> bool {
        self.0.clone().wait_for(|known| known != old).await.is_ok()
    }
}

impl LiveToken {
    /// Makes the token of who has none, and never gets one.
    pub fn none() -> Self {
        Self::from(None::<Redacted<String>>)
    }
}

impl From<Option<&Redacted<String>>> for LiveToken {
    /// Makes a token that is never replaced.
    fn from(token: Option<&Redacted<String>>) -> Self {
        TokenHolder::new(token.cloned()).token()
    }
}

impl From<Option<Redacted<String>>> for LiveToken {
    /// Makes a token that is never replaced.
    fn from(token: Option<Redacted<String>>) -> Self {
        TokenHolder::new(token).token()
    }
}

impl From<&LiveToken> for LiveToken {
    fn from(token: &LiveToken) -> Self {
        token.clone()
    }
}
