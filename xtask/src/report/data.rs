//! What a report is made of, and its form as JSON: in the page for the page's own code, in a file for another time.

use crate::trace::fold;
use anyhow::{Context, Result, bail, ensure};
use paravane_tests::compare::json;
use paravane_tests::compare::operations::{Machine, OPERATIONS, named};
use paravane_tests::compare::rows::Row;
use paravane_tests::trace::timeline::{Lane, Segment, Timeline};
use paravane_tests::walks::{self, Step, Target, Walk};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// What was counted and seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data {
    /// The command that counted.
    pub made: String,
    /// What happened in each cell, in order: all counts are sums of it.
    pub timelines: Vec<Timeline>,
    /// Page-table walks.
    pub walks: Vec<Walk>,
}

impl Data {
    /// As JSON. Of a timeline there are at most so many stretches, and what is left out is told.
    pub fn to_json(&self, most: usize) -> Value {
        let mut words = Words::default();
        let has = |operation: &str| self.timelines.iter().any(|line| line.operation == operation);
        let there = |machine: &Machine| self.timelines.iter().any(|line| line.machine == *machine);
        let operations = OPERATIONS.iter().filter(|operation| has(operation.name)).map(|operation| {
            let absent =
                operation.absent.iter().map(|(machine, why)| (machine.name().to_owned(), json!(why)));
            json!({"name": operation.name, "about": operation.about, "absent": absent.collect::<Map<_, _>>()})
        });
        let timelines: Vec<Value> =
            self.timelines.iter().map(|line| of_timeline(line, most, &mut words)).collect();
        json!({
            "made": self.made,
            "machines": Machine::ALL.iter().filter(|it| there(it)).map(|it| it.name()).collect::<Vec<_>>(),
            "operations": operations.collect::<Vec<_>>(),
            "rows": self.timelines.iter().map(|line| json::value(&Row::from(line))).collect::<Vec<_>>(),
            "timelines": timelines,
            "walks": self.walks.iter().map(of_walk).collect::<Vec<_>>(),
            "words": words.list,
        })
    }

    /// Writes all of it to a file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = format!("{}\n", self.to_json(usize::MAX));
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Reads what [`Data::write`] wrote.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        let value: Value =
            serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
        Self::from_json(&value).with_context(|| format!("{} holds no report's data", path.display()))
    }

    fn from_json(value: &Value) -> Result<Self> {
        let words: Vec<&str> = list(value, "words")?.iter().filter_map(Value::as_str).collect();
        Ok(Self {
            made: text(value, "made")?.to_owned(),
            timelines: list(value, "timelines")?
                .iter()
                .map(|it| timeline(it, &words))
                .collect::<Result<_>>()?,
            walks: list(value, "walks")?.iter().map(walk).collect::<Result<_>>()?,
        })
    }
}

/// Each word once; elsewhere its place in the list.
#[derive(Default)]
struct Words {
    list: Vec<String>,
    places: BTreeMap<String, usize>,
}

impl Words {
    fn place(&mut self, word: &str) -> usize {
        if let Some(place) = self.places.get(word) {
            return *place;
        }
        self.list.push(word.to_owned());
        self.places.insert(word.to_owned(), self.list.len() - 1);
        self.list.len() - 1
    }
}

/// A stretch is a place in the list of those that differ; the order is a list of such places.
fn of_timeline(line: &Timeline, most: usize, words: &mut Words) -> Value {
    let shown = &line.segments[..line.segments.len().min(most)];
    let hidden = &line.segments[shown.len()..];
    let (mut kinds, mut places) = (Vec::new(), BTreeMap::new());
    let order: Vec<usize> = shown
        .iter()
        .map(|it| {
            let texts = [&it.reason, &it.detail, &it.function, &format!("{:#x}", it.address)]
                .map(|word| words.place(word));
            let counts = [it.instructions, it.cr3_loads, it.flushes];
            *places.entry((it.lane, texts, counts)).or_insert_with(|| {
                let ([reason, detail, function, address], [instructions, cr3, flushes]) = (texts, counts);
                kinds.push(json!([
                    it.lane as u64,
                    reason,
                    detail,
                    function,
                    address,
                    instructions,
                    cr3,
                    flushes
                ]));
                kinds.len() - 1
            })
        })
        .collect();
    let runs = fold::runs(shown);
    let sums = Lane::ALL.map(|lane| {
        let of_lane = line.segments.iter().filter(|segment| segment.lane == lane);
        of_lane.map(|segment| segment.instructions).sum::<u64>()
    });
    json!({
        "operation": line.operation, "machine": line.machine.name(), "kinds": kinds, "order": order, "sums": sums,
        "runs": runs.iter().map(|run| [run.start, run.period, run.times]).collect::<Vec<_>>(),
        "left_out": {
            "segments": hidden.len(),
            "instructions": hidden.iter().map(|segment| segment.instructions).sum::<u64>(),
        },
    })
}

fn of_walk(walk: &Walk) -> Value {
    let step = |step: &Step| {
        let target = step.target.as_ref().map(
            |target| json!({"owner": target.owner, "kind": target.kind, "uses": target.uses, "refs": target.refs}),
        );
        // JSON's numbers are doubles to a browser: what may need 64 bits is text.
        json!({
            "level": step.level, "index": step.index, "table": format!("{:#x}", step.table),
            "entry": format!("{:#018x}", step.entry), "target": target,
        })
    };
    json!({
        "machine": walk.machine.name(), "title": walk.title, "address": format!("{:#018x}", walk.address),
        "steps": walk.steps.iter().map(step).collect::<Vec<_>>(),
    })
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key].as_array().with_context(|| format!("no list {key}"))
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("no text {key}"))
}

fn count(value: &Value, key: &str) -> Result<u64> {
    value[key].as_u64().with_context(|| format!("no count {key}"))
}

fn hexadecimal(text: &str) -> Result<u64> {
    walks::hexadecimal(text).with_context(|| format!("{text} is not hexadecimal"))
}

fn place(value: &Value) -> Result<(&'static str, Machine)> {
    let (operation, machine) = (text(value, "operation")?, text(value, "machine")?);
    let operation = named(operation).with_context(|| format!("no operation is named {operation}"))?.name;
    Ok((operation, Machine::named(machine).with_context(|| format!("no machine is named {machine}"))?))
}

fn timeline(value: &Value, words: &[&str]) -> Result<Timeline> {
    let (operation, machine) = place(value)?;
    if count(&value["left_out"], "segments")? > 0 {
        bail!("{operation} on {} is not whole", machine.name());
    }
    let kinds = list(value, "kinds")?.iter().map(|kind| segment(kind, words)).collect::<Result<Vec<_>>>()?;
    let at = |place: &Value| {
        let kind = place.as_u64().and_then(|place| kinds.get(usize::try_from(place).ok()?));
        kind.cloned().with_context(|| format!("no stretch {place}"))
    };
    Ok(Timeline {
        operation,
        machine,
        segments: list(value, "order")?.iter().map(at).collect::<Result<_>>()?,
    })
}

fn segment(kind: &Value, words: &[&str]) -> Result<Segment> {
    let numbers: Vec<u64> = kind.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    let [lane, reason, detail, function, address, instructions, cr3_loads, flushes] = numbers[..] else {
        bail!("{kind} is no stretch");
    };
    let word = |place: u64| {
        let word = usize::try_from(place).ok().and_then(|place| words.get(place));
        word.map(|word| (*word).to_owned()).with_context(|| format!("no word {place}"))
    };
    let lane =
        Lane::ALL.into_iter().find(|it| *it as u64 == lane).with_context(|| format!("no lane {lane}"))?;
    Ok(Segment {
        lane,
        reason: word(reason)?,
        detail: word(detail)?,
        function: word(function)?,
        address: hexadecimal(&word(address)?)?,
        instructions,
        cr3_loads,
        flushes,
    })
}

fn walk(value: &Value) -> Result<Walk> {
    let machine = text(value, "machine")?;
    let steps = list(value, "steps")?.iter().map(|step| {
        let level = count(step, "level")?;
        ensure!((1..=4).contains(&level), "no level {level}");
        let target = &step["target"];
        let target = target.is_object().then(|| -> Result<Target> {
            Ok(Target {
                owner: text(target, "owner")?.to_owned(),
                kind: text(target, "kind")?.to_owned(),
                uses: count(target, "uses")?,
                refs: count(target, "refs")?,
            })
        });
        Ok(Step {
            level,
            index: count(step, "index")?,
            table: hexadecimal(text(step, "table")?)?,
            entry: hexadecimal(text(step, "entry")?)?,
            target: target.transpose()?,
        })
    });
    Ok(Walk {
        machine: Machine::named(machine).with_context(|| format!("no machine is named {machine}"))?,
        title: text(value, "title")?.to_owned(),
        address: hexadecimal(text(value, "address")?)?,
        steps: steps.collect::<Result<_>>()?,
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::trace::samples::{many_faults, system_call};

    /// Some of everything.
    pub fn sample() -> Data {
        let target = Some(Target { owner: "d1".into(), kind: "L1".into(), uses: 1, refs: 2 });
        let step = Step { level: 4, index: 511, table: 0x131, entry: 0x8000_0000_0081_1063, target };
        let bare = Timeline { machine: Machine::Native, ..system_call() };
        Data {
            made: "</script><b>made by a test</b>".into(),
            timelines: vec![bare, system_call(), many_faults(40)],
            walks: vec![Walk {
                machine: Machine::PvRing1,
                title: "code".into(),
                address: 0xffff_ffff_8022_a3b3,
                steps: vec![step.clone(), Step { level: 3, target: None, entry: 0, ..step }],
            }],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let data = sample();
        assert_eq!(Data::from_json(&data.to_json(usize::MAX)).unwrap(), data);
    }

    #[test]
    fn equal_stretches_are_kept_once() {
        let json = sample().to_json(usize::MAX);
        let line = &json["timelines"][2];
        assert_eq!(line["order"].as_array().map(Vec::len), Some(81));
        // The first, the return, and each entry, of which every one has an address of its own.
        assert_eq!(line["kinds"].as_array().map(Vec::len), Some(42));
        assert_eq!(line["runs"].as_array().map(Vec::len), Some(2));
        assert_eq!(json["machines"], json!(["native", "pv-ring3", "trap"]));
        assert_eq!(json["operations"][0]["name"], "null-syscall");
        let row = json!({"operation": "null-syscall", "machine": "pv-ring3", "instructions": 1562,
                         "entries": {"hypercall iret": 1, "syscall": 1}, "cr3_loads": 4, "flushes": 0});
        assert_eq!(json["rows"][1], row);
    }

    #[test]
    fn what_is_cut_is_told_and_not_taken_for_whole() {
        let json = sample().to_json(11);
        let line = &json["timelines"][2];
        assert_eq!(line["order"].as_array().map(Vec::len), Some(11));
        assert_eq!(line["left_out"]["segments"], 70);
        let all = many_faults(40);
        let shown: u64 = all.segments[..11].iter().map(|segment| segment.instructions).sum();
        assert_eq!(line["left_out"]["instructions"].as_u64(), Some(all.instructions() - shown));
        let error = format!("{:#}", Data::from_json(&json).unwrap_err());
        assert!(error.contains("is not whole"), "{error}");
    }

    #[test]
    fn what_is_no_data_is_refused() {
        let good = sample().to_json(usize::MAX);
        for (pointer, wrong) in [
            ("/timelines/0/operation", json!("tea")),
            ("/timelines/0/machine", json!("vax")),
            ("/timelines/0/kinds/0", json!([1, 2])),
            ("/timelines/0/kinds/0/0", json!(9)),
            ("/timelines/0/kinds/0/1", json!(9999)),
            ("/timelines/0/order/0", json!(9999)),
            ("/walks/0/steps/0/level", json!(5)),
            ("/walks/0/steps/0/entry", json!("entry")),
            ("/words", json!(null)),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).unwrap() = wrong;
            assert!(Data::from_json(&bad).is_err(), "{pointer}");
        }
    }
}
