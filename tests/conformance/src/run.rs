//! Runs the cases that the command line asks for.
//!
//! | word | meaning |
//! |---|---|
//! | `role=domU`, `dom0`, `left`, `right`, `fatal` | which cases: of a domain alone, of the first one, of a side of a pair, those that crash; without it `domU` |
//! | `peer=DOMID` | of a pair: the other domain |
//! | `case=ROW/CASE` | that case alone |
//! | `filter=STR` | cases with this in their names |
//! | `after=ROW/CASE` | cases behind that one |
//! | `share=K/N` | rows whose place among all, divided by N, leaves K |

use paravane_abi::sched::SHUTDOWN_POWEROFF;
use pv_probe::boot::option;
use pv_probe::memory::mask_events;
use pv_probe::{guard, hypercall, ring, say};

use crate::case::{Case, FullName, Kind, Role, Row};
use crate::pair::{self, Side};
use crate::trial::Trial;

/// What a domain runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    role: Role,
    fatal: bool,
    side: Side,
}

impl Part {
    fn from_name(name: &str) -> Option<Self> {
        let (role, fatal, side) = match name {
            "domU" => (Role::DomU, false, Side::Alone),
            "fatal" => (Role::DomU, true, Side::Alone),
            "dom0" => (Role::Dom0, false, Side::Alone),
            "left" => (Role::Pair, false, Side::Left),
            "right" => (Role::Pair, false, Side::Right),
            _ => return None,
        };
        Some(Self { role, fatal, side })
    }

    fn has(self, case: &Case) -> bool {
        case.role == self.role && (case.kind == Kind::Fatal) == self.fatal
    }
}

/// Whether a name is written like this.
fn is(name: FullName, text: &str) -> bool {
    struct Rest<'a>(Option<&'a str>);
    impl core::fmt::Write for Rest<'_> {
        fn write_str(&mut self, part: &str) -> core::fmt::Result {
            self.0 = self.0.and_then(|rest| rest.strip_prefix(part));
            Ok(())
        }
    }
    let mut rest = Rest(Some(text));
    // Writing here cannot fail.
    let _ = core::fmt::write(&mut rest, format_args!("{name}"));
    rest.0 == Some("")
}

/// Whether a name has this in it.
fn contains(name: FullName, text: &str) -> bool {
    struct Text {
        bytes: [u8; 160],
        used: usize,
    }
    impl core::fmt::Write for Text {
        fn write_str(&mut self, part: &str) -> core::fmt::Result {
            let end = self.used + part.len();
            self.bytes.get_mut(self.used..end).ok_or(core::fmt::Error)?.copy_from_slice(part.as_bytes());
            self.used = end;
            Ok(())
        }
    }
    let mut whole = Text { bytes: [0; 160], used: 0 };
    let fits = core::fmt::write(&mut whole, format_args!("{name}")).is_ok();
    let whole = core::str::from_utf8(&whole.bytes[..whole.used]).unwrap_or("");
    fits && whole.contains(text)
}

/// The share that `K/N` names: N and K.
fn share(text: &str) -> Option<(usize, usize)> {
    let (k, n) = text.split_once('/')?;
    let (k, n) = (k.parse().ok()?, n.parse().ok()?);
    (n > 0 && k < n).then_some((n, k))
}

/// The cases of a part, with their places among [`crate::all`].
fn chosen(part: Part) -> impl Iterator<Item = (usize, &'static Row, &'static Case)> {
    let (one, filter, after) = (option("case"), option("filter"), option("after"));
    let (n, k) = option("share").and_then(share).unwrap_or((1, 0));
    let first = after.map_or(0, |after| {
        crate::all().position(|(row, case)| is(FullName(row, case), after)).map_or(usize::MAX, |it| it + 1)
    });
    let rows = crate::rows().enumerate();
    let cases = rows.flat_map(|(place, row)| row.cases.iter().map(move |case| (place, row, case)));
    let cases = cases.enumerate().skip(first);
    cases.filter_map(move |(place, (row_place, row, case))| {
        let name = FullName(row, case);
        let wanted = part.has(case)
            && case.rings.why_not(ring::is_1()).is_none()
            && row_place % n == k
            && one.is_none_or(|one| is(name, one))
            && filter.is_none_or(|filter| contains(name, filter));
        wanted.then_some((place, row, case))
    })
}

/// Runs what the command line asks for, and ends the domain.
pub fn main() -> ! {
    let role = option("role").unwrap_or("domU");
    let Some(part) = Part::from_name(role) else { panic!("there is no role {role}") };
    let (mut ran, mut bad) = (0, 0);
    if chosen(part).next().is_some()
        && let Err(stop) = pair::connect(part.side)
    {
        panic!("the sides do not meet: {stop:?}");
    }
    for (place, row, case) in chosen(part) {
        if part.side != Side::Alone
            && let Err(stop) = pair::meet(part.side)
        {
            panic!("the other side is gone: {stop:?}");
        }
        if !Trial::run(place, row, case, part.side) {
            bad += 1;
        }
        // What a case registers, it need not take back.
        guard::initialise();
        mask_events(true);
        ran += 1;
    }
    say!("conformance: end {ran}");
    // The sum by which every kernel of this project ends.
    say!("demo: {} ok, {bad} failed", ran - bad);
    hypercall::shutdown(SHUTDOWN_POWEROFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_and_searched() {
        let (row, case) = crate::all().next().unwrap();
        let name = FullName(row, case);
        let whole = std::format!("{name}");
        assert!(is(name, &whole) && !is(name, &whole[1..]) && !is(name, "") && !is(name, "x"));
        assert!(!is(name, &std::format!("{whole}x")));
        assert!(contains(name, "") && contains(name, &whole[2..5]) && !contains(name, "no such"));
    }

    #[test]
    fn shares_are_read() {
        assert_eq!((share("1/4"), share("4/4"), share("0/0"), share("x")), (Some((4, 1)), None, None, None));
    }

    #[test]
    fn parts_divide_the_cases() {
        let parts = ["domU", "fatal", "dom0", "left"].map(|name| Part::from_name(name).unwrap());
        for (_, case) in crate::all() {
            assert_eq!(parts.iter().filter(|part| part.has(case)).count(), 1, "{}", case.name);
        }
    }

    extern crate std;
}
