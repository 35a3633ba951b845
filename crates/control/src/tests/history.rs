//! Random histories: whatever the order of submissions, cancels, results, crashes, broken links, restarts and jumps of
//! time, each job ends exactly once and stays so, and nothing panics.

use std::collections::{BTreeMap, BTreeSet};

use api::{EndReason, JobEventKind, WorkerIntent, WorkerState};
use proptest::{
    prelude::{Strategy, any},
    prop_oneof, proptest,
    test_runner::Config,
};
use types::{JobId, JobStatus};

use super::harness::{Agent, World, done, failed};

#[derive(Clone, Debug)]
enum Deed {
    Submit,
    Cancel(u8),
    Retry(u8),
    Advance(u32),
    Converge,
    Take(u8),
    Tell(u8, u8),
    Crash(u8),
    Redial,
    Restart,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        4 => proptest::prelude::Just(Deed::Submit),
        1 => any::<u8>().prop_map(Deed::Cancel),
        1 => any::<u8>().prop_map(Deed::Retry),
        2 => (1u32..700_000).prop_map(Deed::Advance),
        2 => (1u32..4000).prop_map(Deed::Advance),
        6 => proptest::prelude::Just(Deed::Converge),
        6 => any::<u8>().prop_map(Deed::Take),
        6 => (any::<u8>(), any::<u8>()).prop_map(|(which, what)| Deed::Tell(which, what)),
        1 => any::<u8>().prop_map(Deed::Crash),
        1 => proptest::prelude::Just(Deed::Redial),
        1 => proptest::prelude::Just(Deed::Restart),
    ];
    proptest::collection::vec(deed, 1..60)
}

struct Play {
    world: World,
    agent: Agent,
    jobs: Vec<JobId>,
    given: Vec<api::Assignment>,
    ended: BTreeMap<JobId, JobStatus>,
}

impl Play {
    async fn begin() -> Self {
        let world = World::begin().await;
        let agent = Agent::dial(&world).await;
        world.endpoint(r#"{"name":"work","command":["x"],"models":[{"reference":"org/model"}]}"#).await;
        Self { world, agent, jobs: Vec::new(), given: Vec::new(), ended: BTreeMap::new() }
    }

    /// Reads what has come so far: a round trip through the owner is behind it.
    async fn catch_up(&mut self) {
        self.world.handle().endpoints(&self.world.admin()).await.unwrap();
        for _ in 0..64 {
            let nothing = std::time::Duration::from_millis(1);
            if self.agent.closed || tokio::time::timeout(nothing, self.agent.read_one()).await.is_err() {
                break;
            }
        }
        self.given.extend(self.agent.assigned.drain(..));
    }

    async fn act(&mut self, deed: &Deed) {
        let (handle, admin) = (self.world.handle(), self.world.admin());
        let pick = |which: u8, len: usize| usize::from(which) % len.max(1);
        match deed {
            Deed::Submit => {
                let body = serde_json::from_str(r#"{"input":1}"#).unwrap();
                let route = types::JobRoute::Async;
                self.jobs.push(handle.submit(&admin, "work", route, body).await.unwrap().id);
            }
            Deed::Cancel(which) => {
                if let Some(job) = self.jobs.get(pick(*which, self.jobs.len())) {
                    // It may be forgotten.
                    drop(handle.cancel_job(&admin, "work", job.as_str()).await);
                }
            }
            Deed::Retry(which) => {
                if let Some(job) = self.jobs.get(pick(*which, self.jobs.len())).cloned()
                    && handle.retry_job(&admin, "work", job.as_str()).await.is_ok()
                {
                    self.ended.remove(&job);
                }
            }
            Deed::Advance(millis) => self.world.advance(u64::from(*millis)),
            Deed::Converge => self.converge().await,
            Deed::Take(which) => {
                let running =
                    self.agent.observed.workers.iter().filter(|report| report.state == WorkerState::Alive);
                let running: Vec<_> = running.map(|report| report.worker.clone()).collect();
                if let Some(worker) = running.get(pick(*which, running.len())) {
                    self.agent.take(worker).await;
                }
            }
            Deed::Tell(which, what) => {
                if let Some(assignment) = self.given.get(pick(*which, self.given.len())).cloned() {
                    self.tell(&assignment, *what).await;
                }
            }
            Deed::Crash(which) => {
                let running =
                    self.agent.observed.workers.iter().filter(|report| report.state == WorkerState::Alive);
                let running: Vec<_> = running.map(|report| report.worker.clone()).collect();
                if let Some(worker) = running.get(pick(*which, running.len())) {
                    self.agent.report_ended(worker, EndReason::Exited(3)).await;
                }
            }
            Deed::Redial => self.redial().await,
            Deed::Restart => {
                drop(handle);
                self.world.crash().await;
                self.world.start().await;
                self.redial().await;
            }
        }
    }

    async fn tell(&mut self, assignment: &api::Assignment, what: u8) {
        match what % 8 {
            0 => self.agent.tell(assignment, JobEventKind::Accepted).await,
            1 => self.agent.tell(assignment, JobEventKind::Returned).await,
            2 => self.agent.tell(assignment, JobEventKind::NotAccepted).await,
            3 => self.agent.tell(assignment, JobEventKind::Vanished).await,
            4 => {
                self.agent.tell_durably(assignment, failed("no")).await;
            }
            // A repeat of the last number.
            5 => self.agent.tell_numbered(self.agent.number, assignment, done("0")).await,
            _ => {
                self.agent.tell_durably(assignment, done("1")).await;
            }
        }
    }

    async fn redial(&mut self) {
        let (observed, number) = (self.agent.observed.clone(), self.agent.number);
        self.agent = Agent::dial_with(&self.world, observed, number).await;
    }

    /// Does what a good agent would: models ready, workers as wanted.
    async fn converge(&mut self) {
        self.catch_up().await;
        if self.agent.closed {
            self.redial().await;
        }
        let wanted: BTreeMap<_, _> =
            self.agent.desired.workers.iter().map(|worker| (worker.worker.clone(), worker.intent)).collect();
        self.agent.observed.workers.retain(|report| wanted.contains_key(&report.worker));
        if !self.agent.desired.models.is_empty() {
            self.agent.report_ready(None).await;
        }
        for (worker, intent) in wanted {
            let known = self.agent.observed.workers.iter().any(|report| report.worker == worker);
            match intent {
                WorkerIntent::Run if !known => self.agent.report_alive(&worker).await,
                WorkerIntent::Stop | WorkerIntent::Drain => {
                    self.agent.report_ended(&worker, EndReason::Stopped).await;
                }
                WorkerIntent::Hold | WorkerIntent::Run => {}
            }
        }
        self.agent.report().await;
    }

    /// A job that has ended stays as it ended, until it is forgotten or tried again.
    async fn check(&mut self) {
        let (handle, admin) = (self.world.handle(), self.world.admin());
        for job in &self.jobs {
            let Ok(view) = handle.job(&admin, "work", job.as_str()).await else { continue };
            if let Some(status) = self.ended.get(job) {
                assert_eq!(view.status, *status, "{job} ended twice");
            }
            if view.status.is_terminal() {
                self.ended.insert(job.clone(), view.status);
                assert!(
                    view.execution_time.is_some() && view.delay_time.is_some() && view.worker_id.is_some()
                );
                assert_eq!(view.status == JobStatus::Completed, view.output.is_some());
            }
        }
        let health = handle.health(&admin, "work").await.unwrap();
        let unended = self.jobs.iter().collect::<BTreeSet<_>>().len() - self.ended.len();
        let live = health.jobs.in_queue + health.jobs.in_progress;
        assert!(live <= unended as u64, "{live} jobs are counted as live, {unended} have not ended");
    }

    /// With a good agent, everything ends.
    async fn finish(&mut self) {
        for _ in 0..40 {
            self.world.advance(10_000);
            self.converge().await;
            self.catch_up().await;
            let alive =
                self.agent.observed.workers.iter().filter(|report| report.state == WorkerState::Alive);
            for worker in alive.map(|report| report.worker.clone()).collect::<Vec<_>>() {
                self.agent.take(&worker).await;
            }
            self.catch_up().await;
            for assignment in std::mem::take(&mut self.given) {
                self.agent.tell_durably(&assignment, done("1")).await;
            }
            self.catch_up().await;
            self.check().await;
            let health = self.world.handle().health(&self.world.admin(), "work").await.unwrap();
            if health.jobs.in_queue + health.jobs.in_progress == 0 {
                return;
            }
        }
        // A result may have been lost with its worker's name: then the limits of time end the job.
        self.world.advance(24 * 3600 * 1000);
        self.catch_up().await;
        self.check().await;
        let health = self.world.handle().health(&self.world.admin(), "work").await.unwrap();
        assert_eq!(health.jobs.in_queue + health.jobs.in_progress, 0, "a job never ends");
    }
}

proptest! {
    // Each case runs a control plane on a disk; more of them run in the soak.
    #![proptest_config(Config { cases: testkit::cases(24), max_shrink_iters: 200, ..Config::default() })]

    #[test]
    fn each_job_ends_exactly_once(deeds in deeds()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut play = Play::begin().await;
            for deed in &deeds {
                play.act(deed).await;
                play.catch_up().await;
                if play.agent.closed {
                    play.redial().await;
                }
                play.check().await;
            }
            play.finish().await;
        });
    }
}
