//! Properties of plans over random histories of a small fleet.
//!
//! After every event the fleet is planned, by what is dirty, until a plan has no actions. Then planning everything must
//! find nothing to do, say the same of every endpoint and set the same alarms; and a fleet built anew from the facts
//! must be the same fleet.

use std::{sync::Arc, time::Duration};

use base::{ByteSize, Timestamp};
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, prop_oneof, proptest},
};
use scheduler::{
    Alarms, CacheRoom, Cordon, Demand, EndpointFacts, Exit, FetchEvent, FetchState, Fleet, HostFacts,
    LaunchKind, Lifecycle, Link, ModelNeed, WorkerEvent, WorkerNeed, WorkerState, plan,
};
use types::{
    Commit, EndpointId, ErrorCode, Fault, Gpu, GpuNeed, HostCapacity, HostId, Isolation, ModelKey, RepoId,
    Scaler, Scaling, SelectionKey, WorkerId,
};

use crate::world::World;

const HOSTS: u8 = 4;
const ENDPOINTS: u8 = 4;
const MODELS: u8 = 3;

/// One thing that happens. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Op {
    Queue { endpoint: u8, jobs: u8, low: u8, running: u8 },
    Wait { millis: u32 },
    Fetch { pick: u8, kind: FetchKind },
    Worker { pick: u8, kind: WorkerKind },
    Away { host: u8 },
    Back { host: u8 },
    Cordon { host: u8 },
    Open { host: u8 },
    Rate { host: u8, rate: u8 },
    Cache { host: u8, free: u8, evictable: u8 },
    Scale { endpoint: u8, min: u8, max: u8, count: u8 },
    Release { endpoint: u8, number: u8 },
    Delete { endpoint: u8 },
}

#[derive(Clone, Copy, Debug)]
enum FetchKind {
    Progress,
    Done,
    Hub,
    Disk,
    Lost,
}

#[derive(Clone, Copy, Debug)]
enum WorkerKind {
    Onward,
    Job,
    Exit,
}

fn any_op() -> impl Strategy<Value = Op> {
    let host = || 0..HOSTS;
    let endpoint = || 0..ENDPOINTS;
    let fetch = prop_oneof![
        2 => Just(FetchKind::Progress),
        4 => Just(FetchKind::Done),
        1 => Just(FetchKind::Hub),
        1 => Just(FetchKind::Disk),
        1 => Just(FetchKind::Lost),
    ];
    let worker = prop_oneof![
        6 => Just(WorkerKind::Onward),
        3 => Just(WorkerKind::Job),
        1 => Just(WorkerKind::Exit),
    ];
    prop_oneof![
        6 => (endpoint(), 0u8..6, 0u8..2, 0u8..3)
            .prop_map(|(endpoint, jobs, low, running)| Op::Queue { endpoint, jobs, low, running }),
        6 => (0u32..40_000).prop_map(|millis| Op::Wait { millis }),
        8 => (0u8..16, fetch).prop_map(|(pick, kind)| Op::Fetch { pick, kind }),
        10 => (0u8..16, worker).prop_map(|(pick, kind)| Op::Worker { pick, kind }),
        1 => host().prop_map(|host| Op::Away { host }),
        1 => host().prop_map(|host| Op::Back { host }),
        1 => host().prop_map(|host| Op::Cordon { host }),
        1 => host().prop_map(|host| Op::Open { host }),
        1 => (host(), 1u8..40).prop_map(|(host, rate)| Op::Rate { host, rate }),
        1 => (host(), 0u8..60, 0u8..60).prop_map(|(host, free, evictable)| Op::Cache { host, free, evictable }),
        1 => (endpoint(), 0u8..3, 0u8..4, 0u8..3)
            .prop_map(|(endpoint, min, max, count)| Op::Scale { endpoint, min, max, count }),
        1 => (endpoint(), 0u8..12).prop_map(|(endpoint, number)| Op::Release { endpoint, number }),
        1 => endpoint().prop_map(|endpoint| Op::Delete { endpoint }),
    ]
}

proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(testkit::cases(300)))]

    #[test]
    fn planning_what_is_dirty_equals_planning_everything(ops in vec(any_op(), 1..60)) {
        let mut world = start();
        for op in ops {
            play(&mut world, &op);
            world.settle();
            world.check_facts();
            check_rest(&world);
        }
    }
}

/// Panics unless a plan of everything agrees with the plans of what was dirty.
fn check_rest(world: &World) {
    let whole = plan(&world.fleet, &world.fleet.everything(), &world.policy, world.now);
    let actions: Vec<_> = whole.actions.iter().map(ToString::to_string).collect();
    assert!(
        actions.is_empty(),
        "a plan of everything finds more: {actions:?}\nafter {}",
        world.log.join("\n")
    );
    let again = plan(&world.fleet, &world.fleet.everything(), &world.policy, world.now);
    assert_eq!(whole, again, "the same input gives the same plan");
    assert_eq!(whole.reports, world.reports);
    let mut alarms = Alarms::default();
    whole.set_alarms(&mut alarms);
    assert_eq!(alarms, world.alarms);
    let mut built = rebuilt(&world.fleet);
    built.take_dirty();
    assert_eq!(built, world.fleet);
}

fn rebuilt(fleet: &Fleet) -> Fleet {
    let mut built = Fleet::default();
    for (host, facts) in fleet.hosts() {
        built.put_host(host, facts.clone());
        for (model, held) in fleet.models_on(host) {
            built.put_model(host, model, held.clone());
        }
    }
    for (endpoint, facts) in fleet.endpoints() {
        built.put_endpoint(endpoint, facts.clone());
        for (worker, facts) in fleet.workers_of(endpoint) {
            built.put_worker(worker, facts.clone());
        }
    }
    built
}

fn play(world: &mut World, op: &Op) {
    match op {
        Op::Queue { endpoint, jobs, low, running } => queue(world, *endpoint, *jobs, *low, *running),
        Op::Wait { millis } => world.wait(Duration::from_millis(u64::from(*millis))),
        Op::Fetch { pick, kind } => fetch(world, *pick, *kind),
        Op::Worker { pick, kind } => worker(world, *pick, *kind),
        Op::Away { host } => {
            let since = world.now;
            let is_away =
                world.fleet.host(&host_id(*host)).is_some_and(|facts| facts.link != Link::Connected);
            if !is_away {
                world.fleet.set_link(&host_id(*host), Link::Away { since });
            }
        }
        Op::Back { host } => world.fleet.set_link(&host_id(*host), Link::Connected),
        Op::Cordon { host } => world.fleet.set_cordon(&host_id(*host), Cordon::Cordoned),
        Op::Open { host } => world.fleet.set_cordon(&host_id(*host), Cordon::Open),
        Op::Rate { host, rate } => {
            world.fleet.set_rate(&host_id(*host), Some(u64::from(*rate) * 25_000_000));
        }
        Op::Cache { host, free, evictable } => {
            let cache = CacheRoom { free: gigabytes(*free), evictable: gigabytes(*evictable) };
            world.fleet.set_cache(&host_id(*host), cache);
        }
        Op::Scale { endpoint, min, max, count } => {
            let scaler = match count {
                0 => Scaler::QueueDelay { queue_delay: Duration::from_secs(4) },
                count => Scaler::RequestCount { request_count: u32::from(*count) },
            };
            let (workers_min, workers_max) = (u32::from(*min), u32::from(*max));
            let scaling = Scaling { workers_min, workers_max, scaler, ..scaling() };
            world.fleet.set_scaling(&endpoint_id(*endpoint), &scaling);
        }
        Op::Release { endpoint, number } => {
            let demand = world.fleet.endpoint(&endpoint_id(*endpoint)).map(|facts| facts.demand);
            let facts = EndpointFacts { demand: demand.unwrap_or_default(), ..endpoint_facts(*number) };
            world.fleet.put_endpoint(&endpoint_id(*endpoint), facts);
        }
        Op::Delete { endpoint } => world.fleet.set_lifecycle(&endpoint_id(*endpoint), Lifecycle::Deleting),
    }
}

fn queue(world: &mut World, endpoint: u8, jobs: u8, low: u8, running: u8) {
    let endpoint = endpoint_id(endpoint);
    let earlier = world.fleet.endpoint(&endpoint).and_then(|facts| facts.demand.oldest_since);
    let demand = Demand {
        queued: u32::from(jobs),
        queued_low: u32::from(low),
        oldest_since: (jobs > 0).then_some(earlier.unwrap_or(world.now)),
        in_progress: u32::from(running),
    };
    world.fleet.set_demand(&endpoint, demand);
}

/// Lets one of the fetches that run, or one of the models that are there, have an event.
fn fetch(world: &mut World, pick: u8, kind: FetchKind) {
    let places: Vec<(HostId, ModelKey, FetchState)> = world
        .fleet
        .hosts()
        .flat_map(|(host, _)| {
            world.fleet.models_on(host).map(|(model, held)| (host.clone(), model.clone(), held.state.clone()))
        })
        .filter(|(.., state)| matches!(state, FetchState::Fetching { .. } | FetchState::Ready))
        .collect();
    if places.is_empty() {
        return;
    }
    let (host, model, state) = &places[usize::from(pick) % places.len()];
    let present = match state {
        FetchState::Fetching { present, .. } => *present,
        FetchState::Ready | FetchState::Wanted { .. } | FetchState::Failed { .. } => ByteSize(0),
    };
    let failed = |code| FetchEvent::Failed { fault: Fault::new(code, "for the test"), retry_after: None };
    let event = match kind {
        FetchKind::Progress => FetchEvent::Progress(present + gigabytes(1)),
        FetchKind::Done => FetchEvent::Done,
        FetchKind::Hub => failed(ErrorCode::HubUnreachable),
        FetchKind::Disk => failed(ErrorCode::DiskFull),
        FetchKind::Lost => FetchEvent::Lost(present),
    };
    world.fetch(host, model, &event);
}

/// Lets one of the workers go on with its life, get or end a job, or exit.
fn worker(world: &mut World, pick: u8, kind: WorkerKind) {
    let workers: Vec<(WorkerId, WorkerState)> = world
        .fleet
        .endpoints()
        .flat_map(|(endpoint, _)| world.fleet.workers_of(endpoint))
        .map(|(worker, facts)| (worker.clone(), facts.worker.state().clone()))
        .collect();
    if workers.is_empty() {
        return;
    }
    let (worker, state) = &workers[usize::from(pick) % workers.len()];
    let event = match (kind, state) {
        (WorkerKind::Exit, _) => WorkerEvent::Exited { exit: Exit::Code { code: 1 }, last_lines: Vec::new() },
        (_, WorkerState::Launching { .. }) => WorkerEvent::ProcessStarted,
        (WorkerKind::Job, WorkerState::Starting { .. }) => WorkerEvent::Ping,
        (WorkerKind::Onward, WorkerState::Starting { .. }) => WorkerEvent::Take,
        (WorkerKind::Job, WorkerState::Idle { .. } | WorkerState::Running { .. }) => WorkerEvent::JobGiven,
        (WorkerKind::Onward | WorkerKind::Job, _) => WorkerEvent::JobEnded,
    };
    world.step(worker, &event);
}

fn start() -> World {
    let mut world = World::default();
    world.now = Timestamp::from_millis(1_000_000);
    for host in 0..HOSTS {
        world.fleet.put_host(&host_id(host), host_facts(host));
    }
    for endpoint in 0..ENDPOINTS {
        world.fleet.put_endpoint(&endpoint_id(endpoint), endpoint_facts(endpoint));
    }
    world.settle();
    world
}

fn host_facts(number: u8) -> HostFacts {
    let gpu = |index: u8, kind: &str| Gpu {
        uuid: format!("gpu-{number}-{index}"),
        kind: kind.to_owned(),
        memory: gigabytes(24),
    };
    HostFacts {
        capacity: HostCapacity {
            cpu_count: 8,
            memory: gigabytes(16 * (number + 1)),
            gpus: vec![gpu(0, "L4"), gpu(1, "L4"), gpu(2, "A100")],
            workers_max: u32::from(number) + 1,
            cache_bytes_max: gigabytes(50),
            isolation: if number == 0 { Isolation::None } else { Isolation::Privileged },
        },
        launches: [LaunchKind::Command].into(),
        link: Link::Connected,
        cordon: Cordon::Open,
        hub_rate_bytes: None,
        cache: CacheRoom { free: gigabytes(50), evictable: ByteSize(0) },
    }
}

fn endpoint_facts(number: u8) -> EndpointFacts {
    let models = (0..MODELS).filter(|model| (number + 1) & (1 << model) != 0).map(model_need).collect();
    let kinds = [vec![], vec!["A100".to_owned(), "L4".to_owned()]][usize::from(number % 2)].clone();
    let need = WorkerNeed {
        launch: LaunchKind::Command,
        models,
        gpu: GpuNeed { kinds, count: u32::from(number % 3) },
        memory: gigabytes(number % 5 * 4),
    };
    EndpointFacts {
        tenant: format!("tn_{}", number % 2).parse().expect("a tenant"),
        release: format!("rel_{number}").parse().expect("a release"),
        need: Arc::new(need),
        scaling: scaling(),
        lifecycle: Lifecycle::Active,
        demand: Demand::default(),
        crashes: None,
    }
}

fn scaling() -> Scaling {
    Scaling { init_timeout: Duration::from_secs(30), ..Scaling::default() }
}

fn model_need(number: u8) -> ModelNeed {
    let repo = RepoId {
        hub: "hf".parse().expect("a hub"),
        name: format!("org/m{number}").parse().expect("a repository"),
    };
    let commit = Commit::from_bytes([number; 20]);
    let key = ModelKey { repo, commit, selection: SelectionKey::from_bytes([0; 32]) };
    ModelNeed { key, total: gigabytes(4 << number) }
}

fn gigabytes(count: u8) -> ByteSize {
    ByteSize(u64::from(count) * 1_000_000_000)
}

fn host_id(number: u8) -> HostId {
    format!("host_{number}").parse().expect("a host")
}

fn endpoint_id(number: u8) -> EndpointId {
    format!("ep_{number}").parse().expect("an endpoint")
}
