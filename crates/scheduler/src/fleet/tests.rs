//! Deltas: what they make dirty, and what they leave alone.

use std::time::Duration;

use base::ByteSize;
use types::{Gpu, GpuNeed, HostCapacity, Isolation, TenantId};

use super::*;

fn host_id(name: &str) -> HostId {
    format!("host_{name}").parse().unwrap()
}

fn endpoint_id(name: &str) -> EndpointId {
    format!("ep_{name}").parse().unwrap()
}

fn capacity(kinds: &[&str]) -> HostCapacity {
    let gpus = kinds.iter().enumerate().map(|(number, kind)| Gpu {
        uuid: format!("{kind}{number}"),
        kind: (*kind).to_owned(),
        memory: ByteSize(1),
    });
    HostCapacity {
        cpu_count: 1,
        memory: ByteSize(100),
        gpus: gpus.collect(),
        workers_max: 2,
        cache_bytes_max: ByteSize(100),
        isolation: Isolation::Privileged,
    }
}

fn host() -> HostFacts {
    HostFacts {
        capacity: capacity(&[]),
        launches: [LaunchKind::Command].into(),
        link: Link::Connected,
        cordon: Cordon::Open,
        hub_rate_bytes: None,
        cache: CacheRoom { free: ByteSize(100), evictable: ByteSize(0) },
    }
}

fn endpoint() -> EndpointFacts {
    let need = WorkerNeed {
        launch: LaunchKind::Command,
        models: Vec::new(),
        gpu: GpuNeed::default(),
        memory: ByteSize(0),
    };
    EndpointFacts {
        tenant: TenantId::default_tenant(),
        release: "rel_1".parse().unwrap(),
        need: Arc::new(need),
        scaling: Scaling::default(),
        lifecycle: Lifecycle::Active,
        demand: Demand::default(),
        crashes: None,
    }
}

fn small_fleet() -> Fleet {
    let mut fleet = Fleet::default();
    fleet.put_host(&host_id("a"), host());
    fleet.put_host(&host_id("b"), host());
    fleet.put_endpoint(&endpoint_id("calm"), endpoint());
    let demand = Demand { queued: 1, oldest_since: Some(Timestamp::EPOCH), ..Demand::default() };
    fleet.put_endpoint(&endpoint_id("hungry"), EndpointFacts { demand, ..endpoint() });
    fleet.take_dirty();
    fleet
}

/// Applies a delta and compares what became dirty.
fn check(delta: impl FnOnce(&mut Fleet), hosts: &[&str], endpoints: &[&str]) {
    let mut fleet = small_fleet();
    delta(&mut fleet);
    let expected = Dirty {
        hosts: hosts.iter().copied().map(host_id).collect(),
        endpoints: endpoints.iter().copied().map(endpoint_id).collect(),
    };
    assert_eq!(fleet.take_dirty(), expected);
    assert!(fleet.take_dirty().is_empty());
}

#[test]
fn only_what_a_delta_concerns_becomes_dirty() {
    check(|fleet| fleet.put_host(&host_id("a"), host()), &[], &[]);
    check(|fleet| fleet.put_endpoint(&endpoint_id("calm"), endpoint()), &[], &[]);
    check(|fleet| fleet.set_demand(&endpoint_id("calm"), Demand::default()), &[], &[]);
    check(|fleet| fleet.set_demand(&endpoint_id("unknown"), Demand::default()), &[], &[]);
    check(|fleet| fleet.set_rate(&host_id("unknown"), Some(1)), &[], &[]);
    // Endpoints that have what they want are left alone.
    check(|fleet| fleet.set_rate(&host_id("a"), Some(1)), &["a"], &["hungry"]);
    check(|fleet| fleet.remove_host(&host_id("b")), &["b"], &["hungry"]);
    check(|fleet| fleet.wake(&Subject::Host(host_id("a"))), &["a"], &[]);
    check(|fleet| fleet.wake(&Subject::Endpoint(endpoint_id("calm"))), &[], &["calm"]);
    let worker = |fleet: &mut Fleet| {
        let facts = WorkerFacts {
            endpoint: endpoint_id("calm"),
            tenant: TenantId::default_tenant(),
            release: "rel_1".parse().unwrap(),
            need: endpoint().need,
            host: host_id("a"),
            gpus: Vec::new(),
            created_at: Timestamp::EPOCH,
            worker: Worker::launching(Timestamp::EPOCH),
        };
        fleet.put_worker(&"wk_1".parse().unwrap(), facts);
    };
    check(worker, &["a"], &["calm", "hungry"]);
}

#[test]
fn alarms_go_off_in_order_and_once() {
    let at = |seconds: u64| Timestamp::EPOCH + Duration::from_secs(seconds);
    let (first, second) = (Subject::Host(host_id("a")), Subject::Endpoint(endpoint_id("e")));
    let mut alarms = Alarms::default();
    alarms.set(&second, Some(at(9)));
    alarms.set(&first, Some(at(50)));
    alarms.set(&first, Some(at(5)));
    assert_eq!((alarms.next(), alarms.take_due(at(4)).len()), (Some(at(5)), 0));
    assert_eq!(alarms.take_due(at(9)), [first, second.clone()]);
    alarms.set(&second, Some(at(10)));
    alarms.set(&second, None);
    assert_eq!(alarms, Alarms::default());
}

#[test]
fn gpus_are_of_one_kind_the_best_that_is_free() {
    let pick = |kinds: &[&str], taken: &[&str], wanted: &[&str], count: u32| {
        let mut room = Room::of(&capacity(kinds));
        let need = WorkerNeed { memory: ByteSize(60), ..(*endpoint().need).clone() };
        if !taken.is_empty() {
            let taken: Vec<_> = taken.iter().map(|uuid| (*uuid).to_owned()).collect();
            room.take(&WorkerNeed { memory: ByteSize(1), ..need }, &taken);
        }
        let gpu = GpuNeed { kinds: wanted.iter().map(|kind| (*kind).to_owned()).collect(), count };
        room.pick(&gpu).map(|pick| format!("{} {}", pick.rank, pick.uuids.join(",")))
    };
    let check = |found: Option<String>, expected: Option<&str>| assert_eq!(found.as_deref(), expected);
    let mixed = ["L4", "A100", "L4", "L4"];
    check(pick(&mixed, &[], &["A100", "L4"], 1), Some("0 A1001"));
    check(pick(&mixed, &["A1001"], &["A100", "L4"], 1), Some("1 L40"));
    check(pick(&mixed, &[], &["A100", "L4"], 2), Some("1 L40,L42"));
    check(pick(&mixed, &[], &[], 1), Some("0 A1001"));
    check(pick(&mixed, &["L40", "L42"], &[], 2), None);
    check(pick(&mixed, &[], &["H100"], 1), None);
    check(pick(&[], &[], &[], 0), Some("0 "));
}

#[test]
fn slots_and_memory_run_out() {
    let mut room = Room::of(&capacity(&[]));
    let need = WorkerNeed { memory: ByteSize(60), ..(*endpoint().need).clone() };
    assert!(room.fits(&need).is_some());
    room.take(&need, &[]);
    assert!(room.fits(&need).is_none(), "40 of 100 bytes are left");
    let small = WorkerNeed { memory: ByteSize(1), ..need };
    assert!(room.fits(&small).is_some());
    room.take(&small, &[]);
    assert!(room.fits(&small).is_none(), "both slots are taken");
}
