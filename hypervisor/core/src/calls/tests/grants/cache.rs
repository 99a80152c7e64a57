//! Cache flushes: who may ask for what.

use super::*;
use paravane_abi::errno::Errno;

const BOTH: u32 = GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_INVAL;

fn flush(lending: &mut Lending, frame: Mfn, part: (u16, u16), op: u32) -> i64 {
    let (offset, length) = part;
    lending.world.put(ARG, &GnttabCacheFlush { a: frame.address() + 123, offset, length, op });
    lending.op(GNTTABOP_CACHE_FLUSH, 1)
}

#[test]
fn ones_own_frames_and_those_in_use() {
    let mut lending = Lending::new(1);
    let (own, lent) = (lending.frame(1, 0), lending.frame(0, 0));
    for op in [GNTTAB_CACHE_CLEAN, BOTH, 0] {
        assert_eq!(flush(&mut lending, own, (0, 4096), op), 0, "{op}");
    }
    assert_eq!(flush(&mut lending, own, (0, 1), GNTTAB_CACHE_INVAL), Errno::EOPNOTSUPP.to_ret());
    assert_eq!(flush(&mut lending, lent, (0, 1), BOTH), Errno::EINVAL.to_ret(), "not in use");
    lending.lend(9, 0, lent);
    assert_eq!(flush(&mut lending, lent, (0, 1), BOTH), Errno::EINVAL.to_ret(), "not mapped");
    lending.mapped(HOST | READ, 9, WINDOW);
    assert_eq!(flush(&mut lending, lent, (0, 1), BOTH), 0);
    lending.world.act_as(2);
    assert_eq!(flush(&mut lending, lent, (0, 1), BOTH), Errno::EINVAL.to_ret(), "another has it mapped");
}

#[test]
fn requests_that_are_wrong() {
    let mut lending = Lending::new(1);
    let own = lending.frame(1, 0);
    let free = lending.world.hv.frames.free_list().next().unwrap();
    let past_end = Mfn::new(lending.world.hv.frames.len() as u64);
    let cases = [
        (own, (4096, 0), BOTH, Errno::EINVAL),
        (own, (0, 4097), BOTH, Errno::EINVAL),
        (own, (1, 4096), BOTH, Errno::EINVAL),
        (own, (0, 1), 4, Errno::EINVAL),
        (own, (0, 1), GNTTAB_CACHE_SOURCE_GREF | BOTH, Errno::EINVAL),
        (past_end, (0, 1), BOTH, Errno::EINVAL),
        (free, (0, 1), BOTH, Errno::EPERM),
        (Mfn::new(0), (0, 1), BOTH, Errno::EPERM),
    ];
    for (frame, part, op, error) in cases {
        assert_eq!(flush(&mut lending, frame, part, op), error.to_ret(), "{frame} {part:?} {op:#x}");
    }
    assert_eq!(flush(&mut lending, past_end, (0, 0), BOTH), 0, "nothing asked");
}

#[test]
fn the_search_goes_on_where_it_stopped() {
    let mut lending = Lending { world: World::with_spare_frames(3, 64 + 16 * 5) };
    lending.world.act_as(0);
    let request = GnttabSetupTable { dom: 1, nr_frames: 16, frame_list: LIST, ..Default::default() };
    assert_eq!(lending.one(GNTTABOP_SETUP_TABLE, &request).status, GNTST_OKAY);
    let lent = lending.frame(0, 0);
    lending.write(0, 8000, (GTF_PERMIT_ACCESS, 2), 0, lent.get());
    lending.world.act_as(1);
    lending.mapped(HOST | READ, 8000, WINDOW);
    let request = GnttabCacheFlush { a: lent.address(), offset: 0, length: 1, op: BOTH };
    lending.world.put(ARG, &[request; 4]);
    let before = lending.world.preempted;
    assert_eq!(lending.op(GNTTABOP_CACHE_FLUSH, 4), 0);
    assert!(lending.world.preempted > before + 1);
    // A guest may say where to go on, and finds nothing past it.
    lending.world.put(ARG, &request);
    assert_eq!(lending.op(GNTTABOP_CACHE_FLUSH | 0x1000, 1), 0);
    assert_eq!(lending.op(GNTTABOP_CACHE_FLUSH | 0x2000, 1), Errno::EINVAL.to_ret());
    assert_eq!(lending.op(GNTTABOP_CACHE_FLUSH | 0xffff_f000, 1), Errno::EINVAL.to_ret());
    lending.world.put(ARG, &GnttabCacheFlush { op: 0, ..request });
    assert_eq!(lending.op(GNTTABOP_CACHE_FLUSH | 0x1000, 1), Errno::EILSEQ.to_ret());
}
