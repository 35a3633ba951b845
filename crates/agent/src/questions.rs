//! Answers to the server's questions. Each is a task of the host's scope; none changes what should be.

mod facts;
mod work;

use std::sync::{Arc, Mutex, PoisonError};

use api::{Answer, LogLine, LogStream, Question};
use runtime::{Driver, PythonEnvironment};
use store::{Store, ViewLease, ViewSpec};
use types::{Fault, ModelKey};

use crate::{keep::Keeper, start::lease};
pub(crate) use work::Teller;

/// Lines that one question can ask for. What is kept of a worker's log is about this long.
const LINES_MAX: u32 = 10_000;
/// Views that are kept because their path was told to a person. The oldest goes when another is asked for.
const SHOWN_MAX: usize = 16;

/// Answers questions. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Oracle {
    store: Store,
    keeper: Keeper,
    driver: Arc<dyn Driver>,
    /// A path is worth something only while the view stands.
    shown: Arc<Mutex<Vec<(ModelKey, ViewLease)>>>,
}

impl Oracle {
    pub(crate) fn new(store: Store, keeper: Keeper, driver: Arc<dyn Driver>) -> Self {
        Self { store, keeper, driver, shown: Arc::default() }
    }

    /// Answers a question.
    ///
    /// # Errors
    /// The fault that the asker sees.
    pub(crate) async fn answer(&self, question: Question, teller: &Teller) -> Result<Answer, Fault> {
        match question {
            Question::VerifyModel { key, damaged } => {
                let store = self.store.clone();
                teller.while_working(move |shown| work::verify(&store, &key, damaged, shown)).await
            }
            Question::ImportCache(order) => {
                let store = self.store.clone();
                teller.while_working(move |shown| work::import(&store, order, shown)).await
            }
            Question::WhyModel(key) => {
                let store = self.store.clone();
                blocking(move || Ok(Answer::Why(Box::new(facts::presence(store.why(&key)))))).await
            }
            Question::RemoveModel(key) => self.remove(key).await,
            Question::ModelPath(key) => self.path(key).await,
            Question::Logs { worker, tail } => {
                let lines_max = usize::try_from(tail.min(LINES_MAX)).unwrap_or(usize::MAX);
                let lines = self.driver.logs(&worker, lines_max).await.map_err(|error| error.fault())?;
                Ok(Answer::Logs(lines.into_iter().map(wire_line).collect()))
            }
            Question::InspectPython(folder) => {
                PythonEnvironment::inspect(&folder).await.map_err(|error| error.fault())?;
                Ok(Answer::PythonUsable)
            }
        }
    }

    async fn remove(&self, key: ModelKey) -> Result<Answer, Fault> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).retain(|(shown, _)| *shown != key);
        let keeper = self.keeper.clone();
        let freed = blocking(move || keeper.remove(&key)).await?;
        Ok(Answer::Removed(freed.bytes()))
    }

    async fn path(&self, key: ModelKey) -> Result<Answer, Fault> {
        let spec = ViewSpec { key: key.clone(), refs: std::collections::BTreeSet::new() };
        let leases = lease(&self.store, vec![spec]).await?;
        let view = leases.into_iter().next().expect("one view was asked for and no error came");
        let path = view.path().join("snapshots").join(key.commit.to_string());
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.retain(|(known, _)| *known != key);
        if shown.len() == SHOWN_MAX {
            shown.remove(0);
        }
        shown.push((key, view));
        Ok(Answer::Path(path))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(Fault::from_error(types::ErrorCode::Internal, &panic)))
}

fn wire_line(line: runtime::LogLine) -> LogLine {
    let stream = match line.stream {
        runtime::LogStream::Output => LogStream::Stdout,
        runtime::LogStream::Error => LogStream::Stderr,
    };
    LogLine { at: line.at, stream, text: line.text }
}
