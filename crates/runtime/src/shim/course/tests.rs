//! What an end is called, as cases; and what no order of events may break.

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::{Course, Effect, Stage};
use crate::{ExitReason, protocol::CommandEnd};

#[derive(Clone, Copy, Debug)]
enum Event {
    Ask,
    Force,
    Command(CommandEnd),
    Over,
}

fn step(course: Course, event: Event) -> (Course, Effect) {
    match event {
        Event::Ask => course.ask(),
        Event::Force => course.force(),
        Event::Command(end) => (course.command_ended(end), Effect::None),
        Event::Over => (course.over(), Effect::None),
    }
}

#[test]
fn an_end_has_one_name() {
    use CommandEnd::{Code, Signal};
    use Event::{Ask, Command, Force};
    let check = |events: &[Event], out_of_memory, expected| {
        let course = events.iter().fold(Course::new(), |course, event| step(course, *event).0);
        assert_eq!(course.status(out_of_memory), expected, "{events:?}");
    };
    check(&[Command(Code(0))], false, ExitReason::Code(0));
    check(&[Command(Code(0))], true, ExitReason::Code(0));
    check(&[Command(Code(1))], true, ExitReason::OutOfMemory);
    check(&[Command(Signal(9))], true, ExitReason::OutOfMemory);
    check(&[Command(Signal(9))], false, ExitReason::Signal(9));
    check(&[Ask, Command(Signal(15))], false, ExitReason::Signal(15));
    check(&[Ask, Command(Code(0))], false, ExitReason::Code(0));
    check(&[Ask, Force], false, ExitReason::Killed);
    check(&[Ask, Force, Command(Signal(9))], false, ExitReason::Killed);
    check(&[Force], true, ExitReason::Killed);
    check(&[Command(Code(3)), Force], false, ExitReason::Code(3));
    check(&[], false, ExitReason::Signal(9));
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Ask),
        Just(Event::Force),
        Just(Event::Over),
        any::<u8>().prop_map(|code| Event::Command(CommandEnd::Code(code.into()))),
        (1..32).prop_map(|signal| Event::Command(CommandEnd::Signal(signal))),
    ]
}

proptest! {
    #[test]
    fn each_step_is_taken_once_and_the_end_is_final(events in proptest::collection::vec(events(), 0..30)) {
        let mut course = Course::new();
        let (mut asked, mut ended) = (0, 0);
        for event in events {
            let (next, effect) = step(course, event);
            match effect {
                Effect::None => {}
                Effect::AskCommand => asked += 1,
                Effect::EndAll => ended += 1,
            }
            assert!(course.stage() != Stage::Over || (next.stage(), effect) == (Stage::Over, Effect::None));
            assert!(!course.knows_command() || next.command == course.command);
            course = next;
        }
        assert!(asked <= 1 && ended <= 1);
        assert!(ended == 1 || course.status(false) != ExitReason::Killed);
    }
}
