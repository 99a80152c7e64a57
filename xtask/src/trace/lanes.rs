//! A timeline for a terminal: three lanes side by side, time going down, a line for each stretch.

use super::fold::{Run, runs};
use crate::number::grouped;
use paravane_tests::trace::timeline::{Lane, Segment, Timeline};
use std::fmt::Write;

/// Lines that are shown of a long timeline: so many of its beginning, and of its end.
const SHOWN: (usize, usize) = (36, 12);

/// Reasons of entries that are named; the rest is counted.
const REASONS: usize = 12;

/// How a timeline is to be shown.
#[derive(Clone, Copy, Debug)]
pub struct View {
    /// Columns that there are; `None` where lines may be of any length.
    pub width: Option<usize>,
    /// Whether lanes are coloured.
    pub colour: bool,
    /// Whether all of it is shown, however long.
    pub all: bool,
}

/// The timeline as text, with its sums first.
pub fn of(timeline: &Timeline, view: View) -> String {
    let runs = runs(&timeline.segments);
    let lane_width = runs
        .iter()
        .flat_map(|run| {
            (0..run.period).map(|place| counts(run.at(&timeline.segments, place)).chars().count() + 5)
        })
        .fold(14, usize::max);
    let page = Page { segments: &timeline.segments, view, lane_width };
    let (head, tail) = if view.all { (runs.len(), 0) } else { ends(&runs) };
    let mut text = sums(timeline);
    page.header(&mut text);
    runs[..head].iter().for_each(|run| page.run(&mut text, run));
    let hidden = &runs[head..runs.len() - tail];
    if let (Some(first), Some(last)) = (hidden.first(), hidden.last()) {
        let hidden = &timeline.segments[first.start..last.end()];
        let instructions: u64 = hidden.iter().map(|segment| segment.instructions).sum();
        let line = format!(
            "  ⋮ {} more stretches, {} instructions: --all shows them",
            grouped(hidden.len() as u64),
            grouped(instructions)
        );
        page.line(&mut text, &line);
    }
    runs[runs.len() - tail..].iter().for_each(|run| page.run(&mut text, run));
    text
}

/// How many runs are shown of the beginning and of the end.
fn ends(runs: &[Run]) -> (usize, usize) {
    let fit = |runs: &mut dyn Iterator<Item = &Run>, lines: usize| {
        let mut sum = 0;
        runs.take_while(|run| {
            sum += height(run);
            sum <= lines
        })
        .count()
    };
    if runs.iter().map(height).sum::<usize>() <= SHOWN.0 + SHOWN.1 {
        return (runs.len(), 0);
    }
    let head = fit(&mut runs.iter(), SHOWN.0);
    (head, fit(&mut runs[head..].iter().rev(), SHOWN.1))
}

fn height(run: &Run) -> usize {
    run.period + usize::from(run.times > 1)
}

/// What the whole costs: a line for what ran, one for what it made the processor do.
fn sums(timeline: &Timeline) -> String {
    let lanes = Lane::ALL.map(|lane| {
        let of_lane = timeline.segments.iter().filter(|segment| segment.lane == lane);
        format!("{} {}", lane.name(), grouped(of_lane.map(|segment| segment.instructions).sum()))
    });
    let entries = timeline.entries();
    let mut reasons: Vec<(&String, &u64)> = entries.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let others = reasons.split_off(reasons.len().min(REASONS)).len();
    let mut reasons: Vec<String> =
        reasons.iter().map(|(reason, count)| format!("{} {reason}", grouped(**count))).collect();
    if others > 0 {
        reasons.push(format!("and of {others} more reasons"));
    }
    let reasons = if reasons.is_empty() { String::new() } else { format!(" ({})", reasons.join(", ")) };
    format!(
        "{} on {}: {} instructions ({})\nentries into the hypervisor: {}{reasons}; CR3 loads: {}; flushes: {}\n\n",
        timeline.operation,
        timeline.machine.name(),
        grouped(timeline.instructions()),
        lanes.join(", "),
        grouped(entries.values().sum()),
        grouped(timeline.cr3_loads()),
        grouped(timeline.flushes()),
    )
}

/// Instructions of each of these: one number if they agree, else the least and the most.
fn counts<'a>(segments: impl Iterator<Item = &'a Segment> + Clone) -> String {
    let each = segments.map(|segment| segment.instructions);
    let (least, most) = (each.clone().min().unwrap_or_default(), each.max().unwrap_or_default());
    if least == most { grouped(least) } else { format!("{}..{}", grouped(least), grouped(most)) }
}

/// What the lines of one timeline have in common.
struct Page<'a> {
    segments: &'a [Segment],
    view: View,
    lane_width: usize,
}

impl Page<'_> {
    fn header(&self, text: &mut String) {
        let mut line = "  ".to_owned();
        for lane in Lane::ALL {
            line += &self.painted(lane, &format!("{:<1$}", lane.name(), self.lane_width));
        }
        self.line(text, &(line + "why, and where"));
    }

    fn run(&self, text: &mut String, run: &Run) {
        for place in 0..run.period {
            let gutter = match (run.times, place) {
                (1, _) => "  ",
                (_, 0) => "┌ ",
                _ => "│ ",
            };
            let lanes = self.lanes(run, place);
            self.line(text, format!("{gutter}{lanes}{}", about(run, self.segments, place)).trim_end());
        }
        if run.times > 1 {
            let all = &self.segments[run.start..run.end()];
            let instructions: u64 = all.iter().map(|segment| segment.instructions).sum();
            let times = grouped(run.times as u64);
            self.line(text, &format!("└ × {times}: {} instructions in all", grouped(instructions)));
        }
    }

    /// The three lanes of a line: the count in its own, an arrow from where control came.
    fn lanes(&self, run: &Run, place: usize) -> String {
        let index = run.start + place;
        let lane = self.segments[index].lane;
        let from = index.checked_sub(1).map_or(lane, |before| self.segments[before].lane);
        let bar = if from == lane && index > 0 { "┣" } else { "┃" };
        let own = format!("{bar} {}", counts(run.at(self.segments, place)));
        let (start, origin) = (lane as usize * self.lane_width, from as usize * self.lane_width);
        let length = own.chars().count();
        let before = if origin < start {
            format!("{}╰{}▶", " ".repeat(origin), "─".repeat(start - origin - 2))
        } else {
            " ".repeat(start)
        };
        let after = if origin > start + length + 1 {
            format!(" ◀{}╯", "─".repeat(origin - start - length - 2))
        } else {
            String::new()
        };
        let used = start + length + after.chars().count();
        let rest = " ".repeat((3 * self.lane_width).saturating_sub(used));
        format!("{before}{}{after}{rest}", self.painted(lane, &own))
    }

    fn painted(&self, lane: Lane, text: &str) -> String {
        // Blue, yellow, green: as in the book's pictures of rings.
        let colour = match lane {
            Lane::User => 34,
            Lane::Kernel => 33,
            Lane::Hypervisor => 32,
        };
        if self.view.colour { format!("\x1b[1;{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Adds a line, cut to the terminal's width; codes for colours take no column.
    fn line(&self, text: &mut String, line: &str) {
        let width = self.view.width.unwrap_or(usize::MAX);
        let mut coded = false;
        let columns = |letter: char| {
            let counts = !coded && letter != '\x1b';
            coded = (coded || letter == '\x1b') && letter != 'm';
            usize::from(counts)
        };
        let columns: Vec<usize> = line.chars().map(columns).collect();
        if columns.iter().sum::<usize>() <= width {
            text.push_str(line);
        } else {
            let mut left = width.saturating_sub(1);
            let kept = line.chars().zip(columns).take_while(|(_, columns)| {
                let fits = *columns <= left;
                left = left.saturating_sub(*columns);
                fits
            });
            text.extend(kept.map(|(letter, _)| letter));
            text.push('…');
        }
        text.push('\n');
    }
}

/// Why a stretch began, and what is known of it.
fn about(run: &Run, segments: &[Segment], place: usize) -> String {
    let all = run.at(segments, place);
    let first = &segments[run.start + place];
    let detail = first.detail.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut text = first.reason.clone();
    if all.clone().all(|segment| segment.detail == first.detail) {
        if !detail.is_empty() {
            _ = write!(text, " ({detail})");
        }
    } else {
        _ = write!(text, " ({detail}, and others)");
    }
    if !first.function.is_empty() {
        _ = write!(text, " in {}", first.function);
    }
    for (name, many, of) in
        [("CR3 load", "s", (|s| s.cr3_loads) as fn(&Segment) -> u64), ("flush", "es", |s| s.flushes)]
    {
        let (least, most) = (all.clone().map(of).min(), all.clone().map(of).max());
        match (least.unwrap_or_default(), most.unwrap_or_default()) {
            (0, 0) => {}
            (1, 1) => _ = write!(text, ", 1 {name}"),
            (least, most) if least == most => _ = write!(text, ", {least} {name}{many}"),
            (least, most) => _ = write!(text, ", {least} to {most} {name}{many}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::samples::{kernel, many_faults, monitor, segment, system_call};
    use paravane_tests::compare::operations::Machine;

    const PLAIN: View = View { width: None, colour: false, all: false };

    #[test]
    fn a_short_timeline_is_shown_as_it_is() {
        let wanted = "\
null-syscall on pv-ring3: 1,562 instructions (user 5, kernel 31, hypervisor 1,526)
entries into the hypervisor: 2 (1 hypercall iret, 1 syscall); CR3 loads: 4; flushes: 0

  user          kernel        hypervisor    why, and where
  ┃ 3                                       begins
  ╰──────────────────────────▶┃ 700         syscall (from 0x40_1000) in bounce, 2 CR3 loads
                ┃ 31 ◀────────╯             iretq
                ╰────────────▶┃ 826         hypercall iret, 2 CR3 loads
  ┃ 2 ◀───────────────────────╯             iretq
";
        let text = of(&system_call(), PLAIN);
        assert_eq!(text, wanted, "\n{text}");
    }

    #[test]
    fn a_loop_is_shown_once() {
        let wanted = "\
pte-write-batch on trap: 1,507,505 instructions (user 0, kernel 6,005, hypervisor 1,501,500)
entries into the hypervisor: 1,500 (1,500 #PF); CR3 loads: 3,000; flushes: 1,500

  user             kernel           hypervisor       why, and where
                   ┃ 5                               begins
┌                  ╰───────────────▶┃ 1,000..1,002   #PF (write to 0xffff880000100000, and others) in page_fault, 2 CR3 loads, 1 flush
│                  ┃ 4 ◀────────────╯                iretq
└ × 1,500: 1,507,500 instructions in all
";
        let text = of(&many_faults(1500), PLAIN);
        assert_eq!(text, wanted, "\n{text}");
    }

    #[test]
    fn a_long_timeline_is_cut_unless_all_is_wanted() {
        // Reasons that repeat nowhere.
        let segments = (0..3000)
            .map(|n| if n % 2 == 0 { kernel(&format!("to {n}"), n) } else { monitor(&format!("by {n}"), n) });
        let timeline =
            Timeline { operation: "shell-script", machine: Machine::Trap, segments: segments.collect() };
        let text = of(&timeline, PLAIN);
        assert!(text.contains("1 by 1, ") && text.contains(" and of 1488 more reasons"), "{text}");
        assert_eq!(text.lines().count(), 4 + SHOWN.0 + SHOWN.1 + 1, "{text}");
        assert!(text.contains("⋮ 2,952 more stretches, 4,461,948 instructions: --all shows them"), "{text}");
        assert!(text.lines().last().is_some_and(|line| line.contains("by 2999")), "{text}");
        let all = of(&timeline, View { all: true, ..PLAIN });
        assert_eq!(all.lines().count(), 4 + 3000);
    }

    #[test]
    fn lines_fit_the_terminal() {
        let timeline = many_faults(3);
        for colour in [false, true] {
            let text = of(&timeline, View { width: Some(70), colour, all: false });
            assert_eq!(text.contains('\x1b'), colour);
            for line in text.lines().skip(3) {
                let mut shown = line.to_owned();
                while let (Some(from), true) = (shown.find('\x1b'), colour) {
                    let to = from + shown[from..].find('m').unwrap();
                    shown.replace_range(from..=to, "");
                }
                assert!(shown.chars().count() <= 70, "{line:?}");
            }
        }
    }

    #[test]
    fn an_exception_in_the_hypervisor_stays_in_its_lane() {
        let segments =
            vec![segment(Lane::Hypervisor, "begins", 1), monitor("#PF", 20), segment(Lane::User, "iretq", 7)];
        let text = of(&Timeline { operation: "in", machine: Machine::PvRing1, segments }, PLAIN);
        assert!(text.contains("┣ 20 "), "{text}");
        assert!(text.contains("\n  ┃ 7 ◀"), "{text}");
    }
}
