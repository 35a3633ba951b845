//! Signs of a job in their order, and the verdicts on them.

use super::*;

#[derive(Clone, Copy)]
enum Sign {
    Shown,
    Missed,
    Second(i64),
}

fn check(signs: &[Sign], expected: &[Verdict]) {
    let mut lease = Lease::new(Attempt::FIRST, Epoch(1), Timestamp::EPOCH);
    let verdicts: Vec<Verdict> = signs
        .iter()
        .map(|sign| match sign {
            Sign::Shown => lease.shown(),
            Sign::Missed => lease.missed(),
            Sign::Second(second) => {
                lease.elapsed(Timestamp::from_millis(second * 1000), Duration::from_secs(10))
            }
        })
        .collect();
    assert_eq!(verdicts, expected);
}

#[test]
fn signs_of_a_job_mean_what_the_protocol_says() {
    use Sign::{Missed, Second, Shown};
    use Verdict::{Accepted, NotAccepted, Nothing, Vanished};
    check(&[Shown, Shown], &[Accepted, Nothing]);
    check(&[Second(9), Second(10), Second(11)], &[Nothing, NotAccepted, Nothing]);
    check(&[Shown, Second(60)], &[Accepted, Nothing]);
    check(&[Missed, Missed, Missed, Missed], &[Nothing; 4]);
    check(&[Shown, Missed, Missed, Missed, Missed], &[Accepted, Nothing, Nothing, Vanished, Nothing]);
    check(
        &[Shown, Missed, Missed, Shown, Missed, Missed],
        &[Accepted, Nothing, Nothing, Nothing, Nothing, Nothing],
    );
    check(&[Second(10), Shown], &[NotAccepted, Nothing]);
}
