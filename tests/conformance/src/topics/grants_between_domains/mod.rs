//! What two domains do with grants (xen/include/public/grant_table.h): one lends, the other maps, copies, and is given.

mod copies;
mod mappings;
mod tables;
mod transfers;

use paravane_abi::grant::GNTST_OKAY;
use pv_probe::grants;

use crate::case::{Row, Stop, Verdict};
use crate::pair::{meet, peer, receive, send};
use crate::rows::grant_table_op::{REFERENCE, clear, drop_page, page};
use crate::trial::Trial;

/// The rows.
pub const ROWS: &[&Row] = &[&mappings::ROW, &copies::ROW, &transfers::ROW, &tables::ROW];

/// What the left lends: its page's address and number. The right gets nothing but the news.
fn lend(t: &mut Trial, content: u64, read_only: bool) -> Result<(u64, u64), Stop> {
    grants::prepare();
    let side = t.side();
    if !side.is_left() {
        return receive(side).map(|_| (0, 0));
    }
    let lent = page(0, content);
    grants::permit(REFERENCE, peer(), lent.1, read_only);
    send(side, 0)?;
    Ok(lent)
}

/// The left takes back what it lent, when the right is done.
fn take_back(t: &mut Trial, address: u64) -> Verdict {
    meet(t.side())?;
    if t.side().is_left() {
        t.holds("taken-back", grants::revoke(REFERENCE));
        clear(REFERENCE);
        drop_page(t, address)?;
    }
    Ok(())
}

/// A mapping of what the left lends: its handle.
fn map(t: &mut Trial, address: u64, flags: u32) -> u32 {
    let mapped = grants::map_reference(peer(), REFERENCE, address, flags);
    t.same("map", mapped.status, GNTST_OKAY);
    mapped.handle
}
