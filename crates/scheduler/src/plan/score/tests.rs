//! The scale of times.

use super::*;

#[test]
fn steps_are_a_quarter_second_or_an_eighth_wide() {
    let step = |millis: u64| TimeStep::from(Duration::from_millis(millis)).0;
    assert_eq!([0, 249, 250, 499, 500, 2000].map(step), [0, 0, 1, 1, 2, 8]);
    assert!((TimeStep::from(Duration::from_secs(10 * 365 * 86_400)).0 as usize) < STEPS);
    assert_eq!(TimeStep::from(Duration::MAX).0 as usize, STEPS);
    for pair in STEP_ENDS.windows(2).skip(9) {
        let ratio = pair[1] as f64 / pair[0] as f64;
        assert!((1.11..1.13).contains(&ratio), "{pair:?}");
    }
}
