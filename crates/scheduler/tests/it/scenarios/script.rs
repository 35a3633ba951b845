//! The language of scenarios: one command a line, words separated by blanks, options as `key=value`.

use std::{collections::BTreeMap, fmt::Write, sync::Arc, time::Duration};

use base::{ByteSize, Timestamp};
use scheduler::{
    CacheRoom, Cordon, Demand, EndpointFacts, Exit, FetchEvent, HostFacts, HostModel, LaunchKind, Lifecycle,
    Link, ModelNeed, Window, WorkerEvent, WorkerNeed, usage, worker_health,
};
use types::{
    Commit, EndpointId, ErrorCode, Fault, Gpu, GpuNeed, HostCapacity, HostId, Isolation, LedgerPhase,
    ModelKey, RepoId, Scaler, Scaling, SelectionKey, TenantId,
};

use crate::world::World;

/// A scenario on its way.
#[derive(Default)]
pub(crate) struct Script {
    world: World,
}

/// The words of a command.
struct Words<'a> {
    plain: Vec<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Self {
        let (options, plain): (Vec<_>, Vec<_>) = line.split_whitespace().partition(|word| word.contains('='));
        let options = options.into_iter().filter_map(|word| word.split_once('=')).collect();
        Self { plain, options }
    }

    fn word(&self, at: usize) -> &'a str {
        self.plain.get(at).unwrap_or_else(|| panic!("word {at} is missing in {:?}", self.plain))
    }

    fn option(&self, key: &str) -> Option<&'a str> {
        self.options.get(key).copied()
    }
}

impl Script {
    /// Plays a line: a comment or an empty line as it is, a command with what comes of it; drops the rest.
    pub(crate) fn line(&mut self, line: &str) -> String {
        if line.starts_with('#') || line.trim().is_empty() {
            return format!("{line}\n");
        }
        let Some(command) = line.strip_prefix("> ") else {
            return String::new();
        };
        let mut played = format!("{line}\n");
        let words = Words::of(command);
        let said = self.play(&words);
        if words.word(0) != "wait" {
            self.world.settle();
            self.flush(&mut played, self.world.now);
        } else {
            played.push_str(&self.wait(duration(words.word(1))));
        }
        played.push_str(&said);
        played.push_str(&self.show(&words));
        played
    }

    /// Waits, and tells of everything that happened in between with its time.
    fn wait(&mut self, time: Duration) -> String {
        let mut played = String::new();
        let until = self.world.now + time;
        while self.world.now < until {
            let next = self.world.alarms.next().map_or(until, |at| at.min(until));
            let step = next.since(self.world.now);
            self.world.wait(step);
            self.flush(&mut played, next);
        }
        played
    }

    fn flush(&mut self, played: &mut String, at: Timestamp) {
        for line in self.world.log.drain(..) {
            let _ = writeln!(played, "  {:>7.1} s  {line}", at.since(Timestamp::EPOCH).as_secs_f64());
        }
    }

    fn play(&mut self, words: &Words<'_>) -> String {
        let refused = match words.word(0) {
            "host" => self.host(words),
            "endpoint" => self.endpoint(words),
            "holds" => self.holds(words),
            "queue" => self.queue(words),
            "away" => self.link(words, Link::Away { since: self.world.now }),
            "back" => self.link(words, Link::Connected),
            "cordon" => {
                self.world.fleet.set_cordon(&host_id(words.word(1)), Cordon::Cordoned);
                None
            }
            "delete" => {
                self.world.fleet.set_lifecycle(&endpoint_id(words.word(1)), Lifecycle::Deleting);
                None
            }
            "fetch" => {
                let bytes = words.word(3).parse().expect("a size");
                self.fetch(words, &FetchEvent::Progress(bytes))
            }
            "fetched" => self.fetch(words, &FetchEvent::Done),
            "evicted" => self.fetch(words, &FetchEvent::Lost(ByteSize(0))),
            "fetch-failed" => {
                let fault = fault(words.word(3));
                let retry_after = words.option("retry-after").map(duration);
                self.fetch(words, &FetchEvent::Failed { fault, retry_after })
            }
            "wait" | "report" | "health" | "ledger" => None,
            event => self.world.step(&words.word(1).parse().expect("a worker"), &worker_event(event, words)),
        };
        refused.map(|reason| format!("  refused: {reason}\n")).unwrap_or_default()
    }

    fn host(&mut self, words: &Words<'_>) -> Option<&'static str> {
        let cache: ByteSize = words.option("cache").unwrap_or("1TB").parse().expect("a size");
        let free = words.option("free").map_or(cache, |free| free.parse().expect("a size"));
        let gpus = words.option("gpus").map(gpus).unwrap_or_default();
        let host = words.word(1);
        let facts = HostFacts {
            capacity: HostCapacity {
                cpu_count: 8,
                memory: words.option("memory").unwrap_or("64GB").parse().expect("a size"),
                gpus: cards(host, &gpus),
                workers_max: words.option("workers").unwrap_or("4").parse().expect("a number"),
                cache_bytes_max: cache,
                isolation: match words.option("isolation") {
                    Some("none") => Isolation::None,
                    Some(other) => panic!("{other:?} is no isolation"),
                    None => Isolation::Privileged,
                },
            },
            launches: [LaunchKind::Command].into(),
            link: Link::Connected,
            cordon: Cordon::Open,
            hub_rate_bytes: words.option("rate").map(|rate| size(rate).bytes()),
            cache: CacheRoom { free, evictable: words.option("evictable").map(size).unwrap_or_default() },
        };
        self.world.fleet.put_host(&host_id(host), facts);
        None
    }

    fn endpoint(&mut self, words: &Words<'_>) -> Option<&'static str> {
        let endpoint = endpoint_id(words.word(1));
        let mut scaling = Scaling::default();
        let set = |key: &str, number: &mut u32| {
            if let Some(text) = words.option(key) {
                *number = text.parse().expect("a number");
            }
        };
        set("min", &mut scaling.workers_min);
        set("max", &mut scaling.workers_max);
        if let Some(idle) = words.option("idle") {
            scaling.idle_timeout = duration(idle);
        }
        if let Some(init) = words.option("init") {
            scaling.init_timeout = duration(init);
        }
        if let Some(count) = words.option("request-count") {
            scaling.scaler = Scaler::RequestCount { request_count: count.parse().expect("a number") };
        }
        let models = words.option("model").map(|models| models.split(',').map(model_need).collect());
        let need = WorkerNeed {
            launch: LaunchKind::Command,
            models: models.unwrap_or_default(),
            gpu: words.option("gpus").map(gpus).unwrap_or_default(),
            memory: words.option("memory").map(size).unwrap_or_default(),
        };
        let release = words.option("release").unwrap_or("1");
        let earlier = self.world.fleet.endpoint(&endpoint);
        let facts = EndpointFacts {
            tenant: words.option("tenant").map_or_else(TenantId::default_tenant, tenant_id),
            release: format!("rel_{release}").parse().expect("a release"),
            need: Arc::new(need),
            scaling,
            lifecycle: Lifecycle::Active,
            demand: earlier.map(|facts| facts.demand).unwrap_or_default(),
            crashes: earlier.and_then(|facts| facts.crashes.clone()),
        };
        self.world.fleet.put_endpoint(&endpoint, facts);
        None
    }

    fn holds(&mut self, words: &Words<'_>) -> Option<&'static str> {
        let need = model_need(words.word(2));
        let state = match words.option("present") {
            Some(present) => scheduler::FetchState::Wanted { present: size(present), failures: 0 },
            None => scheduler::FetchState::Ready,
        };
        let held = HostModel { total: need.total, desire: scheduler::Desire::None, state };
        self.world.fleet.put_model(&host_id(words.word(1)), &need.key, held);
        None
    }

    fn queue(&mut self, words: &Words<'_>) -> Option<&'static str> {
        let endpoint = endpoint_id(words.word(1));
        let earlier = self.world.fleet.endpoint(&endpoint).expect("a known endpoint").demand;
        let number = |key: &str| words.option(key).map_or(0, |text| text.parse().expect("a number"));
        let queued = number("jobs");
        let demand = Demand {
            queued,
            queued_low: number("low"),
            oldest_since: (queued > 0).then_some(earlier.oldest_since.unwrap_or(self.world.now)),
            in_progress: number("running"),
        };
        self.world.fleet.set_demand(&endpoint, demand);
        None
    }

    fn link(&mut self, words: &Words<'_>, link: Link) -> Option<&'static str> {
        self.world.fleet.set_link(&host_id(words.word(1)), link);
        None
    }

    fn fetch(&mut self, words: &Words<'_>, event: &FetchEvent) -> Option<&'static str> {
        self.world.fetch(&host_id(words.word(1)), &model_need(words.word(2)).key, event)
    }

    fn show(&self, words: &Words<'_>) -> String {
        match words.word(0) {
            "report" => self.report(&endpoint_id(words.word(1))),
            "health" => self.health(&endpoint_id(words.word(1))),
            "ledger" => self.ledger(),
            _ => String::new(),
        }
    }

    fn report(&self, endpoint: &EndpointId) -> String {
        let report = self.world.reports.get(endpoint).cloned().unwrap_or_default();
        let mut shown = format!("  {} of {} wanted workers\n", report.live, report.wanted);
        for wait in &report.waits {
            let _ = writeln!(shown, "  {wait}");
        }
        for candidate in &report.candidates {
            let _ = writeln!(shown, "    {candidate}");
        }
        for (reason, count) in &report.others {
            let _ = writeln!(shown, "    {count} other: {}", reason.as_str());
        }
        shown
    }

    fn health(&self, endpoint: &EndpointId) -> String {
        let phases = self.world.fleet.workers_of(endpoint).map(|(_, facts)| facts.worker.phase());
        let health = worker_health(phases);
        format!(
            "  idle {} initializing {} ready {} running {} throttled {} unhealthy {}\n",
            health.idle,
            health.initializing,
            health.ready,
            health.running,
            health.throttled,
            health.unhealthy
        )
    }

    fn ledger(&self) -> String {
        let rows = || {
            let workers = self.world.ledger.iter();
            workers.flat_map(|(worker, intervals)| intervals.iter().map(move |interval| (worker, *interval)))
        };
        let mut shown = String::new();
        let second = |at: Timestamp| at.since(Timestamp::EPOCH).as_secs_f64();
        for (worker, interval) in rows() {
            let phase: LedgerPhase = interval.phase;
            let billed = if phase.is_billed() { "billed" } else { "not billed" };
            let (from, to) = (second(interval.from), second(interval.to));
            let _ = writeln!(shown, "  {worker} {from:>7.1} to {to:>7.1} s  {phase}, {billed}");
        }
        let total = usage(rows(), Window { from: Timestamp::EPOCH, to: self.world.now });
        let (billed, unbilled) = (total.billed_seconds(), total.unbilled_seconds());
        let _ = writeln!(shown, "  in all {billed} s billed, {unbilled} s not billed");
        shown
    }
}

fn worker_event(event: &str, words: &Words<'_>) -> WorkerEvent {
    match event {
        "started" => WorkerEvent::ProcessStarted,
        "start-failed" => WorkerEvent::StartFailed(fault(words.word(2))),
        "ping" => WorkerEvent::Ping,
        "take" => WorkerEvent::Take,
        "give" => WorkerEvent::JobGiven,
        "done" => WorkerEvent::JobEnded,
        "init-timeout" => WorkerEvent::InitTimeout,
        "exit" => WorkerEvent::Exited {
            exit: Exit::Code { code: words.word(2).parse().expect("a code") },
            last_lines: Vec::new(),
        },
        other => panic!("{other:?} is no command"),
    }
}

fn fault(code: &str) -> Fault {
    let code = ErrorCode::ALL.iter().find(|known| known.as_str() == code).expect("a known code");
    Fault::new(*code, code.title().to_lowercase())
}

fn size(text: &str) -> ByteSize {
    text.parse().expect("a size")
}

fn duration(text: &str) -> Duration {
    Duration::from_secs_f64(text.strip_suffix('s').and_then(|text| text.parse().ok()).expect("seconds"))
}

fn host_id(name: &str) -> HostId {
    format!("host_{name}").parse().expect("a host's name")
}

fn tenant_id(name: &str) -> TenantId {
    format!("tn_{name}").parse().expect("a tenant's name")
}

fn endpoint_id(name: &str) -> EndpointId {
    format!("ep_{name}").parse().expect("an endpoint's name")
}

/// `org/name@1:16GB`: repository, commit by its last byte, size.
fn model_need(text: &str) -> ModelNeed {
    let (name, rest) = text.split_once('@').expect("a commit");
    let (commit, total) = rest.split_once(':').unwrap_or((rest, "0"));
    let byte: u8 = commit.parse().expect("a byte");
    let repo = RepoId { hub: "hf".parse().expect("a hub"), name: name.parse().expect("a repository") };
    let key = ModelKey {
        repo,
        commit: Commit::from_bytes([byte; 20]),
        selection: SelectionKey::from_bytes([0; 32]),
    };
    ModelNeed { key, total: size(total) }
}

/// `2xL4` or `1xL4/A100`: how many, and of which kinds, best first.
fn gpus(text: &str) -> GpuNeed {
    let (count, kinds) = text.split_once('x').expect("a count and kinds");
    GpuNeed { kinds: kinds.split('/').map(str::to_owned).collect(), count: count.parse().expect("a count") }
}

fn cards(host: &str, gpus: &GpuNeed) -> Vec<Gpu> {
    let card = |number| Gpu {
        uuid: format!("GPU-{host}{number}"),
        kind: gpus.kinds.first().cloned().unwrap_or_default(),
        memory: ByteSize(24_000_000_000),
    };
    (1..=gpus.count).map(card).collect()
}
