//! Batches: up to 100 inputs, answered in any order, and done in part where their items are traced.

use serde_json::{Value, json};

use super::records::{Record, answer};
use super::schema::Object;
use super::values::Refused;
use super::{HubSpot, body, invalid, said};
use crate::host::World;
use crate::host::call::{Answer, Call, Outcome};
use crate::host::clock::iso;

/// Inputs of one call: reference, "Batch".
const INPUTS_MAX: usize = 100;

/// What came of a batch's inputs.
#[derive(Default)]
struct Told {
    results: Vec<Value>,
    errors: Vec<Value>,
}

impl Told {
    fn answer(mut self, status: u16, world: &mut World) -> Answer {
        if world.traps.is_on("shuffled-results") {
            for last in (1..self.results.len()).rev() {
                let at = usize::try_from(world.ids.number() % (last as u64 + 1)).unwrap_or(0);
                self.results.swap(last, at);
            }
        }
        let now = iso(world.now);
        let mut body = json!({
            "status": "COMPLETE", "results": self.results, "startedAt": now, "completedAt": now,
        });
        if self.errors.is_empty() {
            return Answer::json(status, &body);
        }
        body["numErrors"] = self.errors.len().into();
        body["errors"] = self.errors.into();
        Answer::json(207, &body)
    }
}

/// A batch that writes: all of it or nothing, unless inputs may fail by themselves.
struct Writes<'o> {
    object: &'o mut Object,
    is_partial: bool,
    /// Records that were written, as they were before.
    done: Vec<(String, Option<Record>)>,
    told: Told,
}

impl<'o> Writes<'o> {
    fn of(object: &'o mut Object, is_partial: bool) -> Writes<'o> {
        Writes {
            object,
            is_partial,
            done: Vec::new(),
            told: Told::default(),
        }
    }

    /// Writes what an input gives to a record: a new one, if there was none. Gives what is told of it.
    fn write(
        &mut self,
        (id, was): (String, Option<Record>),
        (input, given): (&Value, &Value),
        world: &World,
    ) -> Result<Option<&mut Value>, Answer> {
        let outcome = match was {
            Some(_) => self.object.change(&id, given, world),
            None => self.object.insert(&id, given, world),
        };
        match outcome {
            Ok(()) => {
                let record = traced(self.object.written(&id, given), input);
                self.told.results.push(record);
                if world.traps.is_on("edited-behind") {
                    self.object.count_on(&id, given, world.now + 1);
                }
                self.done.push((id, was));
                Ok(self.told.results.last_mut())
            }
            Err(refused) if self.is_partial => {
                self.told.errors.push(refusal_of(refused, input));
                Ok(None)
            }
            Err(refused) => {
                self.object.undo(std::mem::take(&mut self.done), world.now);
                Err(answer(&refused))
            }
        }
    }
}

/// Inputs with distinct trace ids are answered one by one.
fn is_traced(inputs: &[Value]) -> bool {
    let mut traces: Vec<&str> = inputs
        .iter()
        .filter_map(|input| input["objectWriteTraceId"].as_str())
        .collect();
    traces.sort_unstable();
    traces.dedup();
    !inputs.is_empty() && traces.len() == inputs.len()
}

fn traced(mut record: Value, input: &Value) -> Value {
    if let Some(trace) = input["objectWriteTraceId"].as_str() {
        record["objectWriteTraceId"] = trace.into();
    }
    record
}

fn refusal_of(mut refused: Refused, input: &Value) -> Value {
    refused["context"] = json!({ "objectWriteTraceId": [input["objectWriteTraceId"]] });
    refused
}

fn missing(noun: &str, ids: &[String]) -> Value {
    let message = format!(
        "Could not get some {noun} objects, they may be deleted or not exist. Check that ids are valid."
    );
    let mut refused = said("OBJECT_NOT_FOUND", message, json!([]));
    refused["context"] = json!({ "ids": ids });
    refused
}

fn inputs(wish: &Value) -> Result<Vec<Value>, Answer> {
    let inputs = wish["inputs"].as_array().cloned().unwrap_or_default();
    match inputs.len() {
        0 => Err(invalid("inputs must not be empty")),
        1..=INPUTS_MAX => Ok(inputs),
        _ => Err(invalid("inputs must have at most 100 items")),
    }
}

fn id_of(input: &Value) -> String {
    input["id"].as_str().unwrap_or_default().to_owned()
}

impl HubSpot {
    pub(super) fn read_batch(&mut self, call: &Call, world: &mut World) -> Outcome {
        let wish = body(call)?;
        let inputs = inputs(&wish)?;
        let by = wish["idProperty"].as_str();
        let wished = wish["properties"].as_array().cloned().unwrap_or_default();
        let wished: Vec<String> = wished
            .iter()
            .filter_map(|name| Some(name.as_str()?.to_owned()))
            .collect();
        let is_archived = call.query("archived") == Some("true");
        let fails = world.traps.is_on("reads-fail-partly");
        let object = self.object(call, world)?;
        if by.is_some_and(|name| !object.is_unique(name)) {
            return Err(invalid("idProperty must be a property with unique values"));
        }
        let (mut told, mut lost, mut failed) = (Told::default(), Vec::new(), Vec::new());
        for (number, input) in inputs.iter().enumerate() {
            let id = id_of(input);
            if fails && number % 2 == 1 {
                failed.push(id);
                continue;
            }
            let found = object.find(&id, by);
            match found.filter(|(_, record)| record.archived.is_some() == is_archived) {
                Some((id, record)) => told.results.push(object.shown(&id, record, &wished)),
                None => lost.push(id),
            }
        }
        if !lost.is_empty() {
            told.errors.push(missing(&object.noun(), &lost));
        }
        if !failed.is_empty() {
            let mut refused = said(
                "INTERNAL_ERROR",
                "some records could not be read",
                json!([]),
            );
            refused["context"] = json!({ "ids": failed });
            told.errors.push(refused);
        }
        // The same record may have been asked for by several ids.
        told.results.dedup_by_key(|record| record["id"].clone());
        Ok(told.answer(200, world))
    }

    pub(super) fn create_batch(&mut self, call: &Call, world: &mut World) -> Outcome {
        let inputs = inputs(&body(call)?)?;
        let ids: Vec<String> = inputs.iter().map(|_| self.fresh_id()).collect();
        let mut writes = Writes::of(self.object(call, world)?, is_traced(&inputs));
        for (id, input) in ids.into_iter().zip(&inputs) {
            writes.write((id, None), (input, &input["properties"]), world)?;
        }
        Ok(writes.told.answer(201, world))
    }

    pub(super) fn update_batch(&mut self, call: &Call, world: &mut World) -> Outcome {
        let inputs = inputs(&body(call)?)?;
        let is_partial = is_traced(&inputs) && world.traps.is_on("partial-updates");
        let mut writes = Writes::of(self.object(call, world)?, is_partial);
        let mut lost = Vec::new();
        for input in &inputs {
            let by = input["idProperty"].as_str();
            let found = writes.object.find(&id_of(input), by);
            let found = found.filter(|(_, record)| record.archived.is_none());
            let Some((id, was)) = found.map(|(id, was)| (id, was.clone())) else {
                lost.push(id_of(input));
                continue;
            };
            writes.write((id, Some(was)), (input, &input["properties"]), world)?;
        }
        let mut told = writes.told;
        if !lost.is_empty() {
            told.errors.push(missing(&writes.object.noun(), &lost));
        }
        Ok(told.answer(200, world))
    }

    pub(super) fn upsert_batch(&mut self, call: &Call, world: &mut World) -> Outcome {
        let inputs = inputs(&body(call)?)?;
        let ids: Vec<String> = inputs.iter().map(|_| self.fresh_id()).collect();
        let mut writes = Writes::of(self.object(call, world)?, is_traced(&inputs));
        for (fresh, input) in ids.into_iter().zip(&inputs) {
            let by = input["idProperty"].as_str();
            let found = writes.object.find(&id_of(input), by);
            let found = found.map(|(id, was)| (id, Some(was.clone())));
            let mut given = input["properties"].clone();
            if let Some(name) = by {
                given[name] = id_of(input).into();
            }
            let is_new = found.is_none();
            let record = found.unwrap_or((fresh, None));
            if let Some(told) = writes.write(record, (input, &given), world)? {
                told["new"] = is_new.into();
            }
        }
        Ok(writes.told.answer(200, world))
    }

    /// What is not there is no error.
    pub(super) fn archive_batch(&mut self, call: &Call, world: &mut World) -> Outcome {
        let inputs = inputs(&body(call)?)?;
        let object = self.object(call, world)?;
        for input in &inputs {
            let id = object.resolve(&id_of(input)).to_owned();
            object.archive(&id, Some(world.now), world);
        }
        Ok(Answer::empty(204))
    }
}
