//! What reaches the owner.

use api::{AgentMessage, Hello, Problem};
use types::HostId;

use crate::{link::LinkSender, owner::Owner};

/// Work of a caller. It gets the owner, or the reason why there is none at present.
pub(crate) type Call = Box<dyn FnOnce(Result<&mut Owner, Problem>) + Send>;

/// One event.
pub(crate) enum Event {
    /// A caller wants something.
    Call(Call),
    /// An agent dialled in.
    Hello {
        /// Which connection.
        link: u64,
        /// Who.
        hello: Hello,
        /// Where its frames go.
        sender: LinkSender,
    },
    /// An agent said something.
    Said {
        /// Which host.
        host: HostId,
        /// Which connection.
        link: u64,
        /// What.
        message: AgentMessage,
    },
    /// A connection ended.
    Gone {
        /// Which host.
        host: HostId,
        /// Which connection.
        link: u64,
    },
}
