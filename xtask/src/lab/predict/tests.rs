use super::*;
use std::collections::BTreeMap;

/// As they were counted once.
const COUNTS: [(&str, [u64; 4]); 6] = [
    ("null-syscall", [40, 42, 1647, 5660]),
    ("cpuid", [19, 1159, 1150, 19]),
    ("cr-read", [1, 1351, 1342, 3351]),
    ("pte-write", [37, 1379, 1467, 5687]),
    ("user-page-fault", [1244, 3416, 4394, 29_525]),
    ("fork-wait", [56_948, 248_436, 294_402, 10_134_109]),
];

fn counts() -> Counts {
    let mut counts = BTreeMap::new();
    for (operation, row) in COUNTS {
        for (machine, count) in MACHINES.into_iter().zip(row) {
            counts.insert((operation.to_owned(), machine), (count, 1));
        }
    }
    counts
}

fn file(name: &str) -> String {
    let root = paravane_tests::source::root().join("labs");
    std::fs::read_to_string(root.join(name)).unwrap()
}

fn predicted() -> Vec<Prediction> {
    form::predictions(&file("solutions/4-predict-then-measure/prediction.txt")).unwrap()
}

#[test]
fn a_blank_form_is_no_prediction() {
    let wrong = form::predictions(&file("4-predict-then-measure/skeleton/prediction.txt")).unwrap_err();
    assert_eq!(wrong.lines().count(), 4 * OPERATIONS.len(), "{wrong}");
}

#[test]
fn half_a_prediction_is_none() {
    let good = file("solutions/4-predict-then-measure/prediction.txt");
    for (from, to, wrong) in [
        ("native < pv-ring1 < pv-ring3 < trap", "native < pv-ring1 < trap", "the four machines"),
        ("native < pv-ring1 < pv-ring3 < trap", "native < native < pv-ring3 < trap", "the four machines"),
        ("trap-over-native = ", "trap-over-native = -", "a positive number"),
        ("entries-on-pv-ring1 = ", "entries-on-pv-ring1 = many", "a whole number"),
        ("reason = ", "reason = so so so so so so so so so so #", "at least 8 words"),
    ] {
        assert!(good.contains(from), "{from}");
        let error = form::predictions(&good.replacen(from, to, 1)).unwrap_err();
        assert!(error.contains(wrong), "{to}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn orders_are_held_against_the_counts() {
    let predictions = predicted();
    form::orders(&predictions, &counts()).unwrap();
    let mut reversed = predictions.clone();
    reversed.iter_mut().for_each(|prediction| prediction.order.reverse());
    assert!(form::orders(&reversed, &counts()).unwrap_err().contains("saw 0"));
    // Equal counts stand in either order.
    let mut tied = predictions[1].clone();
    tied.order = [Machine::Trap, Machine::Native, Machine::PvRing3, Machine::PvRing1];
    assert_eq!(tied.wrong_pairs(&counts()), []);
    tied.order = [Machine::Native, Machine::Trap, Machine::PvRing3, Machine::PvRing1];
    assert_eq!(tied.wrong_pairs(&counts()), []);
}

#[test]
fn misses_are_explained_by_what_was_counted() {
    let (predictions, counts) = (predicted(), counts());
    let text = fill(&file("solutions/4-predict-then-measure/explanation.txt"), &counts);
    form::explained(&text, &predictions, &counts).unwrap();
    let blank = form::blank_explanation(&predictions, &counts);
    let missed = form::to_explain(&predictions, &counts);
    assert!(!missed.is_empty() && missed.len() < predictions.len(), "some are missed: {missed:?}");
    assert!(missed.iter().all(|(it, _)| blank.contains(&format!("[{}]", it.operation))), "{blank}");
    assert!(form::explained(&blank, &predictions, &counts).is_err());
    // Another number, one that is not there, too few words, another operation's.
    let least = blank.replace("because = ", "because = of a b c d e f g h i j k");
    let least = fill(&least.replace(" = \n", " = @\n"), &counts);
    form::explained(&least, &predictions, &counts).unwrap();
    let count = least.lines().find(|line| line.starts_with("pv-ring1 = ")).unwrap();
    for (from, to, wrong) in [
        (count, "pv-ring1 = 7", "expected"),
        (count, "", "expected the counts of"),
        ("of a b c", "so so so", "at least 12 words"),
        (&format!("[{}]", missed[0].0.operation), "[tea]", "saw none"),
    ] {
        assert!(least.contains(from), "{from} in {least}");
        let error = form::explained(&least.replacen(from, to, 1), &predictions, &counts).unwrap_err();
        assert!(error.contains(wrong), "{from}: {error}");
    }
}

#[test]
fn counts_belong_to_a_seal() {
    let counted: Vec<String> = counts()
        .iter()
        .map(|((operation, machine), (count, entries))| {
            format!("{operation} {} {count} {entries}\n", machine.name())
        })
        .collect();
    let text = format!("seal\n{}", counted.concat());
    assert_eq!(parse(&text, "seal"), Some(counts()));
    assert_eq!(parse(&text, "another"), None);
    assert_eq!(parse(&format!("seal\n{}", counted[1..].concat()), "seal"), None, "a cell is missing");
}
