//! What a learner predicts, and what is right about it: from texts and counts to lines of the report.

use paravane_tests::compare::operations::Machine;
use std::collections::BTreeMap;

/// The operations of the lab, in the order of the form.
pub const OPERATIONS: [&str; 6] =
    ["null-syscall", "cpuid", "cr-read", "pte-write", "user-page-fault", "fork-wait"];

/// The machines of the lab.
pub const MACHINES: [Machine; 4] = [Machine::Native, Machine::PvRing1, Machine::PvRing3, Machine::Trap];

/// How many words a reason has at least, and an explanation.
const REASON: usize = 8;
const BECAUSE: usize = 12;

/// Counts by operation and machine: instructions, and entries into the hypervisor.
pub type Counts = BTreeMap<(String, Machine), (u64, u64)>;

/// Sections of `key = value` lines.
pub type Sections = BTreeMap<String, BTreeMap<String, String>>;

/// Reads a form: `[section]`, `key = value`; what follows `#` is a remark.
pub fn sections(text: &str) -> Sections {
    let mut sections = Sections::new();
    let mut name = String::new();
    for line in text.lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            name = section.trim().to_owned();
            sections.entry(name.clone()).or_default();
        } else if let Some((key, value)) = line.split_once('=') {
            let section = sections.entry(name.clone()).or_default();
            section.insert(key.trim().to_owned(), value.trim().to_owned());
        }
    }
    sections
}

/// What was predicted of an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The operation.
    pub operation: &'static str,
    /// The machines, from the fewest instructions to the most.
    pub order: [Machine; 4],
    /// Instructions on `trap` for each one on `native`.
    pub factor: f64,
    /// Entries into the hypervisor on `pv-ring1`.
    pub entries: u64,
}

/// Reads a prediction. The error has a line for all that is missing.
pub fn predictions(text: &str) -> Result<Vec<Prediction>, String> {
    let sections = sections(text);
    let mut wrong = Vec::new();
    let mut found = Vec::new();
    let mut reasons: BTreeMap<&str, &str> = BTreeMap::new();
    let empty = BTreeMap::new();
    for operation in OPERATIONS {
        let section = sections.get(operation).unwrap_or(&empty);
        let value = |key: &str| section.get(key).map_or("", String::as_str);
        let order = order(value("order"));
        let factor = value("trap-over-native").parse().ok().filter(|it: &f64| it.is_finite() && *it > 0.0);
        let entries = value("entries-on-pv-ring1").parse().ok();
        let mut miss = |key: &str, wanted: &str| {
            wrong.push(format!("{operation}: {key}: expected {wanted}, saw `{}`", value(key)));
        };
        if order.is_none() {
            miss("order", "the four machines, each once, with < between them");
        }
        if factor.is_none() {
            miss("trap-over-native", "a positive number");
        }
        if entries.is_none() {
            miss("entries-on-pv-ring1", "a whole number");
        }
        let reason = value("reason");
        if words(reason) < REASON {
            miss("reason", &format!("at least {REASON} words"));
        } else if let Some(other) = reasons.insert(reason, operation) {
            miss("reason", &format!("one of its own, not that of {other}"));
        }
        if let (Some(order), Some(factor), Some(entries)) = (order, factor, entries) {
            found.push(Prediction { operation, order, factor, entries });
        }
    }
    if wrong.is_empty() { Ok(found) } else { Err(wrong.join("\n")) }
}

/// Different words, so that one word written often is no reason.
fn words(text: &str) -> usize {
    text.split_whitespace().collect::<std::collections::BTreeSet<_>>().len()
}

fn order(text: &str) -> Option<[Machine; 4]> {
    let named: Option<Vec<Machine>> = text.split('<').map(|name| Machine::named(name.trim())).collect();
    let order: [Machine; 4] = named?.try_into().ok()?;
    MACHINES.iter().all(|machine| order.contains(machine)).then_some(order)
}

fn count(counts: &Counts, operation: &str, machine: Machine) -> u64 {
    counts.get(&(operation.to_owned(), machine)).map_or(0, |(instructions, _)| *instructions)
}

impl Prediction {
    /// Neighbours or not, pairs that were counted the other way round: predicted less, predicted more.
    pub fn wrong_pairs(&self, counts: &Counts) -> Vec<(Machine, Machine)> {
        let mut pairs = Vec::new();
        for (at, &less) in self.order.iter().enumerate() {
            let more = self.order[at + 1..].iter().copied();
            let is_wrong =
                |more: &Machine| count(counts, self.operation, less) > count(counts, self.operation, *more);
            pairs.extend(more.filter(is_wrong).map(|more| (less, more)));
        }
        pairs
    }

    /// The factor that was counted.
    pub fn counted_factor(&self, counts: &Counts) -> f64 {
        let [native, trap] =
            [Machine::Native, Machine::Trap].map(|it| count(counts, self.operation, it) as f64);
        trap / native.max(1.0)
    }

    /// By how much the factor was missed, 1 being not at all.
    pub fn miss(&self, counts: &Counts) -> f64 {
        let ratio = self.factor / self.counted_factor(counts).max(f64::MIN_POSITIVE);
        ratio.max(1.0 / ratio)
    }
}

/// Whether enough orders are right: half of them, for who thinks about each gets more and who guesses fewer.
pub fn orders(predictions: &[Prediction], counts: &Counts) -> Result<(), String> {
    let right = predictions.iter().filter(|it| it.wrong_pairs(counts).is_empty()).count();
    if right * 2 >= predictions.len() {
        return Ok(());
    }
    Err(format!("expected at least {} right orders, saw {right}", predictions.len().div_ceil(2)))
}

/// What has to be explained: operations whose order was wrong, and the one whose factor was missed the most.
pub fn to_explain(predictions: &[Prediction], counts: &Counts) -> Vec<(Prediction, Vec<(Machine, Machine)>)> {
    let largest = predictions.iter().max_by(|a, b| a.miss(counts).total_cmp(&b.miss(counts)));
    let is_largest = |it: &Prediction| largest.is_some_and(|largest| largest.operation == it.operation);
    let all = predictions.iter().map(|it| (it.clone(), it.wrong_pairs(counts)));
    all.filter(|(it, pairs)| !pairs.is_empty() || is_largest(it)).collect()
}

/// Whether each miss is explained, by two counts that were counted and a text.
pub fn explained(text: &str, predictions: &[Prediction], counts: &Counts) -> Result<(), String> {
    let sections = sections(text);
    let mut wrong = Vec::new();
    for (prediction, pairs) in to_explain(predictions, counts) {
        let operation = prediction.operation;
        let Some(section) = sections.get(operation) else {
            wrong.push(format!("expected a section [{operation}], saw none"));
            continue;
        };
        let mut cited = Vec::new();
        for machine in MACHINES {
            let Some(value) = section.get(machine.name()).filter(|value| !value.is_empty()) else { continue };
            let counted = count(counts, operation, machine);
            if value.parse() == Ok(counted) {
                cited.push(machine);
            } else {
                wrong.push(format!("{operation} on {}: expected {counted}, saw `{value}`", machine.name()));
            }
        }
        let needed = if pairs.is_empty() { vec![(Machine::Native, Machine::Trap)] } else { pairs };
        if !needed.iter().any(|(a, b)| cited.contains(a) && cited.contains(b)) {
            let pairs: Vec<String> =
                needed.iter().map(|(a, b)| format!("{} and {}", a.name(), b.name())).collect();
            wrong.push(format!("{operation}: expected the counts of {}", pairs.join(", or of ")));
        }
        let because = section.get("because").map_or("", String::as_str);
        if words(because) < BECAUSE {
            wrong.push(format!("{operation}: because: expected at least {BECAUSE} words, saw `{because}`"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// A form for the explanations that are wanted.
pub fn blank_explanation(predictions: &[Prediction], counts: &Counts) -> String {
    let mut text = String::from(
        "# What you did not expect. For each section: the counts of two machines that show it, and why it is so,\n\
         # in your own words, from a trace or the code. LAB.md says more.\n",
    );
    for (prediction, pairs) in to_explain(predictions, counts) {
        let (a, b) = pairs.first().copied().unwrap_or((Machine::Native, Machine::Trap));
        let operation = prediction.operation;
        text.push_str(&format!("\n[{operation}]\n{} = \n{} = \nbecause = \n", a.name(), b.name()));
    }
    text
}
