//! One sequence, and what must hold after each of its operations.

use crate::ops::{Kind, Op};
use crate::random::Random;
use crate::tally::{End, Tally};
use crate::world::World;
use paravane_abi::errno::Errno;
use paravane_core::fake_machine::FakeMachine;

/// Operations worth more of the time: those that build, change and release tables.
const FREQUENT: [Kind; 16] = [
    Kind::UpdateL1,
    Kind::UpdateL1,
    Kind::UpdateUpper,
    Kind::UpdateUpper,
    Kind::UpdateVa,
    Kind::PinL2,
    Kind::PinL3,
    Kind::PinL4,
    Kind::Unpin,
    Kind::Unpin,
    Kind::NewBase,
    Kind::Batch,
    Kind::GuestWrite,
    Kind::PtExchange,
    Kind::Decrease,
    Kind::Populate,
];

fn choose(world: &World, vcpu: usize, random: &mut Random) -> Kind {
    if world.vcpus[vcpu].base().is_none() && random.percent(70) {
        return Kind::NewBase;
    }
    match random.pick(Kind::ALL) {
        // It ends much else.
        Kind::DropBases if random.percent(80) => Kind::NewBase,
        _ if random.percent(50) => random.pick(&FREQUENT),
        kind => kind,
    }
}

/// Does so many operations, or as many as there are choices for, and ends the domains.
pub fn run_sequence(name: &str, random: &mut Random, operations: usize, tally: &mut Tally) {
    let mut world = World::new(random);
    world.check(&|| format!("{name}, at the start"));
    for number in 0..operations {
        if random.is_over() {
            break;
        }
        let vcpu = if random.percent(70) { 0 } else { 1 };
        let kind = choose(&world, vcpu, random);
        let what = || format!("{name}, operation {number}, {kind:?} on vcpu {vcpu}");
        let mut op = Op::random(kind, &world, random);
        let mut steps = random.pick(&[1, 2, 5, 40, 600, 2000, u32::MAX, u32::MAX]);

        // A partial table may be finished or undone on the way, and what is pending is released first.
        let quiet = !world.any_partial() && world.vcpus[vcpu].pending().is_none();
        let before = quiet.then(|| world.counts());
        let mut end = op.perform(&mut world, vcpu, steps);
        world.check(&what);
        tally.count(kind, end);
        if let (End::Refused(error), Some(before)) = (end, before)
            && may_compare(kind, error)
            && !world.any_partial()
        {
            let changed = world.counts().differing(&before);
            assert!(changed.is_empty(), "{}: refused, yet changed {changed:?}", what());
            tally.compared += 1;
        }
        tally.left_pending += u64::from(world.vcpus[vcpu].pending().is_some());
        if end == End::Again {
            if random.percent(50) {
                tally.abandoned += 1;
                continue;
            }
            let mut times = 0;
            while end == End::Again {
                steps = steps.saturating_mul(2).max(steps);
                end = op.perform(&mut world, vcpu, steps);
                world.check(&what);
                times += 1;
                assert!(times < 100, "{} does not end", what());
            }
            tally.resumed += 1;
        }
    }
    world.tear_down(random, &|| format!("{name}, at the end"));
    FakeMachine::recycle(world.frames);
}

/// Whether a refusal must leave every count as it was. A batch has done what came before the refusal, and
/// `update_va_mapping` changes the entry before it finds that it can't read the vcpus to flush.
fn may_compare(kind: Kind, error: Errno) -> bool {
    let flush = matches!(kind, Kind::UpdateVa | Kind::UpdateVaOther) && error == Errno::EFAULT;
    kind != Kind::Batch && !flush
}
