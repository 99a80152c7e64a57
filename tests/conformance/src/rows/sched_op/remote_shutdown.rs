//! `SCHEDOP_remote_shutdown` (sched.h, `struct sched_remote_shutdown`): ends another domain, as those may that serve it. The domain is
//! named by its number alone.
//!
//! Refused: a struct that cannot be read (`EFAULT`), a domain that there is not (`ESRCH`), any other from one without privileges,
//! even itself (`EPERM`).

use paravane_abi::errno::Errno;
use paravane_abi::mmu::DOMID_SELF;
use paravane_abi::sched::{SCHEDOP_REMOTE_SHUTDOWN, SHUTDOWN_POWEROFF, SchedRemoteShutdown};

use super::{call, needs_no_privilege, unreadable};
use crate::case::{Case, Role, Row, Verdict};
use crate::pair::{meet, peer};
use crate::rows::event_channel_op::{NOBODY, own_number};
use crate::trial::Trial;

/// The row.
pub const ROW: Row = Row::operation(
    "sched_op",
    "remote_shutdown",
    &[
        Case::refusal("no-domain", "domains that there are not, and oneself by the alias", no_domain),
        Case::refusal("oneself", "oneself by number", oneself),
        Case::refusal("peer", "another domain", another).role(Role::Pair),
        Case::refusal("pointers", "structs that cannot be read", |t| {
            unreadable(t, SCHEDOP_REMOTE_SHUTDOWN);
            Ok(())
        }),
    ],
);

fn end(domain_id: u16) -> i64 {
    let request = SchedRemoteShutdown { domain_id, pad: 0, reason: SHUTDOWN_POWEROFF };
    call(SCHEDOP_REMOTE_SHUTDOWN, &raw const request as u64)
}

fn no_domain(t: &mut Trial) -> Verdict {
    for (name, domain) in [("nobody", NOBODY), ("self", DOMID_SELF)] {
        t.refused(name, Errno::ESRCH, || end(domain));
    }
    Ok(())
}

fn oneself(t: &mut Trial) -> Verdict {
    needs_no_privilege()?;
    let own = own_number()?;
    t.refused("end", Errno::EPERM, || end(own));
    Ok(())
}

fn another(t: &mut Trial) -> Verdict {
    t.refused("end", Errno::EPERM, || end(peer()));
    // Whoever ends lets go of what it has mapped, which the other would see.
    meet(t.side())
}
