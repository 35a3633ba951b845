//! The limits of time on one connection, as a value: what it is doing, since when, and when that is too long.
//!
//! ```text
//!            first byte             head complete            answer handed over
//!   Idle ──────────────▶ Head ──────────────────▶ Busy ──────────────────────▶ Idle
//!   idle_timeout         head_timeout             only while the client         (bytes still going out
//!                                                 takes nothing:                 start the time anew)
//!                                                 send_stall_timeout
//! ```
//!
//! It runs on the runtime's monotonic timer, not on the wall clock: a corrected clock must cut nobody off.

use std::time::Duration;

use tokio::time::Instant;

use super::ServeOptions;

/// The limits that a pace is held to, with what the parser needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) idle: Duration,
    pub(super) head: Duration,
    pub(super) send_stall: Duration,
    pub(super) head_bytes: usize,
    pub(super) headers: usize,
}

impl From<&ServeOptions> for Limits {
    fn from(options: &ServeOptions) -> Self {
        Self {
            idle: options.idle_timeout,
            head: options.head_timeout,
            send_stall: options.send_stall_timeout,
            head_bytes: usize::try_from(options.head_bytes_max.bytes()).unwrap_or(usize::MAX),
            headers: options.headers_max,
        }
    }
}

/// Why a connection was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// No request came.
    Idle,
    /// A request's head did not become complete.
    Head,
    /// The client took none of its answer.
    SendStall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle { since: Instant },
    Head { since: Instant },
    Busy { stalled_since: Option<Instant> },
}

/// What a connection is doing, and whether it has served a request yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    phase: Phase,
    used: bool,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { phase: Phase::Idle { since: now }, used: false }
    }

    /// Notes that bytes came.
    pub(super) fn received(&mut self, now: Instant) {
        match self.phase {
            Phase::Idle { .. } => self.phase = Phase::Head { since: now },
            Phase::Head { .. } | Phase::Busy { .. } => {}
        }
    }

    /// Notes that a request's head is complete.
    pub(super) fn request(&mut self) {
        self.used = true;
        self.phase = Phase::Busy { stalled_since: None };
    }

    /// Notes that an answer has been handed over whole.
    pub(super) fn answered(&mut self, now: Instant) {
        self.phase = Phase::Idle { since: now };
    }

    /// Notes that the client took bytes.
    pub(super) fn sent(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Idle { since } => *since = now,
            Phase::Head { .. } => {}
            Phase::Busy { stalled_since } => *stalled_since = None,
        }
    }

    /// Notes that the client takes no bytes just now.
    pub(super) fn blocked(&mut self, now: Instant) {
        match &mut self.phase {
            Phase::Busy { stalled_since } => *stalled_since = stalled_since.or(Some(now)),
            Phase::Idle { .. } | Phase::Head { .. } => {}
        }
    }

    /// Returns whether nothing was ever asked on this connection and nothing is being asked.
    pub(super) fn is_fresh(&self) -> bool {
        !self.used && matches!(self.phase, Phase::Idle { .. })
    }

    /// Returns when the connection is to be cut if nothing changes, and why.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<(Instant, Overdue)> {
        match self.phase {
            Phase::Idle { since } => Some((since + limits.idle, Overdue::Idle)),
            Phase::Head { since } => Some((since + limits.head, Overdue::Head)),
            Phase::Busy { stalled_since } => {
                stalled_since.map(|since| (since + limits.send_stall, Overdue::SendStall))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{prop_assert, prop_assert_eq, proptest},
        sample,
    };

    use super::*;

    const EVENTS: [Event; 5] =
        [Event::Received, Event::Request, Event::Answered, Event::Sent, Event::Blocked];

    const LIMITS: Limits = Limits {
        idle: Duration::from_secs(75),
        head: Duration::from_secs(10),
        send_stall: Duration::from_secs(60),
        head_bytes: 0,
        headers: 0,
    };

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Received,
        Request,
        Answered,
        Sent,
        Blocked,
    }

    /// Plays events, each a second after the one before; returns the deadline in seconds after the last, and why.
    fn check(events: &[Event], expected: Option<(u64, Overdue)>) {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for event in events {
            now += Duration::from_secs(1);
            play(&mut pace, *event, now);
        }
        let deadline = pace.deadline(&LIMITS).map(|(at, why)| ((at - now).as_secs(), why));
        assert_eq!(deadline, expected, "{events:?}");
    }

    fn play(pace: &mut Pace, event: Event, now: Instant) {
        match event {
            Event::Received => pace.received(now),
            Event::Request => pace.request(),
            Event::Answered => pace.answered(now),
            Event::Sent => pace.sent(now),
            Event::Blocked => pace.blocked(now),
        }
    }

    proptest! {
        #[test]
        fn a_client_gains_time_only_by_doing_its_part(
            events in vec((sample::select(&EVENTS), 0u64..20), 0..60),
        ) {
            let mut now = Instant::now();
            let mut pace = Pace::new(now);
            for (event, seconds) in events {
                now += Duration::from_secs(seconds);
                let before = pace.deadline(&LIMITS);
                play(&mut pace, event, now);
                let after = pace.deadline(&LIMITS);
                // Whatever happens, a deadline is near: nobody holds a connection for good without a request.
                if let Some((at, _)) = after {
                    prop_assert!(at <= now + LIMITS.idle);
                }
                match event {
                    // A head that drips, or an answer that stays blocked, gets no more time.
                    Event::Received | Event::Blocked => match (before, after) {
                        (Some((old, Overdue::Idle)), Some((new, Overdue::Head))) => {
                            prop_assert!(matches!(event, Event::Received) && new == now + LIMITS.head, "{old:?}");
                        }
                        (Some(before), Some(after)) => prop_assert_eq!(before, after),
                        (None, Some((at, why))) => prop_assert_eq!((at, why), (now + LIMITS.send_stall, Overdue::SendStall)),
                        (None, None) => {}
                        (Some(_), None) => prop_assert!(false, "{event:?} lifted a limit"),
                    },
                    Event::Request => prop_assert_eq!(after, None),
                    Event::Answered => prop_assert_eq!(after, Some((now + LIMITS.idle, Overdue::Idle))),
                    Event::Sent => prop_assert!(!matches!(after, Some((_, Overdue::SendStall)))),
                }
            }
        }
    }

    #[test]
    fn each_phase_has_its_own_limit() {
        use Event::{Answered, Blocked, Received, Request, Sent};
        check(&[], Some((75, Overdue::Idle)));
        check(&[Received], Some((10, Overdue::Head)));
        // Bytes that trickle in do not give a slow head more time.
        check(&[Received, Received, Received], Some((8, Overdue::Head)));
        check(&[Received, Request], None);
        check(&[Received, Request, Sent], None);
        check(&[Received, Request, Blocked, Blocked], Some((59, Overdue::SendStall)));
        check(&[Received, Request, Blocked, Sent], None);
        check(&[Received, Request, Sent, Answered], Some((75, Overdue::Idle)));
        check(&[Received, Request, Answered, Sent], Some((75, Overdue::Idle)));
        check(&[Received, Request, Answered, Blocked], Some((74, Overdue::Idle)));
        check(&[Received, Request, Answered, Received], Some((10, Overdue::Head)));
    }
}
