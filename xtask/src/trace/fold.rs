//! Finds what repeats in a timeline, so that a loop of a thousand turns is shown once.

use paravane_tests::trace::timeline::Segment;
use std::collections::BTreeMap;

/// Longest turn of a loop that is looked for, in segments.
const MAX_PERIOD: usize = 24;

/// Fewest segments that folding must spare a reader to be worth the line that tells of it.
const WORTH: usize = 2;

/// Some segments in order: `period` of them, `times` times over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub start: usize,
    /// Segments of one turn.
    pub period: usize,
    /// Turns; 1 where nothing repeats.
    pub times: usize,
}

impl Run {
    /// The segment after the last.
    pub const fn end(&self) -> usize {
        self.start + self.period * self.times
    }

    /// The segments that stand at one place of each turn.
    pub fn at<'a>(&self, segments: &'a [Segment], place: usize) -> impl Iterator<Item = &'a Segment> + Clone {
        segments[self.start + place..self.end()].iter().step_by(self.period)
    }
}

/// All segments, in runs. Segments are the same here if they have lane, reason and function in common: a loop's turns differ
/// in the addresses that they touch, and by a few instructions.
pub fn runs(segments: &[Segment]) -> Vec<Run> {
    let kinds = kinds(segments);
    let repeats: Vec<Vec<usize>> = (1..=MAX_PERIOD).map(|period| repeats(&kinds, period)).collect();
    let mut runs = Vec::new();
    let mut start = 0;
    while start < segments.len() {
        let mut best = Run { start, period: 1, times: 1 };
        let mut spared = WORTH - 1;
        for (period, repeats) in (1..).zip(&repeats) {
            let turns = repeats[start] / period;
            if turns * period > spared {
                (best, spared) = (Run { start, period, times: turns + 1 }, turns * period);
            }
        }
        start = best.end();
        runs.push(best);
    }
    runs
}

/// A number for each segment, equal where they are the same.
fn kinds(segments: &[Segment]) -> Vec<usize> {
    let mut known = BTreeMap::new();
    let kind = |segment: &Segment| {
        let Segment { lane, reason, function, .. } = segment;
        let next = known.len();
        *known.entry((*lane, reason.clone(), function.clone())).or_insert(next)
    };
    segments.iter().map(kind).collect()
}

/// For each place, how many from there on are equal to what comes a period later.
fn repeats(kinds: &[usize], period: usize) -> Vec<usize> {
    let mut repeats = vec![0; kinds.len()];
    for place in (0..kinds.len().saturating_sub(period)).rev() {
        if kinds[place] == kinds[place + period] {
            repeats[place] = repeats[place + 1] + 1;
        }
    }
    repeats
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::samples::{kernel, monitor};

    fn spelled(text: &str) -> Vec<(usize, usize)> {
        let segments: Vec<Segment> = text
            .chars()
            .map(|letter| {
                if letter.is_lowercase() {
                    kernel(&letter.to_string(), 1)
                } else {
                    monitor(&letter.to_string(), 9)
                }
            })
            .collect();
        let runs = runs(&segments);
        assert_eq!(runs.iter().map(|run| run.period * run.times).sum::<usize>(), segments.len());
        runs.iter().map(|run| (run.period, run.times)).collect()
    }

    #[test]
    fn what_repeats_is_found() {
        assert_eq!(spelled(""), []);
        assert_eq!(spelled("aB"), [(1, 1), (1, 1)]);
        assert_eq!(spelled("aBaBaBc"), [(2, 3), (1, 1)]);
        assert_eq!(spelled("xaBaBaB"), [(1, 1), (2, 3)]);
        // A turn of two is told in fewer words than two of one.
        assert_eq!(spelled("AA"), [(1, 1), (1, 1)]);
        assert_eq!(spelled("AAA"), [(1, 3)]);
        assert_eq!(spelled("aBcDeaBcDe"), [(5, 2)]);
    }

    #[test]
    fn the_longest_stretch_wins_and_then_the_shortest_turn() {
        // Four of period 2, not two of period 4.
        assert_eq!(spelled("aBaBaBaB"), [(2, 4)]);
        // A loop whose turn holds a small repetition of its own.
        assert_eq!(spelled("aBaBcaBaBc"), [(5, 2)]);
        let long = "aB".repeat(1500);
        assert_eq!(spelled(&long), [(2, 1500)]);
    }
}
