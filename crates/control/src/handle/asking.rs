//! Asking a host something, and waiting for what it says.

use std::time::Duration;

use api::{Answer, Problem, Question, WorkProgress};
use tokio::sync::watch;
use types::{ErrorCode, HostId};

use super::Handle;
use crate::owner::{Asked, problem};

/// A host that works on a question tells every second how far it is; one that is silent for this long does not.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Where the progress of work on a host is shown.
pub type WorkSender = watch::Sender<Option<HostWork>>;

/// How far a host is with what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostWork {
    /// The host.
    pub host: HostId,
    /// How far.
    pub progress: WorkProgress,
}

impl Handle {
    /// Asks a host something that it knows, and waits for its answer.
    pub(super) async fn ask(
        &self,
        host: &HostId,
        question: Question,
        timeout: Duration,
    ) -> Result<Answer, Problem> {
        self.answer_within(host, question, timeout, None).await
    }

    /// Asks a host something that takes it long, and waits for as long as it works on it.
    pub(super) async fn have_done(
        &self,
        host: &HostId,
        question: Question,
        shown: &WorkSender,
    ) -> Result<Answer, Problem> {
        self.answer_within(host, question, SILENCE_MAX, Some(shown)).await
    }

    async fn answer_within(
        &self,
        host: &HostId,
        question: Question,
        silence_max: Duration,
        shown: Option<&WorkSender>,
    ) -> Result<Answer, Problem> {
        let asked = host.clone();
        let Asked { id, mut answered, mut progress } =
            self.call(move |owner| owner.ask(&asked, question)).await?;
        let clock = &self.shared.clock;
        let mut until = clock.now() + silence_max;
        loop {
            tokio::select! {
                // The answer is lost when this is dropped, and then nobody waits for it.
                answer = &mut answered => return match answer {
                    Ok(Ok(answer)) => Ok(answer),
                    Ok(Err(fault)) => Err(fault.into()),
                    Err(_) => {
                        Err(problem(ErrorCode::HostAway, format!("{host} went away before it answered")))
                    }
                },
                // The latest is kept when this is dropped. The sender goes when the answer comes.
                Ok(()) = progress.changed() => {
                    until = clock.now() + silence_max;
                    if let Some(shown) = shown {
                        let progress = progress.borrow_and_update().clone();
                        shown.send_replace(Some(HostWork { host: host.clone(), progress }));
                    }
                }
                // Nothing is lost: it only waits.
                () = clock.sleep_until(until) => break,
            }
        }
        let asked = host.clone();
        self.call(move |owner| {
            owner.forget_question(&asked, id);
            Ok(())
        })
        .await?;
        let seconds = silence_max.as_secs();
        Err(problem(ErrorCode::Timeout, format!("{host} did not answer within {seconds} s")))
    }
}

/// Says that a host answered something else.
pub(super) fn odd_answer(host: &HostId) -> Problem {
    problem(ErrorCode::Internal, format!("{host} answered another question than it was asked"))
}
