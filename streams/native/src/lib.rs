//! Says of records of stored memories which are sound, and writes the rows of these.
//!
//! The reference is in Python: fastavro and the model. What is called sound here is what the reference takes;
//! everything else is for the reference, above all what is wrong.

use std::collections::HashMap;
use std::sync::Arc;

use pyo3::exceptions::{PyIndexError, PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

pub mod avro;
pub mod json;
pub mod record;
pub mod rows;
pub mod rules;

use avro::Skipped;
use record::{Field, Step};
use rows::{Event, Place, Source};
use rules::{PathBounds, Rule, Slot};

const LOOK_CLOSER: u8 = 0;
const SOUND: u8 = 1;
const CONDITIONAL: u8 = 2;

/// Reads records; see the stub for what it takes.
#[pyclass(frozen)]
struct Reader {
    reader: Arc<record::Reader>,
    names: Arc<Vec<Py<PyString>>>,
}

#[pymethods]
impl Reader {
    #[new]
    fn new(fields: Vec<(Bound<'_, PyString>, Bound<'_, PyTuple>, bool)>, identity: &[u8]) -> PyResult<Self> {
        let names = fields.iter().map(|(name, _, _)| name.clone().unbind()).collect();
        let fields = fields
            .into_iter()
            .map(|(name, rule, nullable)| {
                Ok(Field { name: name.extract()?, rule: rule_of(&rule)?, nullable })
            })
            .collect::<PyResult<Vec<_>>>()?;
        let reader = record::Reader::new(fields, identity).map_err(PyValueError::new_err)?;
        Ok(Self { reader: Arc::new(reader), names: Arc::new(names) })
    }

    /// Returns the same reader for records of these schemas.
    fn for_writers(&self, writers: HashMap<u32, Vec<Bound<'_, PyAny>>>) -> PyResult<Self> {
        let writers = writers
            .into_iter()
            .map(|(id, steps)| Ok((id, steps.iter().map(step_of).collect::<PyResult<_>>()?)))
            .collect::<PyResult<_>>()?;
        let reader = self.reader.for_writers(writers).map_err(PyValueError::new_err)?;
        Ok(Self { reader: Arc::new(reader), names: Arc::clone(&self.names) })
    }

    /// Reads values with their keys; what is not of type bytes itself is not sound.
    fn read(&self, py: Python<'_>, values: &Bound<'_, PyList>, keys: &Bound<'_, PyList>) -> PyResult<Read> {
        if values.len() != keys.len() {
            return Err(PyValueError::new_err("there is not one key for each value"));
        }
        let records: Vec<_> = values
            .iter()
            .zip(keys.iter())
            .map(|(value, key)| Some((backed(&value)?, backed(&key)?)))
            .collect();
        let reader = Arc::clone(&self.reader);
        let names = Arc::clone(&self.names);
        Ok(py.detach(move || {
            let mut read = Read {
                values: Vec::with_capacity(records.len()),
                verdicts: Vec::with_capacity(records.len()),
                slots: Vec::with_capacity(records.len() * reader.fields.len()),
                reader,
                names,
            };
            for record in records {
                read.add(record);
            }
            read
        }))
    }

    /// Returns a layout of these columns.
    fn layout(&self, columns: Vec<(u32, Bound<'_, PyTuple>)>) -> PyResult<Layout> {
        let columns = columns
            .iter()
            .map(|(oid, source)| Ok((*oid, self.source_of(source)?)))
            .collect::<PyResult<_>>()?;
        Ok(Layout { columns: rows::Layout(columns), fields: Arc::clone(&self.reader.fields) })
    }
}

impl Reader {
    fn place(&self, name: &str) -> PyResult<usize> {
        let found = self.reader.fields.iter().position(|field| field.name == name);
        found.ok_or_else(|| PyValueError::new_err(format!("there is no field {name}")))
    }

    fn source_of(&self, source: &Bound<'_, PyTuple>) -> PyResult<Source> {
        let word: String = source.get_item(0)?.extract()?;
        let place = || self.place(&source.get_item(1)?.extract::<String>()?);
        Ok(match word.as_str() {
            "field" => Source::Field(place()?),
            "array_of" => Source::ArrayOf(place()?),
            "constant" => Source::Constant(source.get_item(1)?.extract()?),
            "version" => Source::Version,
            "logged_at" => Source::LoggedAt,
            "partition" => Source::Partition,
            "content" => {
                let names: Vec<String> = source.get_item(1)?.extract()?;
                let members = names.iter().enumerate().map(|(number, name)| {
                    let mut before = vec![if number == 0 { b'{' } else { b',' }];
                    json::write_string(&mut before, name.as_bytes());
                    before.push(b':');
                    Ok((before, self.place(name)?))
                });
                Source::Content(members.collect::<PyResult<_>>()?)
            }
            _ => return Err(unknown(&word)),
        })
    }
}

/// What the columns of a row type are made of.
#[pyclass(frozen)]
struct Layout {
    columns: rows::Layout,
    fields: Arc<Vec<Field>>,
}

/// Records that were read.
#[pyclass(frozen)]
struct Read {
    reader: Arc<record::Reader>,
    names: Arc<Vec<Py<PyString>>>,
    values: Vec<Option<PyBackedBytes>>,
    verdicts: Vec<u8>,
    slots: Vec<Slot>,
}

impl Read {
    fn add(&mut self, record: Option<(PyBackedBytes, PyBackedBytes)>) {
        let begin = self.slots.len();
        let sound = record.and_then(|(value, key)| {
            self.reader.read(&value, &key, &mut self.slots)?;
            Some(value)
        });
        self.verdicts.push(match sound {
            None => {
                self.slots.resize(begin + self.reader.fields.len(), Slot::Null);
                LOOK_CLOSER
            }
            Some(_) if self.reader.is_conditional(&self.slots[begin..]) => CONDITIONAL,
            Some(_) => SOUND,
        });
        self.values.push(sound);
    }

    fn event(&self, number: usize) -> PyResult<Event<'_>> {
        let value = self.values.get(number).and_then(Option::as_ref);
        let value = value.ok_or_else(|| PyIndexError::new_err("this is no sound record"))?;
        let width = self.reader.fields.len();
        Ok(Event { value, slots: &self.slots[number * width..(number + 1) * width] })
    }
}

#[pymethods]
impl Read {
    /// For each record 0: look closer, 1: sound, 2: sound, and applied only onto a certain version.
    #[getter]
    fn verdicts<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.verdicts)
    }

    /// Returns the fields of a sound record: ids as 16 bytes, times as microseconds since 1970.
    fn fields<'py>(&self, py: Python<'py>, number: usize) -> PyResult<Bound<'py, PyDict>> {
        let event = self.event(number)?;
        let dict = PyDict::new(py);
        for ((name, field), slot) in self.names.iter().zip(self.reader.fields.iter()).zip(event.slots) {
            dict.set_item(name, object(py, &field.rule, event.value, *slot)?)?;
        }
        Ok(dict)
    }

    /// Returns the rows of sound records, each with the place that it has in the log.
    #[pyo3(signature = (layout, chosen, versions, logged_at, partition, *, in_order))]
    #[expect(clippy::too_many_arguments, reason = "columns come side by side")]
    fn rows<'py>(
        &self,
        py: Python<'py>,
        layout: &Layout,
        chosen: Vec<usize>,
        versions: Vec<i64>,
        logged_at: Vec<i64>,
        partition: i64,
        in_order: bool,
    ) -> PyResult<Bound<'py, PyBytes>> {
        if !Arc::ptr_eq(&layout.fields, &self.reader.fields) {
            return Err(PyValueError::new_err("the layout is of another reader"));
        }
        if versions.len() != chosen.len() || logged_at.len() != chosen.len() {
            return Err(PyValueError::new_err("there is not one place for each record"));
        }
        let places = versions.into_iter().zip(logged_at);
        let mut events = chosen
            .into_iter()
            .zip(places)
            .map(|(number, (version, logged_at_micros))| {
                Ok((self.event(number)?, Place { partition, version, logged_at_micros }))
            })
            .collect::<PyResult<Vec<_>>>()?;
        let rows = py.detach(|| {
            if in_order {
                events.sort_by_cached_key(|(event, _)| {
                    let (tenant, id) = self.reader.order(event.value, event.slots);
                    (tenant.to_vec(), id)
                });
            }
            let mut out =
                Vec::with_capacity(events.iter().map(|(event, _)| 2 * event.value.len() + 512).sum());
            let fields = &layout.fields;
            let written = events
                .iter()
                .try_for_each(|(event, place)| layout.columns.write(&mut out, fields, event, *place));
            written.map(|()| out)
        });
        match rows {
            Some(rows) => Ok(PyBytes::new(py, &rows)),
            None => Err(PyOverflowError::new_err("a row cannot be written")),
        }
    }
}

fn backed(object: &Bound<'_, PyAny>) -> Option<PyBackedBytes> {
    let bytes = object.cast_exact::<PyBytes>().ok()?;
    Some(bytes.clone().into())
}

fn object<'py>(py: Python<'py>, rule: &Rule, value: &[u8], slot: Slot) -> PyResult<Bound<'py, PyAny>> {
    Ok(match slot {
        Slot::Null => py.None().into_bound(py),
        Slot::Uuid(octets) => PyBytes::new(py, &octets).into_any(),
        Slot::Long(number) => number.into_pyobject(py)?.into_any(),
        Slot::Double(number) => number.into_pyobject(py)?.into_any(),
        Slot::Symbol(place) => match rule {
            Rule::Symbol(names) => PyString::new(py, &names[place]).into_any(),
            _ => py.None().into_bound(py),
        },
        Slot::Text { begin, end } => text(py, &value[begin..end])?,
        Slot::Items { begin, count } => {
            let items = &value[begin..];
            let list = PyList::empty(py);
            let whole = match rule {
                Rule::Texts(..) => rows::texts(items, count, |raw| list.append(text(py, raw).ok()?).ok()),
                Rule::Doubles(_) => rows::doubles(items, count, |number| list.append(number).ok()),
                _ => rows::floats(items, count, |number| list.append(number).ok()),
            };
            whole.ok_or_else(|| PyValueError::new_err("a list cannot be made"))?;
            list.into_any()
        }
    })
}

fn text<'py>(py: Python<'py>, raw: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    Ok(PyString::from_bytes(py, raw)?.into_any())
}

fn rule_of(rule: &Bound<'_, PyTuple>) -> PyResult<Rule> {
    let word: String = rule.get_item(0)?.extract()?;
    let most = |at: usize| rule.get_item(at)?.extract::<usize>();
    Ok(match word.as_str() {
        "uuid" => Rule::Uuid,
        "tenant" => Rule::Tenant,
        "namespace" => {
            Rule::Namespace(PathBounds { segments: most(1)?, segment_characters: most(2)?, bytes: most(3)? })
        }
        "bytes" => Rule::Bytes(most(1)?),
        "characters" => Rule::Characters(most(1)?),
        "json" => Rule::Json(most(1)?, most(2)?),
        "texts" => Rule::Texts(most(1)?, most(2)?),
        "share" => Rule::Share,
        "doubles" => Rule::Doubles(most(1)?),
        "floats" => Rule::Floats(most(1)?),
        "moment" => Rule::Moment,
        "below" => Rule::Below(rule.get_item(1)?.extract()?),
        "symbol" => Rule::Symbol(rule.get_item(1)?.extract()?),
        _ => return Err(unknown(&word)),
    })
}

fn step_of(step: &Bound<'_, PyAny>) -> PyResult<Step> {
    match step.extract::<usize>() {
        Ok(place) => Ok(Step::Known(place)),
        Err(_) => Ok(Step::Skip(skipped_of(step)?)),
    }
}

fn skipped_of(step: &Bound<'_, PyAny>) -> PyResult<Skipped> {
    let word: String = step.get_item(0)?.extract()?;
    let inner = || Ok::<_, PyErr>(Box::new(skipped_of(&step.get_item(1)?)?));
    let several = || step.get_item(1)?.try_iter()?.map(|each| skipped_of(&each?)).collect::<PyResult<_>>();
    Ok(match word.as_str() {
        "fixed" => Skipped::Fixed(step.get_item(1)?.extract()?),
        "long" => Skipped::Long,
        "sized" => Skipped::Sized,
        "array" => Skipped::Array(inner()?),
        "map" => Skipped::Map(inner()?),
        "union" => Skipped::Union(several()?),
        "record" => Skipped::Record(several()?),
        _ => return Err(unknown(&word)),
    })
}

fn unknown(word: &str) -> PyErr {
    PyValueError::new_err(format!("nothing is called {word} here"))
}

#[pymodule]
fn soma_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Reader>()?;
    module.add_class::<Read>()?;
    module.add_class::<Layout>()
}
