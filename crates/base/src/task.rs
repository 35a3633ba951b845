//! Tasks with an owner: spawned into a scope, cancelled with it, joined by it.
//!
//! A panic of a task is an error of its scope, never a silent end.

use std::{future::Future, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// After this long a shutdown says who holds it. A person watching Ctrl-C starts to wonder after about a second.
const SLOW_SHUTDOWN: Duration = Duration::from_secs(1);

/// A task ended other than by returning.
#[derive(Debug, thiserror::Error)]
#[error("task {name} panicked: {message}")]
pub struct TaskError {
    /// The name that the task was spawned under.
    pub name: &'static str,
    /// What it panicked with.
    pub message: String,
}

/// Owns a set of tasks. Dropping it aborts them; [`TaskScope::shutdown`] lets them end in order.
#[derive(Debug)]
pub struct TaskScope {
    tasks: JoinSet<&'static str>,
    names: std::collections::HashMap<tokio::task::Id, &'static str>,
    token: CancellationToken,
}

impl TaskScope {
    /// Makes a scope that is cancelled with `parent`.
    pub fn new(parent: &CancellationToken) -> Self {
        Self { tasks: JoinSet::new(), names: std::collections::HashMap::new(), token: parent.child_token() }
    }

    /// Returns the token that ends this scope's tasks.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Returns how many tasks have not been joined yet.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Returns whether every task has been joined.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Starts a task. It gets no token by itself: pass it `self.token()` when it loops.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.tasks.spawn(async move {
            task.await;
            name
        });
        self.names.insert(handle.id(), name);
    }

    /// Waits for the next task to end and returns its name, or `None` when there is none.
    ///
    /// # Errors
    /// [`TaskError`] when that task panicked.
    ///
    /// # Cancel safety
    /// Dropping the future loses no task.
    pub async fn join_next(&mut self) -> Option<Result<&'static str, TaskError>> {
        let ended = self.tasks.join_next_with_id().await?;
        Some(match ended {
            Ok((id, name)) => {
                self.names.remove(&id);
                Ok(name)
            }
            Err(error) => {
                let name = self.names.remove(&error.id()).unwrap_or("unnamed");
                if error.is_cancelled() {
                    return Some(Ok(name));
                }
                let panic = error.into_panic();
                let message = panic
                    .downcast_ref::<&str>()
                    .map(|text| (*text).to_owned())
                    .or_else(|| panic.downcast_ref::<String>().cloned())
                    .unwrap_or_else(|| "a value that is no text".to_owned());
                Err(TaskError { name, message })
            }
        })
    }

    /// Joins the tasks that have ended already, without waiting.
    ///
    /// # Errors
    /// The first [`TaskError`] among them.
    pub fn reap(&mut self) -> Result<(), TaskError> {
        while let Some(ended) = futures_now(self.join_next()) {
            match ended {
                Some(result) => drop(result?),
                None => break,
            }
        }
        Ok(())
    }

    /// Cancels the scope and waits for every task, logging who holds it up after a second.
    ///
    /// # Errors
    /// The first [`TaskError`]; the others have been waited for as well.
    pub async fn shutdown(mut self) -> Result<(), TaskError> {
        self.token.cancel();
        let mut first_error = None;
        loop {
            let ended = match tokio::time::timeout(SLOW_SHUTDOWN, self.join_next()).await {
                Ok(ended) => ended,
                Err(_) => {
                    let mut waiting: Vec<_> = self.names.values().copied().collect();
                    waiting.sort_unstable();
                    tracing::info!(?waiting, "shutdown is waiting for tasks");
                    continue;
                }
            };
            match ended {
                None => return first_error.map_or(Ok(()), Err),
                Some(Ok(_)) => {}
                Some(Err(error)) => first_error = first_error.or(Some(error)),
            }
        }
    }
}

/// Polls a future once and returns its value if it is ready.
fn futures_now<F: Future>(future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => Some(value),
        std::task::Poll::Pending => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_scope_ends_its_tasks_and_names_the_one_that_panicked() {
        let root = CancellationToken::new();
        let mut scope = TaskScope::new(&root);
        let token = scope.token();
        scope.spawn("looper", async move { token.cancelled().await });
        scope.spawn("faulty", async { panic!("boom") });
        let error = scope.shutdown().await.unwrap_err();
        assert_eq!(error.to_string(), "task faulty panicked: boom");
        assert!(!root.is_cancelled());
    }
}
