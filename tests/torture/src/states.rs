//! Part 5: every state of the protocol up to a depth, with the runtime's own `decide`.
//!
//! Three processes (one with two workers) call one key. Each step of a call is a step of its own here: reading the row,
//! deciding, the compare-and-swap, the first poll, the end of the body, the write of its outcome. Between any two of them
//! a process may crash, an operator steal, settle or forget, a lifetime end and the purge look or delete. What must never
//! happen is noted in [`World::flaws`] by the step that does it.

mod defects;
mod protocol;

use stateright::{Checker, Model, Property};

use crate::frame::{Options, Report};
use crate::tally::Tally;
use defects::{Broken, Flaw};
use protocol::{Protocol, World};

pub(crate) fn run(options: &Options) -> Vec<Report> {
    let depth = options.points(12, 14);
    let mut report = Report::new(format!("states: every interleaving of the protocol to depth {depth}"));
    let checker = explore(Broken::Nothing, depth);
    report.points_tried(checker.unique_state_count());
    report.note(format!(
        "{} transitions, {} states, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    ));
    for property in checker.model().properties() {
        let found = checker.discovery(property.name);
        let is_flaw = Flaw::ALL.iter().any(|flaw| flaw.text() == property.name);
        match found {
            Some(path) if is_flaw => {
                report.violation(format!("{}: {:?}", property.name, path.into_actions()));
            }
            None if !is_flaw => report.violation(format!("it never came about that {}", property.name)),
            _ => {}
        }
    }
    let mut shown = 0;
    let defects = if options.short { &Broken::DEFECTS[..4] } else { &Broken::DEFECTS[..] };
    for broken in defects.iter().copied() {
        let checker = explore(broken, 16);
        let flaw = Flaw::ALL.into_iter().find_map(|flaw| Some((flaw, checker.discovery(flaw.text())?)));
        let Some((flaw, path)) = flaw else {
            report.violation(format!("the defect {broken:?} goes unnoticed"));
            continue;
        };
        shown += 1;
        report.note(format!("{broken:?}: {} after {} steps", flaw.text(), path.into_actions().len()));
    }
    report.control(format!("{} protocols with one defect each", defects.len()), shown);
    vec![report]
}

fn explore(broken: Broken, depth: usize) -> impl Checker<Protocol> {
    let checker = Protocol { broken }.checker().threads(2).target_max_depth(depth);
    let first = stateright::HasDiscoveries::AnyFailures;
    let checker = if broken == Broken::Nothing { checker } else { checker.finish_when(first) };
    checker.spawn_bfs().join()
}

impl Model for Protocol {
    type State = World;
    type Action = protocol::Act;

    fn init_states(&self) -> Vec<World> {
        (0..protocol::WORKERS).map(World::new).collect()
    }

    fn actions(&self, world: &World, acts: &mut Vec<Self::Action>) {
        world.acts(acts);
    }

    fn next_state(&self, world: &World, act: Self::Action) -> Option<World> {
        let mut next = world.clone();
        next.act(act, self.broken);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(Flaw::NumberTwice.text(), |_, world: &World| !world.has(Flaw::NumberTwice)),
            Property::always(Flaw::SideBySide.text(), |_, world: &World| !world.has(Flaw::SideBySide)),
            Property::always(Flaw::RanAfterDone.text(), |_, world: &World| !world.has(Flaw::RanAfterDone)),
            Property::always(Flaw::Repeated.text(), |_, world: &World| !world.has(Flaw::Repeated)),
            Property::always(Flaw::FencedWrote.text(), |_, world: &World| !world.has(Flaw::FencedWrote)),
            Property::always(Flaw::KeyLost.text(), |_, world: &World| !world.has(Flaw::KeyLost)),
            Property::sometimes("a finisher was fenced", |_, world: &World| world.fenced),
            Property::sometimes("a late finisher was accepted", |_, world: &World| world.late),
            Property::sometimes("a hook recovers", |_, world: &World| world.recovers()),
            Property::sometimes("a second attempt runs", |_, world: &World| world.attempt() == 2),
        ]
    }
}
