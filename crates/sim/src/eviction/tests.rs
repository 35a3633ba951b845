//! The runner, the traces and the goal.

use base::ByteSize;

use super::{Contest, DISK_SHARES, PolicyName, Scale, Setup, Trace, Workload, contest, replay};

fn outcome(trace: &str, policy: PolicyName, disk: u64) -> String {
    let trace = Trace::parse(trace).unwrap();
    let setup = Setup { rate_bytes: 10, ..Setup::new(ByteSize(disk)) };
    let outcome = replay(&trace, policy, &setup);
    format!(
        "{} of {} here, {} of {} bytes, {} fetched in {} s, {} evicted, {} refused",
        outcome.hits,
        outcome.requests,
        outcome.bytes_hit.bytes(),
        outcome.bytes_requested.bytes(),
        outcome.bytes_fetched.bytes(),
        outcome.waited.as_secs(),
        outcome.evictions,
        outcome.refused
    )
}

#[test]
fn a_trace_runs_as_one_can_follow_by_hand() {
    const ROUND: &str = "0 a 100\n1 b 100\n2 c 100\n3 a 100\n4 b 100\n5 c 100\n";
    let check =
        |trace: &str, policy, disk, expected: &str| assert_eq!(outcome(trace, policy, disk), expected);
    for policy in PolicyName::ALL {
        check(ROUND, policy, 300, "3 of 6 here, 300 of 600 bytes, 300 fetched in 33 s, 0 evicted, 0 refused");
        check(ROUND, policy, 99, "0 of 6 here, 0 of 600 bytes, 0 fetched in 0 s, 0 evicted, 6 refused");
    }
    check(
        ROUND,
        PolicyName::Lru,
        200,
        "0 of 6 here, 0 of 600 bytes, 600 fetched in 66 s, 4 evicted, 0 refused",
    );
    check(
        ROUND,
        PolicyName::Clairvoyant,
        200,
        "2 of 6 here, 200 of 600 bytes, 400 fetched in 44 s, 2 evicted, 0 refused",
    );
    let favourite = "0 a 100\n1 a 100\n2 b 100\n3 c 100\n4 a 100\n";
    check(
        favourite,
        PolicyName::Lfu,
        200,
        "2 of 5 here, 200 of 500 bytes, 300 fetched in 33 s, 1 evicted, 0 refused",
    );
}

#[test]
fn a_wrong_trace_is_refused_with_its_line() {
    let check = |text: &str, expected: &str| {
        assert_eq!(Trace::parse(text).unwrap_err().to_string(), expected);
    };
    check("", "the trace is empty");
    check("# only words\n\n", "the trace is empty");
    check("0 a", "line 1 is not `SECONDS MODEL BYTES`");
    check("0 a 1 b", "line 1 is not `SECONDS MODEL BYTES`");
    for wrong in ["x", "-1", "NaN", "inf", "1e300", "500000000"] {
        let expected = "is no time: write seconds, from the trace's beginning or of the Unix epoch";
        check(&format!("# head\n{wrong} a 1"), &format!("line 2: {wrong:?} {expected}"));
    }
    for wrong in ["0", "-1", "1.5", "99999999999999999999"] {
        let expected = "is no size: write a whole number of bytes above zero";
        check(&format!("0 a {wrong}"), &format!("line 1: {wrong:?} {expected}"));
    }
    check("5 a 1\n4 a 1", "line 2 is earlier than the line before it");
    check("5 a 1\n6 a 2", "line 2: \"a\" had 1 bytes before");
    check(&format!("0 {} 1", "a".repeat(513)), "line 1: the model's name is longer than 512 bytes");
    let fine = Trace::parse("1700000000.5 org/a:Q4 7\n1700000001 org/b 8\n").unwrap();
    assert_eq!((fine.models().len(), fine.working_set()), (2, ByteSize(15)));
}

#[test]
fn workloads_are_what_their_seed_makes_them() {
    let scale = Scale { models: 50, starts_per_day: 40, days: 10 };
    for workload in Workload::ALL {
        let trace = workload.trace(scale, 1);
        assert_eq!(trace, workload.trace(scale, 1), "{workload} is the same again");
        assert_ne!(trace, workload.trace(scale, 2), "{workload} differs by seed");
        assert!(trace.requests().is_sorted_by_key(|request| request.at), "{workload} is in order");
        let requests = trace.requests().len();
        assert!((200..900).contains(&requests), "{workload} has {requests} requests");
        assert_eq!(workload.as_str().parse(), Ok(workload));
    }
    for policy in PolicyName::ALL {
        assert_eq!(policy.as_str().parse(), Ok(policy));
    }
}

#[test]
fn our_policy_stays_near_the_best_on_every_shape() {
    let set = Contest {
        workloads: Workload::ALL.to_vec(),
        scale: Scale { models: 100, starts_per_day: 100, days: 20 },
        disk_shares: vec![DISK_SHARES[1]],
        seeds: vec![1],
    };
    contest(&set, |row| {
        assert_eq!(row.missed(), [], "{} on {}: {:?}", row.workload, row.disk, row.outcomes);
    });
}
